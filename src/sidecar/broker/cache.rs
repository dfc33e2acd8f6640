//! Which answers may be given again: only to who sends exactly the same credentials for the same scopes, not for long, and
//! no token that was seen inactive. Secrets are kept only as a keyed digest.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use quick_cache::sync::Cache;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::answer::{Refusal, Token};
use super::request::{Credentials, TokenRequest};
use crate::idp::Fate;

/// As many callers as an API has clients, with room; a token takes about 1 KiB.
const CAPACITY: usize = 4096;

/// A token is handed out again for this part of its life, and never for longer than the bound: what the issuer's
/// administrator changes takes effect at the next request to the issuer.
const PART_OF_LIFE: f64 = 0.8;
const LONGEST_REUSE: Duration = Duration::from_secs(5 * 60);

/// A refusal is given again for as long as a client that tries and tries hardly notices, and its user who mends it neither.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// Refusals take half a KiB; beyond that, one is asked for again.
const MOST_REFUSALS: usize = 1024;

/// Names a request with all that shapes its token, the secret included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RequestDigest([u8; 32]);

/// Names credentials, the secret included, whatever is asked for with them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CredentialsDigest([u8; 32]);

/// A token that was handed out.
pub(super) struct Issued {
    pub(super) token: Token,
    /// When it was asked for: its life is counted from there.
    pub(super) asked_at: Instant,
    /// Whether it was seen inactive since.
    pub(super) fate: Fate,
}

impl Issued {
    /// Whole seconds that the token still lives.
    pub(super) fn expires_in(&self, now: Instant) -> Option<u64> {
        self.token.expires_in.map(|life| life.saturating_sub(now.duration_since(self.asked_at).as_secs()))
    }

    fn may_be_reused(&self, now: Instant) -> bool {
        let life = Duration::from_secs(self.token.expires_in.unwrap_or(0));
        let reuse = LONGEST_REUSE.min(life.mul_f64(PART_OF_LIFE));
        now.duration_since(self.asked_at) < reuse && !self.fate.is_inactive()
    }
}

/// Tokens and refusals by request.
pub(super) struct TokenCache {
    /// Random and of this process only: without it a digest cannot be tried against guessed secrets.
    key: Key,
    tokens: Cache<RequestDigest, Arc<Issued>>,
    /// With when each was given.
    refusals: Cache<RequestDigest, (Refusal, Instant)>,
}

impl TokenCache {
    /// `None` when the system gives no random numbers.
    pub(super) fn new() -> Option<Self> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { key, tokens: Cache::new(CAPACITY), refusals: Cache::new(MOST_REFUSALS) })
    }

    /// The digest of everything that shapes the token.
    pub(super) fn digest(&self, request: &TokenRequest) -> RequestDigest {
        let [kind, id, secret] = parts(&request.credentials);
        RequestDigest(self.sign(&[b"request", kind, id, secret, request.scope.as_bytes()]))
    }

    /// The digest of credentials alone.
    pub(super) fn credentials(&self, credentials: &Credentials) -> CredentialsDigest {
        let [kind, id, secret] = parts(credentials);
        CredentialsDigest(self.sign(&[b"credentials", kind, id, secret]))
    }

    fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = Context::with_key(&self.key);
        for part in parts {
            // Lengths keep the parts apart: "ab" + "c" is not "a" + "bc".
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }

    pub(super) fn find(&self, request: &RequestDigest, now: Instant) -> Option<Result<Arc<Issued>, Refusal>> {
        if let Some(issued) = self.tokens.get(request) {
            if issued.may_be_reused(now) {
                return Some(Ok(issued));
            }
            self.tokens.remove(request);
        }
        let (refusal, given_at) = self.refusals.get(request)?;
        if now.duration_since(given_at) < REFUSED_FOR {
            return Some(Err(refusal));
        }
        self.refusals.remove(request);
        None
    }

    pub(super) fn remember(&self, request: RequestDigest, answer: &Result<Arc<Issued>, Refusal>, now: Instant) {
        match answer {
            Ok(issued) if issued.may_be_reused(now) => self.tokens.insert(request, Arc::clone(issued)),
            Err(refusal) if refusal.is_the_issuers() => self.refusals.insert(request, (refusal.clone(), now)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// The form, the id and the secret; by Basic both stand in one value.
fn parts(credentials: &Credentials) -> [&[u8]; 3] {
    match credentials {
        Credentials::Basic { authorization, .. } => [b"basic", b"", authorization.expose_secret().as_bytes()],
        Credentials::Body { client_id, client_secret } => {
            [b"body", client_id.as_bytes(), client_secret.expose_secret().as_bytes()]
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn issued(expires_in: Option<u64>, asked_at: Instant) -> Arc<Issued> {
        let token = Token { access_token: "t".into(), token_type: "Bearer".into(), scope: None, expires_in };
        Arc::new(Issued { token, asked_at, fate: Fate::default() })
    }

    fn basic(value: &str, scope: &str) -> TokenRequest {
        TokenRequest {
            credentials: Credentials::Basic { client_id: "a".into(), authorization: value.into() },
            scope: scope.into(),
        }
    }

    fn body(id: &str, secret: &str, scope: &str) -> TokenRequest {
        TokenRequest {
            credentials: Credentials::Body { client_id: id.into(), client_secret: secret.into() },
            scope: scope.into(),
        }
    }

    #[test]
    fn every_input_makes_another_digest() {
        let cache = TokenCache::new().unwrap();
        let requests = [
            basic("Basic YTpi", "items"),
            basic("Basic YTpi", "items:write"),
            basic("Basic YTpj", "items"),
            body("a", "b", "items"),
            body("a", "wrong", "items"),
            body("ab", "", "items"),
            body("a", "bitems", ""),
        ];
        let digests: std::collections::HashSet<_> = requests.iter().map(|request| cache.digest(request)).collect();
        assert_eq!(digests.len(), requests.len());
        assert!(digests.contains(&cache.digest(&body("a", "b", "items"))));
        let other_process = TokenCache::new().unwrap();
        assert!(!digests.contains(&other_process.digest(&body("a", "b", "items"))));
    }

    #[test]
    fn a_token_is_reused_for_most_of_a_short_life_and_five_minutes_of_a_long_one() {
        let asked = Instant::now();
        let at = |seconds| asked + Duration::from_secs(seconds);
        for (life, last, first_refused) in [(Some(100), 79, 80), (Some(3_600), 299, 300)] {
            let issued = issued(life, asked);
            assert!(issued.may_be_reused(at(last)), "{life:?}");
            assert!(!issued.may_be_reused(at(first_refused)), "{life:?}");
        }
        assert!(!issued(None, asked).may_be_reused(asked), "nobody knows how long it lives");
        assert!(!issued(Some(0), asked).may_be_reused(asked));
        assert_eq!(issued(Some(3_600), asked).expires_in(at(250)), Some(3_350));
        assert_eq!(issued(Some(10), asked).expires_in(at(11)), Some(0));
    }

    #[test]
    fn a_token_that_was_seen_inactive_is_not_handed_out_again() {
        let tokens = crate::idp::IssuedTokens::new();
        let cache = TokenCache::new().unwrap();
        let (now, request) = (Instant::now(), cache.digest(&body("a", "b", "items")));
        let token = Token { access_token: "t".into(), token_type: "Bearer".into(), scope: None, expires_in: Some(60) };
        let issued = Issued { token, asked_at: now, fate: tokens.register("t") };
        cache.remember(request, &Ok(Arc::new(issued)), now);
        assert!(cache.find(&request, now).is_some());
        tokens.mark_inactive(&crate::idp::TokenDigest::of(b"t"));
        assert!(cache.find(&request, now).is_none());
    }

    #[test]
    fn a_refusal_of_the_issuers_is_given_again_for_a_moment_and_a_failure_is_not() {
        let (cache, now) = (TokenCache::new().unwrap(), Instant::now());
        let request = cache.digest(&body("a", "b", "items"));
        for (status, again) in [(400, true), (401, true), (403, true), (429, false), (503, false)] {
            let cache = TokenCache::new().unwrap();
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), "invalid_scope", "No.");
            cache.remember(request, &Err(refusal.clone()), now);
            let found = cache.find(&request, now + REFUSED_FOR / 2).map(|answer| answer.err());
            assert_eq!(found, again.then_some(Some(refusal)), "{status}");
            assert!(cache.find(&request, now + REFUSED_FOR).is_none());
        }
    }

    #[test]
    fn a_million_refusals_leave_the_table_at_its_bound() {
        let (cache, now) = (TokenCache::new().unwrap(), Instant::now());
        let refused = Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", "No."));
        for number in 0..1_000_000 {
            cache.remember(cache.digest(&body("a", &number.to_string(), "items")), &refused, now);
        }
        assert!(cache.refusals.len() <= MOST_REFUSALS);
    }
}
