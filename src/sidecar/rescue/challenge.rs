//! The challenges of a refusal, `WWW-Authenticate` to the letter: RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section
//! 5.1. Which schemes are offered is the policy's; which one carries the error is the one that was tried. Pure.

use std::fmt::Write;

use http::{HeaderMap, StatusCode};
use tollgate_contract::{Algorithm, DpopMode, SidecarConfig};

use super::{Context, status};
use crate::auth::Scheme;
use crate::external::{ExternalUrl, ExternalUrls};
use crate::reason::Reason;
use crate::rejection::Rejection;

/// How a caller tried to authenticate, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempt<'a> {
    /// `None` when it sent nothing, or what no scheme here is.
    scheme: Option<Scheme>,
    /// The external URL that it used, where the policy has any.
    at: Option<&'a ExternalUrl>,
}

impl<'a> Attempt<'a> {
    /// What these headers say of it.
    #[must_use]
    pub fn of(headers: &HeaderMap, urls: &'a ExternalUrls) -> Self {
        Self { scheme: Scheme::attempted(headers), at: urls.used_by(headers) }
    }
}

/// What one API's challenges are made of.
#[derive(Debug, Clone)]
pub(super) struct Challenges {
    /// Safe inside quotes.
    realm: Box<str>,
    /// What is offered; never empty.
    schemes: Vec<Scheme>,
    /// Of DPoP proofs, as the challenge lists them.
    algorithms: Box<str>,
}

impl Challenges {
    pub(super) fn new(config: &SidecarConfig) -> Self {
        let modes = || config.issuers.iter().map(|issuer| issuer.dpop);
        let takes_bearer = modes().any(|mode| mode != DpopMode::Require);
        let takes_dpop = modes().any(|mode| mode != DpopMode::Refuse);
        let schemes = [(Scheme::Bearer, takes_bearer), (Scheme::Dpop, takes_dpop)];
        Self {
            realm: quotable(&config.name).into(),
            schemes: schemes.into_iter().filter(|(_, taken)| *taken).map(|(scheme, _)| scheme).collect(),
            algorithms: Algorithm::ALL.map(Algorithm::as_str).join(" ").into(),
        }
    }

    /// One for each scheme that could help, at most one of them with an error.
    pub(super) fn of(&self, rejection: &Rejection, context: Context<'_>) -> Vec<String> {
        if rejection.reason == Reason::InvalidClient {
            return vec![format!(r#"Basic realm="{}""#, self.realm)];
        }
        let attempt = match context {
            Context::Credentials(attempt) | Context::Scope(attempt, _) => attempt,
            Context::None | Context::Allow(_) => Attempt::default(),
        };
        let error = error(rejection.reason, context, attempt.scheme);
        let unauthorized = status(rejection.reason) == StatusCode::UNAUTHORIZED;
        if error.is_none() && !unauthorized {
            return Vec::new();
        }
        let tried = attempt.scheme.filter(|tried| self.schemes.contains(tried)).or(self.schemes.first().copied());
        let offered = self.schemes.iter().copied();
        // Another scheme helps where another token could, not where this one is good but not enough.
        offered
            .filter(|scheme| unauthorized || Some(*scheme) == tried)
            .map(|scheme| {
                let error = error.filter(|_| Some(scheme) == tried);
                self.challenge(scheme, error, rejection.detail, context, attempt)
            })
            .collect()
    }

    fn challenge(
        &self,
        scheme: Scheme,
        error: Option<&str>,
        detail: &str,
        context: Context<'_>,
        attempt: Attempt<'_>,
    ) -> String {
        let mut challenge = String::with_capacity(256);
        let name = match scheme {
            Scheme::Bearer => "Bearer",
            Scheme::Dpop => "DPoP",
        };
        // Writing to a String cannot fail.
        let mut add = |attribute: &str, value: &str| {
            let separator = if challenge.is_empty() { name } else { "," };
            let _ = write!(challenge, r#"{separator} {attribute}="{value}""#);
        };
        add("realm", &self.realm);
        if let Some(error) = error {
            add("error", error);
            add("error_description", &quotable(detail));
            if let Context::Scope(_, scope) = context {
                add("scope", &quotable(scope));
            }
        }
        if scheme == Scheme::Dpop {
            add("algs", &self.algorithms);
        }
        if let Some(url) = attempt.at {
            add("resource_metadata", &quotable(&url.metadata_url()));
        }
        challenge
    }
}

/// The error code of a refusal; none where nothing was sent (RFC 6750 section 3.1), nor where no challenge helps.
fn error(reason: Reason, context: Context<'_>, tried: Option<Scheme>) -> Option<&'static str> {
    match reason {
        Reason::MissingToken => None,
        Reason::InsufficientScope => Some("insufficient_scope"),
        Reason::BadRequest if matches!(context, Context::Credentials(_)) => Some("invalid_request"),
        Reason::DpopNonceRequired => Some("use_dpop_nonce"),
        Reason::DpopInvalid | Reason::DpopReplayed => Some("invalid_dpop_proof"),
        Reason::DpopMissing if tried == Some(Scheme::Dpop) => Some("invalid_dpop_proof"),
        reason if status(reason) == StatusCode::UNAUTHORIZED => Some("invalid_token"),
        _ => None,
    }
}

/// Only what RFC 6750 section 3 allows in a quoted attribute: no quote, no backslash, nothing outside ASCII.
fn quotable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='!' | '#'..='[' | ']'..='~') { c } else { '\'' }).collect()
}
