//! Who a valid token speaks for. Built once when a token is judged, then shared by every request that carries it; the
//! route's policy is evaluated against it on each request.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use crate::claim_headers::WrittenClaims;
use crate::jose::Object;

/// The outcome of a successful check. Many are remembered at a time, so each fact is held once: as the header value that
/// the app gets, where there is one.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name of the issuer in the resource.
    pub issuer: Arc<str>,
    /// `exp`, seconds since the epoch.
    pub expires_at: u64,
    /// Until then its issuer's clock skew lets it pass: the end of all that goes on by it.
    pub accepted_until: u64,
    /// What alone makes a caller one who may use the token.
    pub bound_to: Option<Binding>,
    /// What the token, or the answer that spoke for it, says in full; kept only where the policy has a rule on claims.
    pub claims: Option<Arc<Object>>,
    /// Subject, client and scopes, made once.
    pub headers: IdentityHeaders,
    /// What tokens of one subject have in common.
    pub whose: Whose,
    /// Its issuer's word was needed and could not be had: local checks alone let it pass.
    pub unasked: bool,
}

impl Identity {
    /// `cid`, else `client_id`, else `azp`.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.headers.client_id.as_ref()?.to_str().ok()
    }

    /// Whether the token carries this scope, byte for byte.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        let held = self.headers.scopes.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        !scope.is_empty() && held.split(|byte| *byte == b' ').any(|word| word == scope.as_bytes())
    }

    /// Without the scopes that `other` lacks, and for no longer.
    #[must_use]
    pub fn within(mut self, other: &Self) -> Self {
        let held = self.headers.scopes.as_ref().and_then(|scopes| scopes.to_str().ok()).unwrap_or_default();
        let both: Vec<&str> = held.split(' ').filter(|scope| other.has_scope(scope)).collect();
        self.headers.scopes = HeaderValue::try_from(both.join(" ")).ok().filter(|scopes| !scopes.is_empty());
        self.expires_at = self.expires_at.min(other.expires_at);
        self.accepted_until = self.accepted_until.min(other.accepted_until);
        self
    }
}

/// Stands for an issuer's subject, or for its client where it names no subject: a part of a digest, so that it costs nothing
/// to look at. Others may have the same, if hardly ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose(pub u64);

impl Whose {
    pub(crate) fn of(issuer: &str, subject: Option<&str>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // No name of an issuer holds a zero.
        for part in [issuer.as_bytes(), b"\0", subject.unwrap_or_default().as_bytes()] {
            context.update(part);
        }
        let octets = context.finish();
        Self(octets.as_ref().iter().take(8).fold(0, |all, octet| all << 8 | u64::from(*octet)))
    }
}

/// What a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// `cnf.jkt`: its holder proves it with each request (RFC 9449 section 6.1).
    Key(Thumbprint),
    /// `cnf.x5t#S256`: its holder proves it with the connection (RFC 8705 section 3.1).
    Certificate(Thumbprint),
}

/// SHA-256 of a public key (RFC 7638) or of a certificate (RFC 8705 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint(pub [u8; 32]);

impl Thumbprint {
    /// Of a certificate's DER.
    pub(crate) fn of_certificate(der: &[u8]) -> Self {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(octets)
    }

    /// Reads the value of `cnf.jkt` or `cnf.x5t#S256`; `None` when it is no base64url of 32 octets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
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

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|s| &**s)
    }
}

#[cfg(any(test, fuzzing))]
impl Identity {
    /// Of the issuer `okta`, without any fact.
    pub(crate) fn blank() -> Self {
        let issuer = HeaderValue::from_static("https://acme.okta.test/oauth2/default");
        let headers =
            IdentityHeaders { subject: None, client_id: None, scopes: None, issuer, claims: WrittenClaims::default() };
        Self {
            issuer: "okta".into(),
            expires_at: 0,
            accepted_until: 0,
            bound_to: None,
            claims: None,
            headers,
            whose: Whose::of("okta", None),
            unasked: false,
        }
    }

    /// With these scopes.
    #[cfg(test)]
    pub(crate) fn with_scopes(mut self, scopes: &[&str]) -> Self {
        self.headers.scopes = Some(HeaderValue::try_from(scopes.join(" ")).unwrap());
        self
    }
}

/// `X-Tollgate-Subject`, `-Client-Id`, `-Scopes` (space-delimited) and `-Issuer` (the issuer's URL). A value that a
/// header cannot carry (control characters, non-ASCII) makes the token malformed, so what is here is safe.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    /// Absent without a subject.
    pub subject: Option<HeaderValue>,
    /// Absent without a client.
    pub client_id: Option<HeaderValue>,
    /// Absent without scopes.
    pub scopes: Option<HeaderValue>,
    /// Always there.
    pub issuer: HeaderValue,
    /// The claims that the policy hands on.
    pub claims: WrittenClaims,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_whole_word() {
        let identity = Identity::blank().with_scopes(&["items", "items:write"]);
        assert!(identity.has_scope("items") && identity.has_scope("items:write"));
        for scope in ["", "item", "items:", "write", "items items:write", " ", "ITEMS"] {
            assert!(!identity.has_scope(scope), "{scope:?}");
        }
        assert!(!Identity::blank().has_scope("items") && !Identity::blank().has_scope(""));
    }

    #[test]
    fn whose_a_token_is_turns_on_issuer_and_subject() {
        let all = [
            ("okta", Some("00u1")),
            ("okta", Some("00u2")),
            ("oktb", Some("00u1")),
            ("okta", None),
            ("okta0", Some("0u1")),
        ];
        for (nth, (issuer, subject)) in all.into_iter().enumerate() {
            let same = all.iter().filter(|(other, of)| Whose::of(other, *of) == Whose::of(issuer, subject)).count();
            assert_eq!(same, 1, "{nth}");
        }
    }

    #[test]
    fn what_two_say_are_the_scopes_that_both_say() {
        let both = |own: &[&str], other: &[&str]| {
            let own = Identity::blank().with_scopes(own);
            own.within(&Identity::blank().with_scopes(other)).headers.scopes
        };
        assert_eq!(both(&["a", "b", "c"], &["c", "b", "d"]).unwrap(), "b c");
        assert_eq!(both(&["a"], &["a"]).unwrap(), "a");
        assert_eq!(both(&["a"], &["b"]), None);
        let nothing = Identity::blank();
        assert_eq!(nothing.clone().within(&Identity::blank().with_scopes(&["a"])).headers.scopes, None);
        assert_eq!(Identity::blank().with_scopes(&["a"]).within(&nothing).headers.scopes, None);
    }
}
