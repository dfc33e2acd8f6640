//! A public key that verifies signatures (RFC 7517, RFC 7518 section 6, RFC 8037), parsed once. Pure. It refuses keys
//! that are weak, malformed, private or made for something else.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Algorithm;
use super::algorithm::Verification;
use super::json::Object;

/// Members of private and symmetric keys: whoever publishes one lets anybody sign.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key and the algorithms it serves.
pub(crate) struct PublicKey {
    /// Never empty; one parsed form for each algorithm, so that a request parses nothing.
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
    thumbprint: [u8; 32],
}

/// Why a JWK is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwkError {
    /// It holds private members.
    #[error("the key is not a public one")]
    Private,
    /// `use` or `key_ops` say so.
    #[error("the key is not for verifying signatures")]
    Purpose,
    /// A member is missing, of a wrong type, or not base64url.
    #[error("the key is malformed")]
    Malformed,
    /// A `kty` or `crv` that serves no algorithm here.
    #[error("the key is of a kind that is not supported")]
    Kind,
    /// An RSA modulus or exponent outside the bounds, or a point that is not on its curve.
    #[error("the key is weak or no key at all")]
    Weak,
    /// None of the allowed algorithms is one of its kind and its `alg`.
    #[error("the key serves no algorithm that is allowed")]
    Algorithm,
}

impl PublicKey {
    /// Reads a JWK for those of the `allowed` algorithms that it can serve: all of its kind, or only its `alg`.
    pub(crate) fn from_jwk(jwk: &Object, allowed: &[Algorithm]) -> Result<Self, JwkError> {
        if PRIVATE.iter().any(|name| member(jwk, name).is_some()) {
            return Err(JwkError::Private);
        }
        check_purpose(jwk)?;
        let bound_to = text(jwk, "alg")?;
        let material = Material::of(jwk)?;
        let verifiers = allowed
            .iter()
            .filter(|algorithm| bound_to.is_none_or(|name| name == algorithm.as_str()))
            .filter_map(|algorithm| Some(material.parse(*algorithm)?.map(|parsed| (*algorithm, parsed))))
            .collect::<Result<Vec<_>, _>>()?;
        if verifiers.is_empty() {
            return Err(JwkError::Algorithm);
        }
        Ok(Self { verifiers, thumbprint: material.thumbprint() })
    }

    /// Whether `signature` is this key's signature of `message` by this algorithm; never by one that it does not serve.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let mut fitting = self.verifiers.iter().filter(|(own, _)| *own == algorithm);
        fitting.any(|(_, parsed)| parsed.verify_sig(message, signature).is_ok())
    }

    /// The SHA-256 thumbprint (RFC 7638).
    pub(crate) fn thumbprint(&self) -> [u8; 32] {
        self.thumbprint
    }

    /// Whether it is the same key for the same algorithms.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        let algorithms = |key: &Self| key.verifiers.iter().map(|(algorithm, _)| *algorithm).collect::<Vec<_>>();
        self.thumbprint() == other.thumbprint() && algorithms(self) == algorithms(other)
    }
}

/// What a key is made of, within the bounds that each kind has.
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { curve: &'static str, x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

impl Material {
    fn of(jwk: &Object) -> Result<Self, JwkError> {
        match text(jwk, "kty")?.ok_or(JwkError::Malformed)? {
            "RSA" => Self::rsa(jwk),
            "EC" => {
                let (curve, length) = match text(jwk, "crv")?.ok_or(JwkError::Malformed)? {
                    "P-256" => ("P-256", 32),
                    "P-384" => ("P-384", 48),
                    "P-521" => ("P-521", 66),
                    _ => return Err(JwkError::Kind),
                };
                Ok(Self::Ec { curve, x: octets(jwk, "x", length)?, y: octets(jwk, "y", length)? })
            }
            "OKP" => match text(jwk, "crv")?.ok_or(JwkError::Malformed)? {
                "Ed25519" => Ok(Self::Ed25519 { x: octets(jwk, "x", 32)? }),
                _ => Err(JwkError::Kind),
            },
            _ => Err(JwkError::Kind),
        }
    }

    fn rsa(jwk: &Object) -> Result<Self, JwkError> {
        let (modulus, exponent) = (unsigned(jwk, "n")?, unsigned(jwk, "e")?);
        let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        // Beyond 33 bits an exponent only slows us down.
        let sound = (2048..=8192).contains(&bits(&modulus))
            && odd(&modulus)
            && (2..=33).contains(&bits(&exponent))
            && odd(&exponent);
        if sound { Ok(Self::Rsa { modulus, exponent }) } else { Err(JwkError::Weak) }
    }

    /// The form that verifies this algorithm; `None` where it needs another kind of key.
    fn parse(&self, algorithm: Algorithm) -> Option<Result<ParsedPublicKey, JwkError>> {
        let parsed = match (self, Verification::of(algorithm)) {
            (Self::Rsa { modulus, exponent }, Verification::Rsa(parameters)) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(parameters).ok()
            }
            // An uncompressed point (SEC 1 section 2.3.3).
            (Self::Ec { curve, x, y }, Verification::Ec(named, verification)) if *curve == named => {
                ParsedPublicKey::new(verification, [&[4], x.as_slice(), y.as_slice()].concat()).ok()
            }
            (Self::Ed25519 { x }, Verification::Ed25519(verification)) => ParsedPublicKey::new(verification, x).ok(),
            _ => return None,
        };
        Some(parsed.ok_or(JwkError::Weak))
    }

    /// The required members in lexicographic order, hashed (RFC 7638 section 3). Base64url needs no escapes in JSON.
    fn thumbprint(&self) -> [u8; 32] {
        let coded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = match self {
            Self::Rsa { modulus, exponent } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, coded(exponent), coded(modulus))
            }
            Self::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, coded(x), coded(y))
            }
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, coded(x)),
        };
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(digest(&SHA256, members.as_bytes()).as_ref());
        thumbprint
    }
}

fn check_purpose(jwk: &Object) -> Result<(), JwkError> {
    let signs = text(jwk, "use")?.is_none_or(|purpose| purpose == "sig");
    let verifies = match member(jwk, "key_ops") {
        None => true,
        Some(operations) => operations.as_array().ok_or(JwkError::Malformed)?.iter().any(|one| one == "verify"),
    };
    if signs && verifies { Ok(()) } else { Err(JwkError::Purpose) }
}

/// Some servers write `null` for what a key does not have.
fn member<'a>(jwk: &'a Object, name: &str) -> Option<&'a Value> {
    jwk.get(name).filter(|value| !value.is_null())
}

fn text<'a>(jwk: &'a Object, name: &str) -> Result<Option<&'a str>, JwkError> {
    member(jwk, name).map(|value| value.as_str().ok_or(JwkError::Malformed)).transpose()
}

fn bytes(jwk: &Object, name: &str) -> Result<Vec<u8>, JwkError> {
    let coded = text(jwk, name)?.ok_or(JwkError::Malformed)?;
    URL_SAFE_NO_PAD.decode(coded).map_err(|_| JwkError::Malformed)
}

/// Octets of the one length that the curve gives them (RFC 7518 section 6.2.1.2, RFC 8037 section 2).
fn octets(jwk: &Object, name: &str, length: usize) -> Result<Vec<u8>, JwkError> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() == length { Ok(bytes) } else { Err(JwkError::Malformed) }
}

/// A Base64urlUInt (RFC 7518 section 2) without the leading zero octets that some servers add.
fn unsigned(jwk: &Object, name: &str) -> Result<Vec<u8>, JwkError> {
    let bytes = bytes(jwk, name)?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
