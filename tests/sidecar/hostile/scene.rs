//! One sidecar with four issuers, so that keys of each are tried on tokens of the others. It decides nothing.

use std::sync::OnceLock;

use serde_json::json;
use tests::issuer::FakeIssuer;
use tests::mint::{SigningKey, Token};
use tests::wait::eventually;
use tollgate_contract::{
    Access, Algorithm, IssuerConfig, PathMatch, RouteConfig, ScopesConfig, SidecarConfig, TokenProfile, ValidationMode,
};

use crate::world::{Answer, PATIENCE, World};

/// A request that must be refused, and how.
pub(crate) struct Row {
    pub(crate) statement: u8,
    pub(crate) name: &'static str,
    pub(crate) sent: Sent,
    pub(crate) status: u16,
    /// Of the challenge; empty where there is none.
    pub(crate) error: &'static str,
    pub(crate) reason: &'static str,
}

pub(crate) enum Sent {
    /// As `Bearer`, for `/items`.
    Token(String),
    /// These `Authorization` headers, for this path.
    To(&'static str, Vec<String>),
}

impl Row {
    /// A token that is refused with 401 `invalid_token`.
    pub(crate) fn token(statement: u8, name: &'static str, token: impl Into<String>, reason: &'static str) -> Self {
        Self { statement, name, sent: Sent::Token(token.into()), status: 401, error: "invalid_token", reason }
    }
}

/// The sidecar and its issuers. `world.issuer` is Okta-like and signs with RS256.
pub(crate) struct Scene {
    pub(crate) world: World,
    /// Signs with ES256, EdDSA and PS256.
    pub(crate) partner: FakeIssuer,
    /// Keeps to RFC 9068, signs with RS256, and lets tokens live for an hour.
    pub(crate) strict: FakeIssuer,
    /// Is asked about each token too.
    pub(crate) asked: FakeIssuer,
}

/// The partner's keys, and the strict issuer's.
pub(crate) struct Keys {
    pub(crate) es256: SigningKey,
    pub(crate) eddsa: SigningKey,
    pub(crate) ps256: SigningKey,
    pub(crate) strict: SigningKey,
}

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        es256: SigningKey::generate("p1-es256-Zk3vQ9tWb6nXc0yRj8mHd5sLfUaGeTiPqKoV", Algorithm::Es256),
        eddsa: SigningKey::generate("p2-eddsa-N7uJr2xPzE4wYh1aCq6gMv9kStBdLfOiVyXe", Algorithm::EdDsa),
        ps256: SigningKey::generate("p3-ps256-H0bTf5lKj8sRq3nDz1vWc7mYx4gPuEaOiLtk", Algorithm::Ps256),
        strict: SigningKey::generate("s1-rs256-V6eXw2yNq9hBm0rKt4jUc8zLf1gPdSaOiTvu", Algorithm::Rs256),
    })
}

impl Scene {
    /// With the first issuer's tokens judged locally.
    pub(crate) async fn start() -> Self {
        Self::start_in(ValidationMode::Local).await
    }

    /// With the first issuer's tokens judged in this mode.
    pub(crate) async fn start_in(mode: ValidationMode) -> Self {
        let okta = FakeIssuer::start().await;
        let (partner, strict, asked) =
            (FakeIssuer::start().await, FakeIssuer::start().await, FakeIssuer::start().await);
        let keys = keys();
        partner.publish(&[keys.es256.jwk(), keys.eddsa.jwk(), keys.ps256.jwk()]);
        strict.publish(&[keys.strict.jwk()]);
        asked.client("0oaApi", &["api-secret"]);
        let change = |config: &mut SidecarConfig| {
            let base = IssuerConfig { validation: ValidationMode::Local, ..config.issuers[0].clone() };
            let like = |name: &str, issuer: &FakeIssuer| IssuerConfig {
                name: name.into(),
                url: issuer.url(),
                ca_file: Some(issuer.ca_file().display().to_string()),
                ..base.clone()
            };
            let partner = IssuerConfig {
                algorithms: vec![Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ps256],
                ..like("partner", &partner)
            };
            let strict = IssuerConfig {
                token_profile: TokenProfile::Rfc9068,
                max_token_lifetime_seconds: 3600,
                ..like("strict", &strict)
            };
            let asked = IssuerConfig { validation: ValidationMode::LocalAndIntrospection, ..like("asked", &asked) };
            config.issuers.extend([partner, strict, asked]);
            config.routes.push(RouteConfig {
                name: "admin".into(),
                path: PathMatch::Prefix("/admin".into()),
                methods: Vec::new(),
                access: Access::Authenticated,
                scopes: ScopesConfig { all_of: vec!["admin".into()], any_of: Vec::new() },
                issuers: Vec::new(),
                when: None,
            });
        };
        let world = World::start(okta, mode, change).await;
        world.await_ready().await;
        eventually("the keys are there", PATIENCE, || async {
            if world.report().await.issuers.iter().any(|issuer| issuer.key_ids.is_empty()) {
                Err("no keys")
            } else {
                Ok(())
            }
        })
        .await;
        Self { world, partner, strict, asked }
    }

    /// A good token of the first issuer, in the making.
    pub(crate) fn okta(&self) -> Token {
        self.world.issuer.token()
    }

    /// A good token of the strict issuer, in the making.
    pub(crate) fn rfc9068(&self) -> Token {
        let token = self.strict.token().header("typ", json!("at+jwt")).header("kid", json!(keys().strict.kid));
        let token = token.claim("scp", json!(null)).claim("cid", json!(null)).claim("ver", json!(null));
        token.claim("scope", json!("items")).claim("client_id", json!("0oaCaller"))
    }

    pub(crate) async fn send(&self, sent: &Sent) -> Answer {
        match sent {
            Sent::Token(token) => self.world.get(token).await,
            Sent::To(path, headers) => {
                let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
                self.world.get_at(path, &headers).await
            }
        }
    }
}
