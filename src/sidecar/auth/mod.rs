//! Judges the access token of a request: who it speaks for, or why it is refused. Reads top-down: the header, the
//! remembered verdict, then by the issuer's mode the local check, the issuer's word, or both. It evaluates no policy.

mod bearer;
mod claims;
mod decision_cache;
mod introspection;
mod json;
mod jwt;
mod metrics;

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use tokio::time::Instant;
use tollgate_contract::ValidationMode;

pub use self::metrics::AuthMetrics;

use self::claims::Rules;
use self::decision_cache::{Decision, DecisionCache};
use self::introspection::{Introspector, Known, expiry};
use self::jwt::{Jws, Shape};
use crate::identity::Identity;
use crate::idp::{Issuer, Issuers, Key, Missing, TokenDigest};
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Judges tokens.
pub struct Authenticator {
    issuers: Arc<Issuers>,
    decisions: Arc<DecisionCache>,
    introspector: Introspector,
    metrics: AuthMetrics,
}

/// A token that is good under its issuer's key.
struct Sound {
    identity: Arc<Identity>,
    key: Arc<Key>,
}

impl Authenticator {
    /// Judges tokens of these issuers.
    #[must_use]
    pub fn new(issuers: Arc<Issuers>, metrics: AuthMetrics) -> Self {
        let decisions = Arc::new(DecisionCache::new());
        let introspector = Introspector::new(Arc::clone(&decisions), metrics.clone());
        Self { issuers, decisions, introspector, metrics }
    }

    /// Whom the request's token speaks for.
    ///
    /// # Errors
    /// Why it is refused, or why it could not be judged.
    pub async fn authenticate(&self, headers: &HeaderMap, now: SystemTime) -> Result<Arc<Identity>, Rejection> {
        let token = bearer::extract(headers)?;
        let digest = TokenDigest::of(token);
        if let Some(identity) = self.decisions.find(&digest, now) {
            self.metrics.cache_hits.inc();
            return Ok(identity);
        }
        self.metrics.cache_misses.inc();
        // Boxed: the way through the caches stays small, and only this one is long.
        Box::pin(self.judge(token, digest, now)).await
    }

    async fn judge(&self, token: &str, digest: TokenDigest, now: SystemTime) -> Result<Arc<Identity>, Rejection> {
        let arrival = Instant::now();
        if let Some(rejection) = self.introspector.refused(&digest, now) {
            return Err(rejection);
        }
        let unreadable = match Shape::of(token) {
            Shape::Opaque => Rejection::new(Reason::MalformedToken, "The token is no signed JWT."),
            Shape::Encrypted => {
                Rejection::new(Reason::EncryptedToken, "The token is encrypted, and there is no key to read it.")
            }
            Shape::Signed => match Jws::parse(token) {
                Ok(jws) => return self.judge_signed(token, &jws, digest, now, arrival).await,
                Err(rejection) => rejection,
            },
        };
        // What we cannot read may still mean something to the issuer that judges its tokens alone.
        match self.judge_of_opaque_tokens() {
            Some(issuer) => self.introspector.ask(issuer, token, digest, Known::Nothing, now).await,
            None => Err(unreadable),
        }
    }

    async fn judge_signed(
        &self,
        token: &str,
        jws: &Jws<'_>,
        digest: TokenDigest,
        now: SystemTime,
        arrival: Instant,
    ) -> Result<Arc<Identity>, Rejection> {
        let org = self.judge_of_opaque_tokens().filter(|issuer| issuer.is_org_server());
        let named = jws.claims.issuer().map(|iss| self.issuers.of_token(iss));
        let issuer = match (named, org) {
            (Ok(Some(issuer)), _) => issuer,
            // By Okta's word, nothing in an org server's token means anything to us, its `iss` included.
            (_, Some(org)) => org,
            (Ok(None), None) => {
                return Err(Rejection::new(Reason::IssuerMismatch, "The token is of an issuer that is not accepted."));
            }
            (Err(rejection), None) => return Err(rejection),
        };
        match issuer.mode() {
            ValidationMode::Local => {
                let Sound { identity, key } = check_locally(issuer, jws, now, arrival).await?;
                let fresh_until = expiry(&identity).map_or(now, |exp| exp + issuer.clock_skew());
                self.decisions.remember(digest, Decision::new(Arc::clone(&identity), Some(key), fresh_until), now);
                Ok(identity)
            }
            ValidationMode::LocalAndIntrospection => {
                let Sound { identity, key } = check_locally(issuer, jws, now, arrival).await?;
                let known = Known::Sound { identity, key, answer_speaks: false };
                self.introspector.ask(issuer, token, digest, known, now).await
            }
            ValidationMode::Introspection => {
                let known = if issuer.is_org_server() { Known::Nothing } else { look_at(issuer, jws, now)? };
                self.introspector.ask(issuer, token, digest, known, now).await
            }
        }
    }

    /// The one issuer whose tokens only it can read; the policy has at most one.
    fn judge_of_opaque_tokens(&self) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.mode() == ValidationMode::Introspection)
    }
}

/// Header, claims, then signature: a token that is refused anyway costs no signature check, and above all no fetch of
/// keys.
async fn check_locally(issuer: &Issuer, jws: &Jws<'_>, now: SystemTime, arrival: Instant) -> Result<Sound, Rejection> {
    jws.check_header()?;
    let facts = jws.claims.judge_token(&rules(issuer), now)?;
    let identity = facts.into_identity(issuer.name(), issuer.url_header())?;
    let set = issuer.keys().holding(jws.kid(), arrival).await.map_err(|missing| no_key(&missing))?;
    let signed_by = set.candidates(jws.kid()).find(|key| jws.is_signed_by(key));
    let key = signed_by.ok_or_else(bad_signature)?;
    Ok(Sound { identity: Arc::new(identity), key: Arc::clone(key) })
}

/// What can be said of a token whose issuer alone judges it: refused when certainly bad, sound when all checks out with
/// a key that is known already, else nothing.
fn look_at(issuer: &Issuer, jws: &Jws<'_>, now: SystemTime) -> Result<Known, Rejection> {
    let rules = rules(issuer);
    jws.claims.refuse_certainly_bad(&rules, now)?;
    let set = issuer.keys().current();
    let mut candidates = set.candidates(jws.kid()).peekable();
    if !jws.names_our_algorithm() || jws.kid().is_none() || candidates.peek().is_none() {
        return Ok(Known::Nothing);
    }
    let key = candidates.find(|key| jws.is_signed_by(key)).ok_or_else(bad_signature)?;
    let identity = jws
        .check_header()
        .and_then(|()| jws.claims.judge_token(&rules, now))
        .and_then(|facts| facts.into_identity(issuer.name(), issuer.url_header()));
    Ok(match identity {
        Ok(identity) => Known::Sound { identity: Arc::new(identity), key: Arc::clone(key), answer_speaks: true },
        Err(_) => Known::Nothing,
    })
}

/// What the policy wants of an issuer's tokens.
fn rules(issuer: &Issuer) -> Rules<'_> {
    Rules {
        audiences: issuer.audiences(),
        clock_skew: issuer.clock_skew(),
        own_client: issuer.own_client_id(),
        okta: issuer.mints_okta_tokens(),
    }
}

fn no_key(missing: &Missing) -> Rejection {
    match missing {
        Missing::Unknown => {
            Rejection::new(Reason::UnknownKey, "The token is signed with a key that its issuer does not publish.")
        }
        Missing::Unavailable(error) => error.rejection(),
        Missing::OverBudget { retry_after } => {
            let detail = "Too many unknown keys were asked for; the token was not judged.";
            Rejection::new(Reason::Overloaded, detail).retry_after(*retry_after)
        }
    }
}

fn bad_signature() -> Rejection {
    Rejection::new(Reason::BadSignature, "The token's signature does not verify under its issuer's key.")
}
