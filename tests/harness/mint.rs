//! Makes access tokens, good and hostile ones. It decides nothing.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tollgate_contract::Algorithm;

use crate::compact::{jws, members, put, text};
use crate::keys::KeyPair;

/// A signing key with its id.
pub struct SigningKey {
    /// Its id; 43 characters, as Okta's are.
    pub kid: &'static str,
    pair: KeyPair,
}

/// The key that issuers of this process publish first.
pub fn signing_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate("k1-current-pTFzYqkQ0wWxoLhVv2nGZ9sJ7dRbE4aK", Algorithm::Rs256))
}

/// Another key: the next in a rotation, another issuer's, or a forger's.
pub fn other_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate("k2-another-mW3cXe8uB5tHnKfD1yQjR6gLzS0vPaO", Algorithm::Rs256))
}

impl SigningKey {
    /// A new key, for one algorithm.
    pub fn generate(kid: &'static str, algorithm: Algorithm) -> Self {
        Self { kid, pair: KeyPair::generate(algorithm) }
    }

    /// As issuers publish it.
    pub fn jwk(&self) -> Value {
        self.pair.jwk(self.kid)
    }

    /// Signs as a JWS does, with its own algorithm.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(self.pair.algorithm(), message)
    }

    /// Its own algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.pair.algorithm()
    }
}

/// A token in the making. Starts as one that Okta would mint: header with `alg` and `kid`, Okta's claims.
#[derive(Clone)]
pub struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    /// A good token of `issuer` for `api://default` with the scope `items`.
    pub fn of(issuer: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let nth = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = epoch_seconds();
        let header = json!({"kid": signing_key().kid, "alg": "RS256"});
        let claims = json!({
            "ver": 1, "jti": format!("AT.test-{nth}"), "iss": issuer, "aud": "api://default", "iat": now,
            "exp": now + 3600, "cid": "0oaCaller", "scp": ["items"], "sub": "0oaCaller",
        });
        Self { header: members(header), claims: members(claims) }
    }

    /// With a claim set, or taken out where the value is null.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        put(&mut self.claims, name, value);
        self
    }

    /// With a header member set, or taken out where the value is null.
    #[must_use]
    pub fn header(mut self, name: &str, value: Value) -> Self {
        put(&mut self.header, name, value);
        self
    }

    /// What an introspection endpoint says of it: Okta's names.
    pub fn answer(&self) -> Value {
        let mut answer = self.claims.clone();
        answer.remove("ver");
        let scope = answer.remove("scp").map(|scp| words(&scp));
        let client = answer.remove("cid");
        put(&mut answer, "scope", scope.map_or(Value::Null, Value::String));
        put(&mut answer, "client_id", client.unwrap_or(Value::Null));
        put(&mut answer, "active", json!(true));
        put(&mut answer, "token_type", json!("Bearer"));
        Value::Object(answer)
    }

    /// Signed by the published key.
    pub fn signed(&self) -> String {
        self.signed_by(signing_key())
    }

    /// As an issuer with this key mints it: the header names the key and its algorithm.
    pub fn minted_by(&self, key: &SigningKey) -> String {
        let algorithm = json!(key.algorithm().as_str());
        self.clone().header("kid", json!(key.kid)).header("alg", algorithm).signed_by(key)
    }

    /// Signed by this key, whatever the header says.
    pub fn signed_by(&self, key: &SigningKey) -> String {
        self.with_signature(|input| key.sign(input))
    }

    /// Signed by this RSA key with this RSA algorithm, whatever the header says.
    pub fn signed_with(&self, key: &SigningKey, algorithm: Algorithm) -> String {
        self.with_signature(|input| key.pair.sign(algorithm, input))
    }

    /// With an HMAC-SHA-256 under a secret that everybody knows: the classic confusion of algorithms.
    pub fn signed_hmac(&self, secret: &[u8]) -> String {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        self.with_signature(|input| aws_lc_rs::hmac::sign(&key, input).as_ref().to_vec())
    }

    /// With whatever octets as its signature, made from what is to be signed.
    pub fn with_signature(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        jws(text(&self.header).as_bytes(), text(&self.claims).as_bytes(), sign)
    }
}

/// Signs any header and payload with the published key.
pub fn sign_raw(header: &[u8], payload: &[u8]) -> String {
    jws(header, payload, |input| signing_key().sign(input))
}

fn words(scp: &Value) -> String {
    let words = scp.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

/// Now.
pub fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock shows a time after 1970").as_secs()
}
