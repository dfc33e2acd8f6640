//! Keys and proofs for the unit tests. They come from the harness of the integration tests, whose files are compiled here
//! too.

use std::sync::OnceLock;

use serde_json::Value;
use tollgate_contract::Algorithm;

#[path = "../../tests/harness/compact.rs"]
pub mod compact;
#[path = "../../tests/harness/keys.rs"]
pub mod keys;
#[path = "../../tests/harness/proof.rs"]
pub mod proof;

/// An RSA key pair.
pub(crate) struct RsaKey(keys::KeyPair);

impl RsaKey {
    pub(crate) fn first() -> &'static Self {
        static KEY: OnceLock<RsaKey> = OnceLock::new();
        KEY.get_or_init(Self::generate)
    }

    pub(crate) fn second() -> &'static Self {
        static KEY: OnceLock<RsaKey> = OnceLock::new();
        KEY.get_or_init(Self::generate)
    }

    fn generate() -> Self {
        Self(keys::KeyPair::generate(Algorithm::Rs256))
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        self.0.jwk(kid)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(Algorithm::Rs256, message)
    }
}
