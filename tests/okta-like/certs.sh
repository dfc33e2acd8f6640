#!/bin/sh
# Makes a private CA and a server certificate signed by it: certs.sh DIR NAME...
# DIR gets ca.crt, tls.crt and tls.key. The CA's key is thrown away, so that the CA can vouch for nothing else.
set -eu
dir=$1
shift
mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

names=
for name in "$@"; do
  case $name in
    *[!0-9.]*) names="$names,DNS:$name" ;;
    *) names="$names,IP:$name" ;;
  esac
done

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=okta-like test CA' \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
  -keyout "$work/ca.key" -out "$dir/ca.crt" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=okta-like" \
  -keyout "$dir/tls.key" -out "$work/tls.csr" 2>/dev/null
printf 'subjectAltName=%s\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n' \
  "${names#,}" >"$work/extensions"
openssl x509 -req -in "$work/tls.csr" -CA "$dir/ca.crt" -CAkey "$work/ca.key" -set_serial "0x$(openssl rand -hex 16)" -days 30 \
  -extfile "$work/extensions" -out "$dir/tls.crt" 2>/dev/null
