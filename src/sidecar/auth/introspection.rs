//! Asks an issuer what a token is worth (RFC 7662), once for all who wait, and remembers its word. What an answer is
//! worth is decided here and in `claims`, and what passes without one: under a limit an earlier answer, in an outage a
//! locally sound token where the policy says so. A failed question is never a verdict.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quick_cache::sync::Cache;
use tokio::time::Instant;
use tollgate_contract::OnOutage;

use super::claims::{Claims, Kept};
use super::decision_cache::{Decision, DecisionCache};
use super::metrics::AuthMetrics;
use super::{Asked, rules};
use crate::identity::{Binding, Identity};
use crate::idp::{IdpError, Issuer, Key, SingleFlight, Standing, TokenDigest};
use crate::jose::Object;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Refused tokens that are remembered, 100 bytes each; once for tokens that are locally sound and once for others, which
/// anybody can send.
const REFUSALS: usize = 50_000;

/// How long a refusal is remembered where nothing else is known of the token.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// How long a token that passed without an answer passes without another question: short, so that an issuer that is
/// back is noticed at once.
const UNANSWERED_FOR: Duration = Duration::from_secs(1);

/// What is already known of a token that its issuer is asked about.
#[derive(Clone)]
pub(crate) enum Known {
    /// Nothing for certain.
    Nothing {
        /// What it says it is bound to: nobody could take that out of a good token, and an answer may omit it.
        bound_to: Option<Binding>,
    },
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
    /// Refusals of locally sound tokens: only the issuer's own can be in here.
    refused_sound: Cache<TokenDigest, Refusal>,
    refused: Cache<TokenDigest, Refusal>,
    metrics: AuthMetrics,
}

#[derive(Clone)]
struct Refusal {
    rejection: Rejection,
    until: SystemTime,
}

/// One question.
struct Question {
    issuer: Arc<Issuer>,
    token: String,
    digest: TokenDigest,
    known: Known,
    /// The issuer's word from before, no longer fresh.
    earlier: Option<Decision>,
    now: SystemTime,
    /// The same moment on the clock that waits are measured by.
    arrival: Instant,
    /// Who is asking, as far as the network says.
    from: IpAddr,
    /// What is kept of the answer's members with the identity.
    kept: Arc<Kept>,
}

impl Introspector {
    pub(crate) fn new(decisions: Arc<DecisionCache>, metrics: AuthMetrics) -> Self {
        let shared = Shared { decisions, refused_sound: Cache::new(REFUSALS), refused: Cache::new(REFUSALS), metrics };
        Self { shared: Arc::new(shared), flights: SingleFlight::default() }
    }

    /// A refusal that still holds.
    pub(crate) fn refused(&self, token: &TokenDigest, now: SystemTime) -> Option<Rejection> {
        let refusal = self.shared.refusal(token)?;
        (now < refusal.until).then_some(refusal.rejection)
    }

    /// Whether the issuer's last word on a token was that it is not active, however long ago.
    pub(crate) fn is_known_inactive(&self, token: &TokenDigest) -> bool {
        self.shared.refusal(token).is_some_and(|refusal| refusal.rejection.reason == Reason::Inactive)
    }

    /// Asks `issuer` about a token, or joins those who already do. Good answers go into the decision cache.
    pub(super) async fn ask(
        &self,
        issuer: &Arc<Issuer>,
        asked: Asked<'_>,
        known: Known,
    ) -> Result<Arc<Identity>, Rejection> {
        let Asked { token, digest, now, arrival, from, kept, certificate: _ } = asked;
        let work = || {
            let shared = Arc::clone(&self.shared);
            let earlier = shared.decisions.earlier(&digest, now);
            let (issuer, token) = (Arc::clone(issuer), token.to_owned());
            let question =
                Question { issuer, token, digest, known, earlier, now, arrival, from, kept: Arc::clone(kept) };
            async move { shared.ask(question).await }
        };
        self.flights.run(digest, work).await
    }
}

impl Question {
    /// Whoever asks about a token that was good before, or that we handed out ourselves, is no stranger.
    fn standing(&self) -> Standing {
        match &self.known {
            _ if self.earlier.is_some() || self.issuer.issued().holds(&self.digest) => Standing::Known,
            Known::Sound { .. } => Standing::Sound,
            Known::Nothing { .. } => Standing::Stranger(self.from),
        }
    }
}

impl Shared {
    async fn ask(&self, question: Question) -> Result<Arc<Identity>, Rejection> {
        let issuer = question.issuer.name();
        let answer = match question.issuer.introspect(&question.token, question.standing()).await {
            Ok(answer) => answer,
            Err(error) => {
                self.metrics.introspected(issuer, error.reason().as_str());
                return self.without_answer(&question, &error).ok_or_else(|| error.rejection());
            }
        };
        let verdict = judge(&question, answer);
        match &verdict {
            Ok(decision) => {
                self.metrics.introspected(issuer, "active");
                self.accept(question.digest, decision.clone(), question.now);
            }
            Err(rejection) => {
                self.metrics.introspected(issuer, rejection.reason.as_str());
                self.refuse(&question, rejection);
            }
        }
        verdict.map(|decision| decision.identity)
    }

    /// Who passes though the issuer did not say so.
    fn without_answer(&self, question: &Question, error: &IdpError) -> Option<Arc<Identity>> {
        // What passes here must not have ended while the question was under way.
        let now = question.now + question.arrival.elapsed();
        let (decision, count): (_, fn(&AuthMetrics, &str)) = match error {
            IdpError::RateLimited { .. } => (serve_stale(question, now)?, AuthMetrics::served_stale),
            error if error.is_outage() => {
                let refused_before = self.refusal(&question.digest).is_some();
                (accept_sound(question, refused_before, now)?, AuthMetrics::accepted_in_outage)
            }
            _ => return None,
        };
        count(&self.metrics, question.issuer.name());
        let identity = Arc::clone(&decision.identity);
        self.decisions.remember(question.digest, decision, now);
        Some(identity)
    }

    /// The issuer's last word on a token: yes.
    fn accept(&self, token: TokenDigest, decision: Decision, now: SystemTime) {
        self.refused_sound.remove(&token);
        self.refused.remove(&token);
        self.decisions.remember(token, decision, now);
    }

    /// The issuer's last word on a token: no.
    fn refuse(&self, question: &Question, rejection: &Rejection) {
        let Question { issuer, digest, known, now, .. } = question;
        self.decisions.forget(digest);
        let inactive = rejection.reason == Reason::Inactive;
        if inactive {
            issuer.issued().mark_inactive(digest);
        }
        let refusal = |until| Refusal { rejection: rejection.clone(), until };
        let shortly = *now + REFUSED_FOR;
        match known {
            // A token that was good once does not come back to life. Other refusals may be the fault of the issuer's
            // settings, which somebody may be mending.
            Known::Sound { identity, .. } => {
                let end = accepted_until(identity).filter(|_| inactive);
                self.refused_sound.insert(*digest, refusal(end.unwrap_or(shortly)));
            }
            Known::Nothing { .. } => self.refused.insert(*digest, refusal(shortly)),
        }
    }

    /// The issuer's last word on a token, where it was no; it may be too old to be repeated.
    fn refusal(&self, token: &TokenDigest) -> Option<Refusal> {
        self.refused_sound.get(token).or_else(|| self.refused.get(token))
    }
}

/// The issuer limits our questions: its earlier answer serves for a while longer.
fn serve_stale(question: &Question, now: SystemTime) -> Option<Decision> {
    let mut decision = question.earlier.clone()?.served_stale(now, now + unanswered_for(&question.issuer))?;
    if decision.identity.unasked {
        // An outage came between: what serves now is the issuer's word from before it.
        decision.identity = Arc::new(Identity { unasked: false, ..Identity::clone(&decision.identity) });
    }
    Some(decision)
}

/// The issuer cannot be asked: where the policy says so, a token that is good under its key passes, unless the issuer's
/// last word on it was no, and no longer than `maxDuration` after its last good answer.
fn accept_sound(question: &Question, refused_before: bool, now: SystemTime) -> Option<Decision> {
    let Question { issuer, known, earlier, .. } = question;
    let OnOutage::AcceptLocallyValid { max_duration_millis } = issuer.on_outage() else { return None };
    let Known::Sound { identity, key, .. } = known else { return None };
    let unanswered = issuer.last_good_answer()?.elapsed();
    let left = Duration::from_millis(max_duration_millis).checked_sub(unanswered).filter(|left| !left.is_zero())?;
    let ends = expiry(identity).filter(|exp| now < *exp)?;
    if refused_before || !key.is_in_force() {
        return None;
    }
    // What the issuer said of the token before is no wider than what it would say now; the claims may be.
    let mut decision = earlier
        .clone()
        .unwrap_or_else(|| Decision::new(Arc::clone(identity), None, ends).fresh_until(question.now, Duration::ZERO));
    decision.key = Some(Arc::clone(key));
    decision.identity = Arc::new(Identity { unasked: true, ..Identity::clone(&decision.identity) });
    Some(decision.prolonged_until(now + unanswered_for(issuer).min(left)))
}

/// No longer than an answer would be kept.
fn unanswered_for(issuer: &Issuer) -> Duration {
    UNANSWERED_FOR.min(issuer.introspection_cache())
}

/// What the issuer's answer is worth: the members of an active one, or none.
fn judge(question: &Question, answer: Option<Object>) -> Result<Decision, Rejection> {
    let Question { issuer, known, now, kept, .. } = question;
    let Some(members) = answer else {
        return Err(Rejection::new(Reason::Inactive, "The authorization server says that the token is not active."));
    };
    let bound_to = match known {
        Known::Nothing { bound_to } => *bound_to,
        Known::Sound { identity, .. } => identity.bound_to,
    };
    let facts = Claims::new(members).judge_answer(issuer.url(), bound_to, &rules(issuer, kept), *now)?;
    let answered = Arc::new(facts.into_identity(issuer.shared_name(), issuer.url_header())?);
    let fresh_until = *now + issuer.introspection_cache();
    // Never past the token's expiry, by the answer as well as by its own claims.
    let mut ends = expiry(&answered).unwrap_or(fresh_until);
    let (identity, key) = match known {
        Known::Nothing { .. } => (answered, None),
        Known::Sound { identity, key, answer_speaks } => {
            if identity.bound_to != answered.bound_to && !answer_speaks {
                return Err(Rejection::new(
                    Reason::SenderMismatch,
                    "The token does not say what its issuer says binds it.",
                ));
            }
            ends = expiry(identity).map_or(ends, |exp| exp.min(ends));
            // Where both have to agree, a scope is one that both name, and the end the earlier one.
            let both = || Arc::new(Identity::clone(identity).within(&answered));
            (if *answer_speaks { Arc::clone(&answered) } else { both() }, Some(Arc::clone(key)))
        }
    };
    Ok(Decision::new(identity, key, ends).fresh_until(fresh_until, issuer.max_stale()))
}

/// `None` for a time beyond what a clock can show.
fn expiry(identity: &Identity) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(identity.expires_at))
}

/// The same with the issuer's clock skew.
pub(super) fn accepted_until(identity: &Identity) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(identity.accepted_until))
}
