//! Judges the access token of a request: who it speaks for, or why it is refused. Reads top-down: the header, the
//! remembered verdict, then by the issuer's mode the local check, the issuer's word, or both. It evaluates no policy.

mod certificate;
mod claims;
mod credentials;
mod decision_cache;
mod dpop;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod introspection;
mod jwt;
mod metrics;
mod subprotocol;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;
use tollgate_contract::{OnOutage, ValidationMode};
use tracing::debug;

pub use self::credentials::Scheme;
pub use self::dpop::Dpop;
pub use self::metrics::AuthMetrics;
pub(crate) use self::subprotocol::strip as strip_subprotocol;

use self::claims::{Kept, Rules};
use self::credentials::Credentials;
use self::decision_cache::{Decision, DecisionCache};
use self::dpop::Sent;
use self::introspection::{Introspector, Known, accepted_until};
use self::jwt::{Jws, Shape};
use crate::claim_headers::ClaimHeaders;
use crate::identity::{Identity, Thumbprint};
use crate::idp::{Issuer, Issuers, Key, KeySet, Missing, TokenDigest};
use crate::jose::Algorithm;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Judges tokens.
pub struct Authenticator {
    issuers: Arc<Issuers>,
    decisions: Arc<DecisionCache>,
    introspector: Introspector,
    dpop: Dpop,
    kept: Arc<Kept>,
    metrics: AuthMetrics,
}

/// A request whose token is good and in the right hands.
#[derive(Debug)]
pub struct Admission {
    /// Whom the token speaks for.
    pub identity: Arc<Identity>,
    /// A new nonce for the caller's DPoP proofs, to go out with the answer.
    pub dpop_nonce: Option<HeaderValue>,
    /// What a stream that goes on goes on by.
    pub grant: Grant,
}

/// What can be asked again of a token while its stream goes on, without the token.
#[derive(Clone)]
pub struct Grant {
    digest: TokenDigest,
    /// The key that verified it; none where the issuer alone judged.
    key: Option<Arc<Key>>,
    /// When the token stops being accepted, its issuer's clock skew counted in; seconds since the epoch.
    pub accepted_until: u64,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("accepted_until", &self.accepted_until).finish_non_exhaustive()
    }
}

/// What a caller presents with a request, for credentials to be found in and bound to.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The path as received.
    pub path: &'a str,
    /// The query as received.
    pub query: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Who is asking, as far as the network says.
    pub from: IpAddr,
    /// Of the certificate that the connection's caller showed, under a CA of the policy.
    pub certificate: Option<Thumbprint>,
    /// Whether the token may stand among the subprotocols of a WebSocket.
    pub may_be_subprotocol: bool,
}

/// A token to judge, and when.
#[derive(Clone, Copy)]
struct Asked<'a> {
    token: &'a str,
    digest: TokenDigest,
    now: SystemTime,
    /// The same moment on the clock that waits are measured by.
    arrival: Instant,
    /// Who is asking, as far as the network says.
    from: IpAddr,
    /// Of the certificate that the sender has shown. No verdict on the token may rest on it.
    certificate: Option<Thumbprint>,
    /// What is kept of its claims with the identity.
    kept: &'a Arc<Kept>,
}

/// A token that is good under its issuer's key.
struct Sound {
    identity: Arc<Identity>,
    key: Arc<Key>,
}

impl Authenticator {
    /// Judges tokens of these issuers. `keep_claims` is for policies with rules on claims; it costs their memory, and
    /// `claim_headers` that of the headers.
    #[must_use]
    pub(crate) fn new(
        issuers: Arc<Issuers>,
        dpop: Dpop,
        keep_claims: bool,
        claim_headers: Arc<ClaimHeaders>,
        metrics: AuthMetrics,
    ) -> Self {
        for issuer in issuers.iter().filter(|issuer| issuer.on_outage() != OnOutage::Reject) {
            metrics.begin(issuer.name());
        }
        let kept = Arc::new(Kept { whole: keep_claims, headers: claim_headers });
        let decisions = Arc::new(DecisionCache::new());
        let introspector = Introspector::new(Arc::clone(&decisions), metrics.clone());
        Self { issuers, decisions, introspector, dpop, kept, metrics }
    }

    /// Whom the request's token speaks for, if it came from whom it is bound to.
    ///
    /// # Errors
    /// Why it is refused, or why it could not be judged.
    pub async fn authenticate(&self, presented: Presented<'_>, now: SystemTime) -> Result<Admission, Rejection> {
        let credentials = Credentials::of(&presented)?;
        let scheme = credentials.scheme();
        self.dpop.check_scheme(scheme)?;
        let digest = TokenDigest::of(credentials.bytes());
        let (identity, key) = if let Some(decision) = self.decisions.find(&digest, now) {
            self.metrics.cache_hits.inc();
            (decision.identity, decision.key)
        } else {
            let token = credentials.token()?;
            self.metrics.cache_misses.inc();
            // Boxed: the way through the caches stays small, and only this one is long.
            let arrival = Instant::now();
            let Presented { from, certificate, .. } = presented;
            let asked = Asked { token, digest, now, arrival, from, certificate, kept: &self.kept };
            let identity = Box::pin(self.judge(asked)).await?;
            (identity, self.decisions.earlier(&digest, now).and_then(|decision| decision.key))
        };
        // A remembered verdict says nothing about who sends the token this time.
        certificate::check(identity.bound_to, presented.certificate)?;
        let dpop_nonce = self.dpop.check(&identity, &Sent { scheme, token: digest, presented, now })?;
        let grant = Grant { digest, key, accepted_until: identity.accepted_until };
        Ok(Admission { identity, dpop_nonce, grant })
    }

    /// Whether a token that was good before is still not known to be bad, its expiry aside. Asks nobody.
    ///
    /// # Errors
    /// Its key is gone, or its issuer has said meanwhile that it is not active.
    pub fn still_stands(&self, grant: &Grant) -> Result<(), Reason> {
        if grant.key.as_ref().is_some_and(|key| !key.is_in_force()) {
            return Err(Reason::UnknownKey);
        }
        if self.introspector.is_known_inactive(&grant.digest) {
            return Err(Reason::Inactive);
        }
        Ok(())
    }

    async fn judge(&self, asked: Asked<'_>) -> Result<Arc<Identity>, Rejection> {
        if let Some(rejection) = self.introspector.refused(&asked.digest, asked.now) {
            return Err(rejection);
        }
        let unreadable = match Shape::of(asked.token) {
            Shape::Opaque => Rejection::new(Reason::MalformedToken, "The token is no signed JWT."),
            Shape::Encrypted => {
                Rejection::new(Reason::EncryptedToken, "The token is encrypted, and there is no key to read it.")
            }
            Shape::Signed => match Jws::parse(asked.token) {
                Ok(jws) => return self.judge_signed(asked, &jws).await,
                Err(rejection) => rejection,
            },
        };
        // What we cannot read may still mean something to the issuer that judges its tokens alone.
        match self.judge_of_opaque_tokens() {
            Some(issuer) => self.introspector.ask(issuer, asked, Known::Nothing { bound_to: None }).await,
            None => Err(unreadable),
        }
    }

    async fn judge_signed(&self, asked: Asked<'_>, jws: &Jws<'_>) -> Result<Arc<Identity>, Rejection> {
        let issuer = self.issuer_of(jws)?;
        let verdict = self.judge_by_mode(issuer, asked, jws).await;
        if matches!(&verdict, Err(rejection) if rejection.reason == Reason::AudienceMismatch) {
            debug!(issuer = issuer.name(), aud = jws.claims.shown("aud"), "a token for another audience");
        }
        verdict
    }

    async fn judge_by_mode(
        &self,
        issuer: &Arc<Issuer>,
        asked: Asked<'_>,
        jws: &Jws<'_>,
    ) -> Result<Arc<Identity>, Rejection> {
        match issuer.mode() {
            ValidationMode::Local => {
                let Sound { identity, key } = check_locally(issuer, asked, jws).await?;
                let fresh_until = accepted_until(&identity).unwrap_or(asked.now);
                let decision = Decision::new(Arc::clone(&identity), Some(key), fresh_until);
                self.decisions.remember(asked.digest, decision, asked.now);
                Ok(identity)
            }
            ValidationMode::LocalAndIntrospection => {
                let Sound { identity, key } = check_locally(issuer, asked, jws).await?;
                let known = Known::Sound { identity, key, answer_speaks: false };
                self.introspector.ask(issuer, asked, known).await
            }
            ValidationMode::Introspection => {
                let unread = Known::Nothing { bound_to: None };
                let known = if issuer.is_org_server() { unread } else { look_at(issuer, asked, jws).await? };
                self.introspector.ask(issuer, asked, known).await
            }
        }
    }

    /// The issuer that a signed token names.
    fn issuer_of(&self, jws: &Jws<'_>) -> Result<&Arc<Issuer>, Rejection> {
        let org = self.judge_of_opaque_tokens().filter(|issuer| issuer.is_org_server());
        match (jws.claims.issuer().map(|iss| self.issuers.of_token(iss)), org) {
            (Ok(Some(issuer)), _) => Ok(issuer),
            // By Okta's word, nothing in an org server's token means anything to us, its `iss` included.
            (_, Some(org)) => Ok(org),
            (Ok(None), None) => {
                // The commonest mistake of set-ups: an org server's token, or a slash too many. An iss is no secret.
                debug!(iss = jws.claims.shown("iss"), "a token of an issuer that the policy does not name");
                Err(Rejection::new(Reason::IssuerMismatch, "The token is of an issuer that is not accepted."))
            }
            (Err(rejection), None) => Err(rejection),
        }
    }

    /// The one issuer whose tokens only it can read; the policy has at most one.
    fn judge_of_opaque_tokens(&self) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.mode() == ValidationMode::Introspection)
    }
}

/// Header, claims, then signature: a token that is refused anyway costs no signature check, and above all no fetch of
/// keys.
async fn check_locally(issuer: &Issuer, asked: Asked<'_>, jws: &Jws<'_>) -> Result<Sound, Rejection> {
    let algorithm = jws.check_header(issuer.algorithms(), issuer.token_profile())?;
    let facts = jws.claims.judge_token(&rules(issuer, asked.kept), asked.now)?;
    let identity = facts.into_identity(issuer.shared_name(), issuer.url_header())?;
    // Checked again at the end; here so that a token in the wrong hands costs no fetch and no question.
    certificate::check(identity.bound_to, asked.certificate)?;
    let set = issuer.keys().holding(jws.kid(), asked.arrival).await.map_err(|missing| no_key(&missing))?;
    let key = match signer(&set, jws, algorithm) {
        Some(key) => key,
        None => signer_in_newer_set(issuer, asked, jws, algorithm).await?,
    };
    Ok(Sound { identity: Arc::new(identity), key })
}

/// What can be said of a token whose issuer alone judges it: refused when certainly bad, sound when all checks out with
/// a key that is known already, else nothing.
async fn look_at(issuer: &Issuer, asked: Asked<'_>, jws: &Jws<'_>) -> Result<Known, Rejection> {
    let rules = rules(issuer, asked.kept);
    jws.check_type(issuer.token_profile())?;
    jws.claims.refuse_certainly_bad(&rules, asked.now)?;
    let bound_to = jws.claims.confirmation()?;
    certificate::check(bound_to, asked.certificate)?;
    let unverified = Known::Nothing { bound_to };
    let Ok(algorithm) = jws.algorithm(issuer.algorithms()) else { return Ok(unverified) };
    let set = issuer.keys().current();
    let is_kid_known = jws.kid().is_some() && set.candidates(jws.kid()).next().is_some();
    let key = match signer(&set, jws, algorithm) {
        Some(key) => key,
        None if is_kid_known => signer_in_newer_set(issuer, asked, jws, algorithm).await?,
        None => return Ok(unverified),
    };
    // From here on it is the issuer's own word: what the policy does not want in it, no answer makes good.
    jws.check_header(issuer.algorithms(), issuer.token_profile())?;
    let facts = jws.claims.judge_token(&rules, asked.now)?;
    let identity = Arc::new(facts.into_identity(issuer.shared_name(), issuer.url_header())?);
    Ok(Known::Sound { identity, key, answer_speaks: true })
}

/// The key of a set that made the token's signature.
fn signer(set: &KeySet, jws: &Jws<'_>, algorithm: Algorithm) -> Option<Arc<Key>> {
    set.candidates(jws.kid()).find(|key| jws.is_signed_by(key, algorithm)).cloned()
}

/// The same where the set in force did not hold it: a key may have been replaced under its `kid`, or be new and named by
/// none.
async fn signer_in_newer_set(
    issuer: &Issuer,
    asked: Asked<'_>,
    jws: &Jws<'_>,
    algorithm: Algorithm,
) -> Result<Arc<Key>, Rejection> {
    let newer = issuer.keys().newer(asked.arrival).await;
    newer.and_then(|set| signer(&set, jws, algorithm)).ok_or_else(bad_signature)
}

/// What the policy wants of an issuer's tokens.
fn rules<'a>(issuer: &'a Issuer, kept: &'a Kept) -> Rules<'a> {
    Rules {
        audiences: issuer.audiences(),
        clock_skew: issuer.clock_skew(),
        max_lifetime: issuer.max_token_lifetime(),
        profile: issuer.token_profile(),
        own_client: issuer.own_client_id(),
        okta: issuer.mints_okta_tokens(),
        kept,
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
