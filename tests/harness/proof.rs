//! Makes DPoP proofs (RFC 9449), good and hostile ones. The sidecar's unit tests compile this file too. It decides nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use tollgate_contract::Algorithm;

use super::compact::{jws, members, put, text};
use super::keys::KeyPair;

/// A proof in the making. Starts as a good one.
#[derive(Clone)]
pub struct Proof {
    /// Its JOSE header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
    key: &'static KeyPair,
    algorithm: Algorithm,
}

impl Proof {
    /// For a `GET` of this URL with this token at this time, in seconds since the epoch.
    pub fn of(key: &'static KeyPair, url: &str, token: &str, now: u64) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let hash = digest(&SHA256, token.as_bytes());
        Self {
            header: members(json!({"typ": "dpop+jwt", "alg": key.algorithm().as_str(), "jwk": key.public()})),
            claims: members(json!({
                "htm": "GET", "htu": url, "iat": now, "jti": format!("proof-{nth}"),
                "ath": URL_SAFE_NO_PAD.encode(hash.as_ref()),
            })),
            key,
            algorithm: key.algorithm(),
        }
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

    /// Signed by another key than its header names.
    #[must_use]
    pub fn signed_by(mut self, key: &'static KeyPair) -> Self {
        self.key = key;
        self
    }

    /// As it stands in the `DPoP` header.
    pub fn text(&self) -> String {
        self.over(&text(&self.claims))
    }

    /// Over any payload.
    pub fn over(&self, payload: &str) -> String {
        jws(text(&self.header).as_bytes(), payload.as_bytes(), |input| self.key.sign(self.algorithm, input))
    }

    /// With other claims under the signature of its own.
    pub fn forged(&self, name: &str, value: Value) -> String {
        let claims = text(&self.clone().claim(name, value).claims);
        jws(text(&self.header).as_bytes(), claims.as_bytes(), |_| {
            let own = self.text();
            let (_, signature) = own.rsplit_once('.').expect("three parts");
            URL_SAFE_NO_PAD.decode(signature).expect("base64url")
        })
    }

    /// Without a signature.
    pub fn unsigned(&self) -> String {
        jws(text(&self.header).as_bytes(), text(&self.claims).as_bytes(), |_| Vec::new())
    }
}

/// The key's thumbprint (RFC 7638), as `cnf.jkt` holds it.
pub fn thumbprint(key: &KeyPair) -> String {
    let public = key.public();
    // In alphabetical order; no member needs escapes.
    let members: BTreeMap<&String, &Value> = public.as_object().into_iter().flatten().collect();
    let members = serde_json::to_string(&members).expect("JSON");
    URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()).as_ref())
}
