//! Key pairs of every kind for tests, made anew by each process: nothing secret is committed. The sidecar's unit tests
//! compile this file too. It decides nothing.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollgate_contract::Algorithm;

/// A key pair. RSA ones sign with any RSA algorithm, the others with their own.
pub struct KeyPair {
    algorithm: Algorithm,
    secret: Secret,
}

enum Secret {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl KeyPair {
    /// A new pair; RSA ones have 2048 bits.
    pub fn generate(algorithm: Algorithm) -> Self {
        let ecdsa = |signing| Secret::Ecdsa(EcdsaKeyPair::generate(signing).expect("an EC key"));
        let secret = match algorithm {
            Algorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::EdDsa => Secret::Ed25519(Ed25519KeyPair::generate().expect("an Ed25519 key")),
            _ => Secret::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("an RSA key")),
        };
        Self { algorithm, secret }
    }

    /// The one pair of this algorithm that every caller in the process shares.
    pub fn shared(algorithm: Algorithm) -> &'static Self {
        static PAIRS: [OnceLock<KeyPair>; Algorithm::ALL.len()] = [const { OnceLock::new() }; Algorithm::ALL.len()];
        let at = Algorithm::ALL.iter().position(|one| *one == algorithm).expect("every algorithm is listed");
        PAIRS[at].get_or_init(|| Self::generate(algorithm))
    }

    /// What it was made for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public half as issuers publish it, for its own algorithm.
    pub fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.public();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm.as_str());
        jwk
    }

    /// The members that its thumbprint is made of (RFC 7638).
    pub fn public(&self) -> Value {
        let coded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.secret {
            Secret::Rsa(pair) => {
                // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER } (RFC 8017 appendix A.1.1)
                let (sequence, _) = element(pair.public_key().as_ref());
                let (modulus, rest) = element(sequence);
                let (exponent, _) = element(rest);
                let number = |integer: &[u8]| coded(integer.strip_prefix(&[0]).unwrap_or(integer));
                json!({"kty": "RSA", "n": number(modulus), "e": number(exponent)})
            }
            Secret::Ecdsa(pair) => {
                // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                let curve = match self.algorithm {
                    Algorithm::Es256 => "P-256",
                    Algorithm::Es384 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": curve, "x": coded(x), "y": coded(y)})
            }
            Secret::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": coded(pair.public_key().as_ref())})
            }
        }
    }

    /// Signs as a JWS does. `algorithm` counts for RSA only.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    Algorithm::Ps384 => &RSA_PSS_SHA384,
                    Algorithm::Ps512 => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).expect("a signature");
                signature
            }
            Secret::Ecdsa(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Secret::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// The content of the first DER element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, header) = match der[1] {
        short @ 0..0x80 => (usize::from(short), 2),
        long => {
            let octets = usize::from(long & 0x7f);
            (der[2..2 + octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), 2 + octets)
        }
    };
    (&der[header..header + length], &der[header + length..])
}
