//! Asks an issuer what a token is worth (RFC 7662), once for all who wait, and remembers refusals. What an answer is
//! worth is decided here and in `claims`; a failed question is never a verdict.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use quick_cache::sync::Cache;
use serde_json::Value;

use super::claims::Claims;
use super::decision_cache::{Decision, DecisionCache};
use super::metrics::AuthMetrics;
use super::{Asked, rules};
use crate::identity::Identity;
use crate::idp::{IdpError, Issuer, Key, Reply, SingleFlight, Standing, TokenDigest};
use crate::jose::json;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Refused tokens that are remembered; 100 bytes each.
const REFUSALS: usize = 50_000;

/// How long a refusal is remembered where nothing else is known of the token.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// What is already known of a token that its issuer is asked about.
#[derive(Clone)]
pub(crate) enum Known {
    /// Nothing.
    Nothing,
    /// Signature and claims are good under the issuer's key, until the token expires.
    Sound {
        /// What its claims say.
        identity: Arc<Identity>,
        /// The key that verified it.
        key: Arc<Key>,
        /// Whether the issuer's answer replaces the claims (the issuer alone judges) or only has to agree.
        answer_speaks: bool,
    },
}

/// Asks issuers.
pub(crate) struct Introspector {
    shared: Arc<Shared>,
    flights: SingleFlight<TokenDigest, Result<Arc<Identity>, Rejection>>,
}

struct Shared {
    decisions: Arc<DecisionCache>,
    refusals: Cache<TokenDigest, Refusal>,
    metrics: AuthMetrics,
}

#[derive(Clone)]
struct Refusal {
    rejection: Rejection,
    until: SystemTime,
}

impl Introspector {
    pub(crate) fn new(decisions: Arc<DecisionCache>, metrics: AuthMetrics) -> Self {
        let shared = Shared { decisions, refusals: Cache::new(REFUSALS), metrics };
        Self { shared: Arc::new(shared), flights: SingleFlight::default() }
    }

    /// A refusal that still holds.
    pub(crate) fn refused(&self, token: &TokenDigest, now: SystemTime) -> Option<Rejection> {
        let refusal = self.shared.refusals.get(token)?;
        (now < refusal.until).then_some(refusal.rejection)
    }

    /// Asks `issuer` about a token, or joins those who already do. Good answers go into the decision cache.
    pub(super) async fn ask(
        &self,
        issuer: &Arc<Issuer>,
        asked: Asked<'_>,
        known: Known,
    ) -> Result<Arc<Identity>, Rejection> {
        let Asked { token, digest, now, from, .. } = asked;
        let standing = match known {
            Known::Nothing => Standing::Stranger(from),
            Known::Sound { .. } => Standing::Sound,
        };
        let work = || {
            let (shared, issuer, token) = (Arc::clone(&self.shared), Arc::clone(issuer), token.to_owned());
            async move { shared.ask(&issuer, &token, digest, known, standing, now).await }
        };
        self.flights.run(digest, work).await
    }
}

impl Shared {
    async fn ask(
        &self,
        issuer: &Issuer,
        token: &str,
        digest: TokenDigest,
        known: Known,
        standing: Standing,
        now: SystemTime,
    ) -> Result<Arc<Identity>, Rejection> {
        let answer = issuer.introspect(token, standing).await.and_then(|reply| read(&reply));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.metrics.introspected(issuer.name(), error.reason().as_str());
                return Err(error.rejection());
            }
        };
        let verdict = judge(issuer, answer, known.clone(), now);
        match &verdict {
            Ok(decision) => {
                self.metrics.introspected(issuer.name(), "active");
                self.decisions.remember(digest, decision.clone(), now);
            }
            Err(rejection) => {
                self.metrics.introspected(issuer.name(), rejection.reason.as_str());
                let mut until = now + REFUSED_FOR;
                if rejection.reason == Reason::Inactive {
                    issuer.issued().mark_inactive(&digest);
                    // A token that was good once does not come back to life. Other refusals may be the fault of the
                    // issuer's settings, which somebody may be mending.
                    if let Known::Sound { identity, .. } = &known {
                        until = expiry(identity).map_or(until, |exp| exp + issuer.clock_skew());
                    }
                }
                self.refusals.insert(digest, Refusal { rejection: rejection.clone(), until });
            }
        }
        verdict.map(|decision| decision.identity)
    }
}

/// The members of an answer; `None` when it does not say `active: true`.
fn read(reply: &Reply) -> Result<Option<Claims>, IdpError> {
    if reply.status != StatusCode::OK {
        return Err(IdpError::BadResponse("introspection did not end with status 200"));
    }
    let members = json::object(&reply.body).ok_or(IdpError::BadResponse("introspection gave no JSON object"))?;
    let active = members.get("active") == Some(&Value::Bool(true));
    Ok(active.then(|| Claims::new(members)))
}

fn judge(issuer: &Issuer, answer: Option<Claims>, known: Known, now: SystemTime) -> Result<Decision, Rejection> {
    let Some(answer) = answer else {
        return Err(Rejection::new(Reason::Inactive, "The authorization server says that the token is not active."));
    };
    let facts = answer.judge_answer(issuer.url(), &rules(issuer), now)?;
    let answered = Arc::new(facts.into_identity(issuer.name(), issuer.url_header())?);
    // Never past the token's expiry, by the answer as well as by its own claims.
    let mut fresh_until = now + issuer.introspection_cache();
    fresh_until = expiry(&answered).map_or(fresh_until, |exp| exp.min(fresh_until));
    let (identity, key) = match known {
        Known::Nothing => (answered, None),
        Known::Sound { identity, key, answer_speaks } => {
            fresh_until = expiry(&identity).map_or(fresh_until, |exp| exp.min(fresh_until));
            (if answer_speaks { answered } else { identity }, Some(key))
        }
    };
    Ok(Decision::new(identity, key, fresh_until))
}

/// `None` for a time beyond what a clock can show.
pub(super) fn expiry(identity: &Identity) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(identity.expires_at))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn reply(status: u16, body: &'static str) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        Reply { status, cache_control: None, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn only_a_boolean_true_is_active() {
        for body in [
            r#"{"active":false}"#,
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"active":[true]}"#,
            r#"{"Active":true}"#,
            "{}",
        ] {
            assert!(read(&reply(200, body)).unwrap().is_none(), "{body}");
        }
        assert!(read(&reply(200, r#"{"active":true}"#)).unwrap().is_some());
    }

    #[test]
    fn an_answer_that_is_none_is_no_verdict() {
        for (status, body) in [
            (200, ""),
            (200, "true"),
            (200, "<html>active</html>"),
            (200, r#"{"active":true,"active":false}"#),
            (201, r#"{"active":true}"#),
            (204, ""),
            (302, r#"{"active":true}"#),
            (400, r#"{"error":"invalid_request"}"#),
            (403, r#"{"active":true}"#),
            (404, r#"{"errorCode":"E0000007"}"#),
        ] {
            assert!(matches!(read(&reply(status, body)), Err(IdpError::BadResponse(_))), "{status} {body}");
        }
    }
}
