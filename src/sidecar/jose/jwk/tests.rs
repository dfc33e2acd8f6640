//! Keys that serve, and keys that must not.

use serde_json::{Value, json};

use super::*;
use crate::testkit::keys::KeyPair;

fn read(jwk: &Value, allowed: &[Algorithm]) -> Result<PublicKey, JwkError> {
    PublicKey::from_jwk(jwk.as_object().unwrap(), allowed)
}

/// `jwk` with members set, or removed where null.
fn with(mut jwk: Value, changes: &Value) -> Value {
    let members = jwk.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    jwk
}

fn coded(bytes: &[u8]) -> Value {
    json!(URL_SAFE_NO_PAD.encode(bytes))
}

#[test]
fn every_algorithm_verifies_what_its_own_key_signed_and_nothing_else() {
    for algorithm in Algorithm::ALL {
        let pair = KeyPair::shared(algorithm);
        let key = read(&pair.jwk("k"), &Algorithm::ALL).unwrap();
        let signature = pair.sign(algorithm, b"message");
        assert!(key.verifies(algorithm, b"message", &signature), "{algorithm:?}");
        assert!(!key.verifies(algorithm, b"massage", &signature), "{algorithm:?}: another message");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut forged = signature.clone();
            forged[at] ^= 1;
            assert!(!key.verifies(algorithm, b"message", &forged), "{algorithm:?}: byte {at} changed");
        }
        let longer = [signature.as_slice(), &[0]].concat();
        for other in [&[][..], &[0; 64], &signature[1..], &signature[..signature.len() - 1], &longer] {
            assert!(!key.verifies(algorithm, b"message", other), "{algorithm:?}: {} octets", other.len());
        }
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            assert!(!key.verifies(other, b"message", &signature), "{algorithm:?} as {other:?}");
        }
    }
}

#[test]
fn an_rsa_key_without_alg_serves_the_allowed_rsa_algorithms_and_one_with_alg_only_that() {
    let pair = KeyPair::shared(Algorithm::Rs256);
    let unbound = read(&pair.public(), &[Algorithm::Rs256, Algorithm::Ps384, Algorithm::Es256]).unwrap();
    for algorithm in Algorithm::ALL {
        let served = [Algorithm::Rs256, Algorithm::Ps384].contains(&algorithm);
        let signature = pair.sign(algorithm, b"m");
        assert_eq!(unbound.verifies(algorithm, b"m", &signature), served, "{algorithm:?}");
    }
    let bound = read(&with(pair.public(), &json!({"alg": "PS384"})), &[Algorithm::Rs256, Algorithm::Ps384]).unwrap();
    assert!(bound.verifies(Algorithm::Ps384, b"m", &pair.sign(Algorithm::Ps384, b"m")));
    assert!(!bound.verifies(Algorithm::Rs256, b"m", &pair.sign(Algorithm::Rs256, b"m")));
}

#[test]
fn an_ecdsa_signature_is_two_numbers_of_fixed_length_and_never_der() {
    let pair = KeyPair::shared(Algorithm::Es256);
    let key = read(&pair.jwk("k"), &[Algorithm::Es256]).unwrap();
    let mut signature = pair.sign(Algorithm::Es256, b"m");
    while signature[0] >= 0x80 || signature[32] >= 0x80 || signature[0] == 0 || signature[32] == 0 {
        signature = pair.sign(Algorithm::Es256, b"m");
    }
    assert!(key.verifies(Algorithm::Es256, b"m", &signature));
    // Both numbers are positive as they stand, so this is their DER form.
    let der = [&[0x30, 68, 2, 32], &signature[..32], &[2, 32], &signature[32..]].concat();
    assert!(!key.verifies(Algorithm::Es256, b"m", &der));
}

#[test]
fn a_key_is_refused_for_what_is_wrong_with_it() {
    use Algorithm::{EdDsa, Es256, Es384, Es512, Rs256};
    let rsa = KeyPair::shared(Rs256).jwk("k");
    let ec = KeyPair::shared(Es256).jwk("k");
    let okp = KeyPair::shared(EdDsa).jwk("k");
    let x = URL_SAFE_NO_PAD.decode(ec["x"].as_str().unwrap()).unwrap();
    let cases = [
        ("for encryption", with(rsa.clone(), &json!({"use": "enc"})), JwkError::Purpose),
        ("for signing only", with(rsa.clone(), &json!({"key_ops": ["sign"]})), JwkError::Purpose),
        ("for nothing", with(ec.clone(), &json!({"key_ops": []})), JwkError::Purpose),
        ("use no string", with(rsa.clone(), &json!({"use": ["sig"]})), JwkError::Malformed),
        ("key_ops no list", with(rsa.clone(), &json!({"key_ops": "verify"})), JwkError::Malformed),
        ("private RSA", with(rsa.clone(), &json!({"d": "AQAB"})), JwkError::Private),
        ("a prime", with(rsa.clone(), &json!({"p": "AQAB"})), JwkError::Private),
        ("private EC", with(ec.clone(), &json!({"d": "AQAB"})), JwkError::Private),
        ("private OKP", with(okp.clone(), &json!({"d": "AQAB"})), JwkError::Private),
        ("symmetric", json!({"kty": "oct", "k": "AAAA"}), JwkError::Private),
        ("symmetric without its secret", json!({"kty": "oct"}), JwkError::Kind),
        ("no kty", with(rsa.clone(), &json!({"kty": null})), JwkError::Malformed),
        ("unknown kty", with(rsa.clone(), &json!({"kty": "rsa"})), JwkError::Kind),
        ("alg of another kind", with(rsa.clone(), &json!({"alg": "ES256"})), JwkError::Algorithm),
        ("alg for encryption", with(rsa.clone(), &json!({"alg": "RSA-OAEP"})), JwkError::Algorithm),
        ("alg of another curve", with(ec.clone(), &json!({"alg": "ES384"})), JwkError::Algorithm),
        ("alg none", with(rsa.clone(), &json!({"alg": "none"})), JwkError::Algorithm),
        ("alg HS256", with(rsa.clone(), &json!({"alg": "HS256"})), JwkError::Algorithm),
        ("2040 bits", with(rsa.clone(), &json!({"n": coded(&[0xff; 255])})), JwkError::Weak),
        ("2047 bits", with(rsa.clone(), &json!({"n": coded(&[0x7f; 256])})), JwkError::Weak),
        (
            "zeros before 2040 bits",
            with(rsa.clone(), &json!({"n": coded(&[&[0; 8][..], &[0xff; 255]].concat())})),
            JwkError::Weak,
        ),
        ("8200 bits", with(rsa.clone(), &json!({"n": coded(&[0xff; 1025])})), JwkError::Weak),
        ("even modulus", with(rsa.clone(), &json!({"n": coded(&[0xfe; 256])})), JwkError::Weak),
        ("no modulus", with(rsa.clone(), &json!({"n": null})), JwkError::Malformed),
        ("modulus a number", with(rsa.clone(), &json!({"n": 7})), JwkError::Malformed),
        (
            "modulus padded",
            with(rsa.clone(), &json!({"n": format!("{}==", rsa["n"].as_str().unwrap())})),
            JwkError::Malformed,
        ),
        ("e = 0", with(rsa.clone(), &json!({"e": "AA"})), JwkError::Weak),
        ("e = 1", with(rsa.clone(), &json!({"e": "AQ"})), JwkError::Weak),
        ("e = 2", with(rsa.clone(), &json!({"e": "Ag"})), JwkError::Weak),
        ("e even", with(rsa.clone(), &json!({"e": "AQAA"})), JwkError::Weak),
        ("e of 34 bits", with(rsa.clone(), &json!({"e": coded(&[2, 0, 0, 0, 1])})), JwkError::Weak),
        ("e empty", with(rsa, &json!({"e": ""})), JwkError::Weak),
        ("unknown curve", with(ec.clone(), &json!({"crv": "secp256k1"})), JwkError::Kind),
        ("no curve", with(ec.clone(), &json!({"crv": null})), JwkError::Malformed),
        ("another curve's point", with(ec.clone(), &json!({"crv": "P-384", "alg": null})), JwkError::Malformed),
        ("not on the curve", with(ec.clone(), &json!({"y": ec["x"]})), JwkError::Weak),
        ("the origin", with(ec.clone(), &json!({"x": coded(&[0; 32]), "y": coded(&[0; 32])})), JwkError::Weak),
        ("coordinate beyond the field", with(ec.clone(), &json!({"x": coded(&[0xff; 32])})), JwkError::Weak),
        ("short coordinate", with(ec.clone(), &json!({"x": coded(&x[1..])})), JwkError::Malformed),
        (
            "long coordinate",
            with(ec.clone(), &json!({"x": coded(&[&[0], x.as_slice()].concat())})),
            JwkError::Malformed,
        ),
        ("no y", with(ec, &json!({"y": null})), JwkError::Malformed),
        ("X25519", with(okp.clone(), &json!({"crv": "X25519"})), JwkError::Kind),
        ("Ed448", with(okp.clone(), &json!({"crv": "Ed448"})), JwkError::Kind),
        ("31 octets", with(okp, &json!({"x": coded(&[1; 31])})), JwkError::Malformed),
    ];
    for (name, jwk, error) in cases {
        assert_eq!(read(&jwk, &[Rs256, Es256, Es384, Es512, EdDsa]).err(), Some(error), "{name}");
    }
}

#[test]
fn what_a_key_may_say_and_need_not() {
    let bare = KeyPair::shared(Algorithm::Es256).public();
    for changes in [
        json!({}),
        json!({"use": "sig"}),
        json!({"key_ops": ["sign", "verify"]}),
        json!({"alg": "ES256", "kid": "k", "x5t": "AA", "x5c": ["AA"], "custom": {}}),
        json!({"alg": null, "use": null, "key_ops": null, "d": null}),
    ] {
        assert!(read(&with(bare.clone(), &changes), &[Algorithm::Es256]).is_ok(), "{changes}");
    }
    assert_eq!(read(&bare, &[Algorithm::Rs256]).err(), Some(JwkError::Algorithm));
    assert_eq!(read(&bare, &[]).err(), Some(JwkError::Algorithm));
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let cases = [
        // RFC 7638 section 3.1
        (
            json!({
                "kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB",
                "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB\
                      ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8\
                      KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_\
                      xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            }),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ),
        // RFC 8037 appendix A.3
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        ),
        // RFC 9449 section 4.1 and 6.1
        (
            json!({
                "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
            }),
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
        ),
    ];
    for (jwk, thumbprint) in cases {
        let key = read(&jwk, &Algorithm::ALL).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(key.thumbprint()), thumbprint);
    }
}

#[test]
fn leading_zero_octets_of_an_rsa_modulus_change_nothing() {
    let pair = KeyPair::shared(Algorithm::Rs256);
    let modulus = URL_SAFE_NO_PAD.decode(pair.jwk("k")["n"].as_str().unwrap()).unwrap();
    let padded = with(pair.jwk("k"), &json!({"n": coded(&[&[0], modulus.as_slice()].concat())}));
    let (plain, padded) =
        (read(&pair.jwk("k"), &[Algorithm::Rs256]).unwrap(), read(&padded, &[Algorithm::Rs256]).unwrap());
    assert!(plain.equals(&padded));
    assert!(padded.verifies(Algorithm::Rs256, b"m", &pair.sign(Algorithm::Rs256, b"m")));
}
