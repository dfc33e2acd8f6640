//! Decides whether the one who sends a token is the one whom it was issued to, as far as a key can tell: RFC 9449 as the
//! resource server. Reads top-down: the scheme against the token, then the proof, each check in its order. It judges no
//! token; what is stored here is only ever of proofs and tokens that are good.
//!
//! Cheap checks come before the signature, and the token's own key before that: only the holder of a good token can
//! make us verify, and only under the key that its issuer knows.

mod fault;
mod htu;
mod nonce;
mod proof;
mod replay;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use tollgate_contract::{DpopMode, DpopNonce, IssuerConfig};

use self::fault::Fault;
use self::htu::Targets;
use self::nonce::{Freshness, Nonces};
use self::proof::Proof;
use self::replay::{Noted, Replays};
use super::{Presented, Scheme};
use crate::external::ExternalUrls;
use crate::identity::{Binding, Identity, Thumbprint};
use crate::idp::TokenDigest;
use crate::rejection::Rejection;

/// How old a proof may be, and how far ahead its maker's clock, beside the issuer's clock skew. RFC 9449 section 11.1
/// wants seconds or minutes; the memory of used proofs grows with it.
const WINDOW: Duration = Duration::from_secs(60);
/// When there is no room for proofs: some will have ended by then.
const COME_BACK: Duration = Duration::from_secs(10);

/// Checks that tokens come from whom they are bound to.
pub struct Dpop {
    terms: Box<[Terms]>,
    targets: Targets,
    nonces: Nonces,
    replays: Replays,
}

/// What the policy wants of one issuer's tokens.
struct Terms {
    issuer: Box<str>,
    mode: DpopMode,
    nonce: DpopNonce,
    /// How far a proof's `iat` may be from now.
    tolerance: Duration,
}

/// How a token came.
pub(super) struct Sent<'a> {
    pub(super) scheme: Scheme,
    pub(super) token: TokenDigest,
    pub(super) presented: Presented<'a>,
    pub(super) now: SystemTime,
}

impl Dpop {
    /// For tokens of these issuers, at these URLs, with room for so many proofs.
    #[must_use]
    pub fn new(issuers: &[IssuerConfig], urls: &ExternalUrls, proofs: usize) -> Self {
        let terms = |issuer: &IssuerConfig| Terms {
            issuer: issuer.name.as_str().into(),
            mode: issuer.dpop,
            nonce: issuer.dpop_nonce,
            tolerance: WINDOW + Duration::from_secs(issuer.clock_skew_seconds),
        };
        Self {
            terms: issuers.iter().map(terms).collect(),
            targets: Targets::new(urls),
            nonces: Nonces::new(),
            replays: Replays::new(proofs),
        }
    }

    /// Whether any issuer's bound tokens are taken.
    fn is_offered(&self) -> bool {
        self.terms.iter().any(|terms| terms.mode != DpopMode::Refuse)
    }

    /// What is refused whatever the token is, so that judging it costs nobody anything.
    pub(super) fn check_scheme(&self, scheme: Scheme) -> Result<(), Rejection> {
        if scheme == Scheme::Dpop && !self.is_offered() { Err(Fault::NotOffered.rejection()) } else { Ok(()) }
    }

    /// Whether the holder of a good token may use it so. Returns the nonce for the proofs to come where it is a new one.
    ///
    /// Costs an unbound token that is sent as `Bearer` no allocation.
    pub(super) fn check(&self, identity: &Identity, sent: &Sent<'_>) -> Result<Option<HeaderValue>, Rejection> {
        // An issuer without terms is none of the policy's; its tokens never get here.
        let terms = self.terms.iter().find(|terms| *terms.issuer == *identity.issuer).ok_or(Fault::NotTaken);
        let terms = terms.map_err(Fault::rejection)?;
        let key = match identity.bound_to {
            Some(Binding::Key(key)) => Some(key),
            Some(Binding::Certificate(_)) | None => None,
        };
        match (sent.scheme, key, terms.mode) {
            (Scheme::Bearer, None, DpopMode::Refuse | DpopMode::Accept) => Ok(None),
            (Scheme::Bearer, None, DpopMode::Require) => Err(Fault::BoundOnly.rejection()),
            (_, Some(_), DpopMode::Refuse) => Err(Fault::NotTaken.rejection()),
            (Scheme::Bearer, Some(_), DpopMode::Accept | DpopMode::Require) => Err(Fault::SentAsBearer.rejection()),
            (Scheme::Dpop, None, _) => Err(Fault::NotBound.rejection()),
            (Scheme::Dpop, Some(key), DpopMode::Accept | DpopMode::Require) => self.check_proof(terms, &key, sent),
        }
    }

    fn check_proof(&self, terms: &Terms, key: &Thumbprint, sent: &Sent<'_>) -> Result<Option<HeaderValue>, Rejection> {
        let proof = Proof::of(sent.presented.headers).map_err(Fault::rejection)?;
        self.check_fit(&proof, terms, key, sent).map_err(Fault::rejection)?;
        let due = self.check_nonce(&proof, terms, sent.now)?;
        self.use_up(&proof, terms, key, sent.now)?;
        Ok(due)
    }

    /// Whether the proof was made for this request, now, with this token, by the holder of its key.
    fn check_fit(&self, proof: &Proof<'_>, terms: &Terms, key: &Thumbprint, sent: &Sent<'_>) -> Result<(), Fault> {
        if proof.method != sent.presented.method.as_str() {
            return Err(Fault::Method);
        }
        if !self.targets.are_named_by(&proof.url, sent.presented.path) {
            return Err(Fault::Url);
        }
        if (proof.issued_at - since_epoch(sent.now).as_secs_f64()).abs() > terms.tolerance.as_secs_f64() {
            return Err(Fault::Time);
        }
        if proof.token_hash != URL_SAFE_NO_PAD.encode(sent.token.octets()) {
            return Err(Fault::TokenHash);
        }
        if proof.made_with() != *key {
            return Err(Fault::OtherKey);
        }
        if proof.is_signed() { Ok(()) } else { Err(Fault::Signature) }
    }

    fn check_nonce(&self, proof: &Proof<'_>, terms: &Terms, now: SystemTime) -> Result<Option<HeaderValue>, Rejection> {
        if terms.nonce == DpopNonce::None {
            return Ok(None);
        }
        let worth = proof.nonce.as_deref().map_or(Freshness::Unknown, |nonce| self.nonces.judge(nonce, now));
        match worth {
            Freshness::Current => Ok(None),
            Freshness::Previous => Ok(self.nonces.header(now)),
            Freshness::Unknown => Err(Fault::Nonce.rejection().dpop_nonce(self.nonces.header(now))),
        }
    }

    /// The last check, for it leaves a trace.
    fn use_up(&self, proof: &Proof<'_>, terms: &Terms, key: &Thumbprint, now: SystemTime) -> Result<(), Rejection> {
        // Whole seconds, rounded up: it is remembered a little longer than it counts. No `iat` near now is negative.
        let until = proof.issued_at as u64 + terms.tolerance.as_secs() + 2;
        match self.replays.note(key, &proof.id, until, since_epoch(now).as_secs()) {
            Noted::First => Ok(()),
            Noted::Again => Err(Fault::Replayed.rejection()),
            Noted::KeyFull => Err(Fault::KeyFull.rejection().retry_after(COME_BACK)),
            Noted::Full => Err(Fault::NoRoom.rejection().retry_after(COME_BACK)),
        }
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
