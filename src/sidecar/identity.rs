//! Who a valid token speaks for. Built once when a token is judged, then shared by every request that carries it; the
//! route's policy is evaluated against it on each request.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use crate::jose::Object;

/// The outcome of a successful check.
#[derive(Debug)]
pub struct Identity {
    /// Name of the issuer in the resource.
    pub issuer: Box<str>,
    /// `sub`, when the token has one.
    pub subject: Option<Box<str>>,
    /// `cid`, else `client_id`, else `azp`.
    pub client_id: Option<Box<str>>,
    /// From `scp`, else `scope`.
    pub scopes: Scopes,
    /// `exp`, seconds since the epoch.
    pub expires_at: u64,
    /// `cnf.jkt`: the key whose holder alone may use the token (RFC 9449 section 6.1).
    pub bound_to: Option<Thumbprint>,
    /// What the token, or the answer that spoke for it, says in full; kept only where the policy has a rule on claims.
    pub claims: Option<Arc<Object>>,
    /// The same facts as header values for the app, made once.
    pub headers: IdentityHeaders,
}

/// The SHA-256 thumbprint of a public key (RFC 7638).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint(pub [u8; 32]);

impl Thumbprint {
    /// Reads the value of `cnf.jkt`; `None` when it is no base64url of 32 octets.
    #[must_use]
    pub fn parse(jkt: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(jkt).ok()?.try_into().ok().map(Self)
    }
}

/// A token's scopes, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Box<[Box<str>]>);

impl Scopes {
    /// Sorts and drops repetitions and empty words.
    pub fn new<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        let mut all: Vec<Box<str>> =
            scopes.into_iter().filter(|s| !s.as_ref().is_empty()).map(|s| s.as_ref().into()).collect();
        all.sort_unstable();
        all.dedup();
        Self(all.into())
    }

    /// Whether the token carries this scope, byte for byte.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.binary_search_by(|held| (**held).cmp(scope)).is_ok()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|s| &**s)
    }
}

/// `X-Tollgate-Subject`, `-Client-Id`, `-Scopes` (space-delimited) and `-Issuer` (the issuer's URL). A value that a
/// header cannot carry (control characters, non-ASCII) makes the token malformed, so what is here is safe.
#[derive(Debug)]
pub struct IdentityHeaders {
    /// Absent without a subject.
    pub subject: Option<HeaderValue>,
    /// Absent without a client.
    pub client_id: Option<HeaderValue>,
    /// Absent without scopes.
    pub scopes: Option<HeaderValue>,
    /// Always there.
    pub issuer: HeaderValue,
}
