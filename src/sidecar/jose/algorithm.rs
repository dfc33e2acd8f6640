//! How each JWS algorithm verifies (RFC 7518 section 3.1, RFC 8037). A table and nothing else: which algorithm is
//! allowed is the issuer's setting, which key serves it is `jwk`'s.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, VerificationAlgorithm,
};

use super::Algorithm;

/// What an algorithm's keys are, and how they verify.
pub(super) enum Verification {
    /// `kty` `RSA`. In RSASSA-PSS the salt is as long as the hash (RFC 7518 section 3.5).
    Rsa(&'static RsaParameters),
    /// `kty` `EC` on the curve of this name; signatures are `r || s` of fixed length (RFC 7518 section 3.4).
    Ec(&'static str, &'static dyn VerificationAlgorithm),
    /// `kty` `OKP`, `crv` `Ed25519`.
    Ed25519(&'static dyn VerificationAlgorithm),
}

impl Verification {
    pub(super) fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Self::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Self::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => Self::Rsa(&RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Self::Rsa(&RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Self::Rsa(&RSA_PSS_2048_8192_SHA512),
            Algorithm::Es256 => Self::Ec("P-256", &ECDSA_P256_SHA256_FIXED),
            Algorithm::Es384 => Self::Ec("P-384", &ECDSA_P384_SHA384_FIXED),
            Algorithm::Es512 => Self::Ec("P-521", &ECDSA_P521_SHA512_FIXED),
            Algorithm::EdDsa => Self::Ed25519(&ED25519),
        }
    }
}
