//! What can go wrong on the way to the issuer, and what each failure means: to the caller a [`Reason`] (never 401: the
//! token was not judged), to the operator a [`ProblemCode`]. It holds nothing that the issuer sent.

use std::time::Duration;

use tollgate_contract::ProblemCode;

use crate::reason::Reason;
use crate::rejection::Rejection;

/// When callers should come back after a failure that names no time of its own: long enough to be no storm, short
/// enough that a restarted issuer is noticed at once.
const COME_BACK: Duration = Duration::from_secs(5);

/// Why the issuer could not be asked, or its answer not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdpError {
    /// Name resolution, connection or time-out.
    #[error("the issuer cannot be reached or does not answer in time")]
    Unreachable,
    /// The handshake failed or the certificate was not accepted.
    #[error("the issuer's certificate is not accepted")]
    BadTls,
    /// A 5xx status: the issuer, or what stands before it, is down.
    #[error("the issuer answers with status {0}")]
    Down(u16),
    /// An answer that cannot be used; the words are ours.
    #[error("the issuer's answer is no good: {0}")]
    BadResponse(&'static str),
    /// Bytes that are nothing of the protocol: what stands before the issuer is broken, or the issuer is.
    #[error("the issuer's answer is garbage: {0}")]
    Garbled(&'static str),
    /// 429.
    #[error("the issuer limits our calls")]
    RateLimited {
        /// Until the issuer's window starts again.
        retry_after: Duration,
    },
    /// The part of our calls that strangers may cause is used up.
    #[error("too many calls for strangers are asked for")]
    Crowded {
        /// Until one more may be made.
        retry_after: Duration,
    },
    /// `invalid_client` for this API's own client.
    #[error("the issuer refuses this API's own client credentials")]
    ClientRefused,
    /// No usable Secret is mounted.
    #[error("this API's own client credentials are not mounted")]
    CredentialsMissing,
    /// The CA bundle that the policy names is not mounted.
    #[error("the issuer's CA bundle is not mounted")]
    CaBundleMissing,
    /// The CA bundle that the policy names holds no certificate.
    #[error("the issuer's CA bundle holds no PEM certificate that can be used")]
    CaBundleUnusable,
    /// Our own bound of calls in flight is reached.
    #[error("too many calls to the issuer are in flight")]
    Busy,
}

impl IdpError {
    /// Every word that [`reason`](Self::reason) may have.
    pub(crate) const REASONS: [Reason; 4] =
        [Reason::IdpUnreachable, Reason::IdpRateLimited, Reason::IdpError, Reason::Overloaded];

    /// What the operator should show; `None` where nobody need act.
    pub(crate) fn problem(&self) -> Option<ProblemCode> {
        match self {
            Self::Unreachable => Some(ProblemCode::IssuerUnreachable),
            Self::BadTls => Some(ProblemCode::IssuerBadTls),
            Self::Down(_) | Self::BadResponse(_) | Self::Garbled(_) => Some(ProblemCode::IssuerBadResponse),
            Self::ClientRefused => Some(ProblemCode::CredentialsRefused),
            Self::CredentialsMissing => Some(ProblemCode::CredentialsMissing),
            Self::CaBundleMissing => Some(ProblemCode::CaBundleMissing),
            Self::CaBundleUnusable => Some(ProblemCode::CaBundleUnusable),
            Self::RateLimited { .. } | Self::Crowded { .. } | Self::Busy => None,
        }
    }

    /// Whether the issuer cannot be asked: no connection, no trust in it, no answer in time, 5xx or garbage. Never a
    /// limit, its own or ours, and never an answer that says something wrong, such as that our settings are.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable | Self::BadTls | Self::Down(_) | Self::Garbled(_))
    }

    /// The word for logs and metrics; the outcome label of calls to the issuer.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Unreachable | Self::BadTls | Self::Down(_) => Reason::IdpUnreachable,
            Self::RateLimited { .. } => Reason::IdpRateLimited,
            Self::BadResponse(_)
            | Self::Garbled(_)
            | Self::ClientRefused
            | Self::CredentialsMissing
            | Self::CaBundleMissing
            | Self::CaBundleUnusable => Reason::IdpError,
            Self::Crowded { .. } | Self::Busy => Reason::Overloaded,
        }
    }

    /// When the caller should come back.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::RateLimited { retry_after } | Self::Crowded { retry_after } => *retry_after,
            Self::Busy => Duration::from_secs(1),
            _ => COME_BACK,
        }
    }

    /// The answer to a caller whose token could not be judged.
    pub(crate) fn rejection(&self) -> Rejection {
        let detail = match self.reason() {
            Reason::IdpUnreachable => "The authorization server cannot be reached; the token was not judged.",
            Reason::IdpRateLimited => "The authorization server limits our calls; the token was not judged.",
            Reason::Overloaded => "Too many tokens are being judged at once; try again.",
            _ => "The authorization server gave no usable answer; the token was not judged.",
        };
        Rejection::new(self.reason(), detail).retry_after(self.retry_after())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_of_the_issuer_reads_as_a_bad_token() {
        let all = [
            IdpError::Unreachable,
            IdpError::BadTls,
            IdpError::Down(502),
            IdpError::BadResponse("no endpoint"),
            IdpError::Garbled("no JSON"),
            IdpError::RateLimited { retry_after: Duration::from_secs(9) },
            IdpError::Crowded { retry_after: Duration::from_secs(9) },
            IdpError::ClientRefused,
            IdpError::CredentialsMissing,
            IdpError::CaBundleMissing,
            IdpError::CaBundleUnusable,
            IdpError::Busy,
        ];
        for error in all {
            let rejection = error.rejection();
            assert!(IdpError::REASONS.contains(&rejection.reason), "{error}");
            assert!(rejection.retry_after.is_some(), "{error}");
        }
    }

    #[test]
    fn neither_a_limit_nor_a_wrong_answer_is_an_outage() {
        for outage in [IdpError::Unreachable, IdpError::BadTls, IdpError::Down(500), IdpError::Garbled("no JSON")] {
            assert!(outage.is_outage(), "{outage}");
        }
        let retry_after = Duration::from_secs(9);
        for other in [
            IdpError::RateLimited { retry_after },
            IdpError::Crowded { retry_after },
            IdpError::Busy,
            IdpError::BadResponse("no endpoint"),
            IdpError::ClientRefused,
            IdpError::CredentialsMissing,
            IdpError::CaBundleMissing,
            IdpError::CaBundleUnusable,
        ] {
            assert!(!other.is_outage(), "{other}");
        }
    }
}
