//! Makes access tokens, good and hostile ones. RSA keys are generated once a process; no secret is committed. It decides
//! nothing.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// A signing key with its id.
pub struct SigningKey {
    /// Its id; 43 characters, as Okta's are.
    pub kid: &'static str,
    pair: KeyPair,
    /// Modulus and exponent, as a JWK has them.
    pub public: (String, String),
}

/// The key that issuers of this process publish first.
pub fn signing_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate("k1-current-pTFzYqkQ0wWxoLhVv2nGZ9sJ7dRbE4aK"))
}

/// Another key: the next in a rotation, another issuer's, or a forger's.
pub fn other_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate("k2-another-mW3cXe8uB5tHnKfD1yQjR6gLzS0vPaO"))
}

impl SigningKey {
    fn generate(kid: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER } (RFC 8017 appendix A.1.1)
        let (sequence, _) = element(pair.public_key().as_ref());
        let (modulus, rest) = element(sequence);
        let (exponent, _) = element(rest);
        let coded = |number: &[u8]| URL_SAFE_NO_PAD.encode(number.strip_prefix(&[0]).unwrap_or(number));
        let public = (coded(modulus), coded(exponent));
        Self { kid, pair, public }
    }

    /// As issuers publish it.
    pub fn jwk(&self) -> Value {
        let (n, e) = &self.public;
        json!({"kty": "RSA", "alg": "RS256", "kid": self.kid, "use": "sig", "e": e, "n": n})
    }

    fn sign(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("a signature");
        signature
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
        let members = |value: Value| value.as_object().cloned().unwrap_or_default();
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

    /// Signed by this key, whatever the header says.
    pub fn signed_by(&self, key: &SigningKey) -> String {
        self.signed_with(key, &RSA_PKCS1_SHA256)
    }

    /// Signed with RSASSA-PKCS1 and SHA-512, whatever the header says.
    pub fn signed_sha512(&self) -> String {
        self.signed_with(signing_key(), &RSA_PKCS1_SHA512)
    }

    /// Signed with RSASSA-PSS and SHA-256, whatever the header says.
    pub fn signed_pss(&self) -> String {
        self.signed_with(signing_key(), &RSA_PSS_SHA256)
    }

    fn signed_with(&self, key: &SigningKey, encoding: &'static dyn RsaEncoding) -> String {
        let text = |members: &Map<_, _>| Value::Object(members.clone()).to_string();
        sign_raw(&text(&self.header), &text(&self.claims), key, encoding)
    }

    /// With an HMAC-SHA-256 over the published key's modulus: the classic confusion of algorithms.
    pub fn signed_hs256(&self) -> String {
        let text = |members: &Map<_, _>| URL_SAFE_NO_PAD.encode(Value::Object(members.clone()).to_string());
        let input = format!("{}.{}", text(&self.header), text(&self.claims));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, signing_key().public.0.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, input.as_bytes())))
    }
}

/// Signs any header and payload texts with the published key.
pub fn sign_text(header: &str, payload: &str) -> String {
    sign_raw(header, payload, signing_key(), &RSA_PKCS1_SHA256)
}

fn sign_raw(header: &str, payload: &str, key: &SigningKey, encoding: &'static dyn RsaEncoding) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(encoding, input.as_bytes())))
}

fn put(members: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

fn words(scp: &Value) -> String {
    let words = scp.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

/// Now.
pub fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock shows a time after 1970").as_secs()
}
