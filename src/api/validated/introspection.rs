//! Which settings of introspection are sound: their times, and what becomes of tokens during an outage.

use std::time::Duration;

use crate::types::{self, OutagePolicy, limits};

use super::NotAccepted;
use super::text::parse_duration;
use super::url::is_okta_org_server;

/// How answers of introspection are used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Introspection {
    /// How long an answer is fresh; at most 1 h.
    pub cache: Duration,
    /// How much longer it may serve while the issuer limits calls; at most 1 h.
    pub max_stale: Duration,
    /// For how long after the last good answer a locally sound token passes while the issuer cannot be asked, 1 s to 24 h;
    /// `None` = not at all, and always so for an org server.
    pub accept_locally_valid: Option<Duration>,
}

/// `issuer` is the issuer's URL.
pub(super) fn parse(
    field: &str,
    introspection: &types::Introspection,
    issuer: &str,
) -> Result<Introspection, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::Introspection { cache, max_stale, on_outage: types::OnOutage { policy, max_duration } } = introspection;
    let accept_locally_valid = match (policy, max_duration) {
        (OutagePolicy::Reject, None) => None,
        (OutagePolicy::AcceptLocallyValid, Some(_)) if is_okta_org_server(issuer) => {
            return Err(NotAccepted::invalid(format!(
                "{field}.onOutage: the tokens of an Okta org authorization server cannot be checked locally; use policy: \
                 Reject, or a custom authorization server such as {issuer}/oauth2/default"
            )));
        }
        (OutagePolicy::AcceptLocallyValid, Some(longest)) => Some(parse_duration(
            &format!("{field}.onOutage.maxDuration"),
            longest,
            limits::SHORTEST_OUTAGE..=limits::OUTAGE,
        )?),
        (OutagePolicy::Reject, Some(_)) | (OutagePolicy::AcceptLocallyValid, None) => {
            return Err(NotAccepted::invalid(format!(
                "{field}.onOutage: maxDuration goes with policy: AcceptLocallyValid and only with it; say how long tokens \
                 may pass unasked, such as 10m, or leave out both"
            )));
        }
    };
    Ok(Introspection {
        cache: parse_duration(&format!("{field}.cache"), cache, Duration::ZERO..=limits::INTROSPECTION_CACHE)?,
        max_stale: parse_duration(&format!("{field}.maxStale"), max_stale, Duration::ZERO..=limits::MAX_STALE)?,
        accept_locally_valid,
    })
}
