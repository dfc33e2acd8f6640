//! Keeps an issuer's metadata and keys fresh, and its mounted credentials and CA bundle current, for as long as the
//! process lives. It never gives up, so everything heals by itself; it never hurries, so the issuer is left in peace.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Issuer;
use super::credentials::Mounted;
use super::discovery::{Metadata, addresses};
use super::error::IdpError;
use super::keys::KeySet;

/// Okta's `Cache-Control` ranges from `no-store` to 44 days: never ask more often than this, nor less.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(60 * 60);

/// Between attempts while the issuer fails.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// Loads and refreshes until `shutdown`.
pub(super) async fn keep_fresh(issuer: Arc<Issuer>, shutdown: CancellationToken) {
    let mut failures = 0;
    let mut loaded = false;
    let mut doubts = false;
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = refresh(&issuer, doubts) => outcome,
        };
        // Where the endpoints answer nonsense, they may have moved.
        doubts = matches!(outcome, Err(IdpError::BadResponse(_)));
        issuer.metrics.refreshed(issuer.name(), outcome.as_ref().map(|_| ()));
        let pause = match outcome {
            Ok(life) => {
                if !std::mem::replace(&mut loaded, true) || failures > 0 {
                    info!(issuer = issuer.name(), "metadata and keys are loaded");
                }
                failures = 0;
                next_refresh(life, rand::random())
            }
            Err(error) => {
                if failures == 0 {
                    warn!(issuer = issuer.name(), %error, "metadata or keys cannot be loaded; trying again");
                } else {
                    debug!(issuer = issuer.name(), %error, failures, "metadata or keys cannot be loaded");
                }
                failures += 1;
                let limited =
                    if let IdpError::RateLimited { retry_after } = error { retry_after } else { Duration::ZERO };
                next_retry(failures, rand::random()).max(limited)
            }
        };
        let next = Instant::now() + pause;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = until_due(&issuer, next) => {}
        }
    }
}

/// Follows the mounted files. What has gone stays in use and is reported; what comes takes effect at once.
pub(super) async fn follow_mounts(
    issuer: Arc<Issuer>,
    mut mounted: watch::Receiver<Mounted>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = mounted.changed() => if changed.is_err() { return },
        }
        let now = mounted.borrow_and_update().clone();
        issuer.mount(&now);
        info!(issuer = issuer.name(), "mounted credentials or CA bundle changed");
        issuer.nudge.notify_one();
    }
}

/// Waits for the next refresh: its time, an unknown `kid`, or changed files. Ends stale keys on the way.
async fn until_due(issuer: &Issuer, next: Instant) {
    loop {
        let stale_at = issuer.keys.stale_at().filter(|_| issuer.keys.current().len() > 0);
        tokio::select! {
            () = sleep_until(next) => return,
            () = issuer.keys.wanted() => return,
            () = issuer.nudge.notified() => return,
            () = sleep_until(stale_at.unwrap_or(next)), if stale_at.is_some() => {
                if issuer.keys.drop_stale(Instant::now()) {
                    issuer.metrics.keys_in_force(issuer.name(), 0);
                    warn!(issuer = issuer.name(), "no fresh keys for a day: the old ones count no more");
                }
            }
        }
    }
}

/// One attempt: metadata where it is missing or in doubt, then keys. Returns how long the keys are good for.
async fn refresh(issuer: &Issuer, doubts: bool) -> Result<Duration, IdpError> {
    let begun = issuer.keys.begin(Instant::now());
    let outcome = attempt(issuer, doubts).await;
    issuer.health.record_keys(outcome.as_ref().map(|_| ()), Instant::now());
    let life = match outcome {
        Ok((keys, life)) => {
            if let Some(keys) = &keys {
                issuer.metrics.keys_in_force(issuer.name(), keys.len());
            }
            issuer.keys.end(begun, Ok(keys));
            Ok(life)
        }
        Err(error) => {
            issuer.keys.end(begun, Err(error.clone()));
            Err(error)
        }
    };
    // Without keys there may be metadata now, and an issuer that is asked about every token needs no more.
    issuer.note_readiness();
    life
}

async fn attempt(issuer: &Issuer, doubts: bool) -> Result<(Option<KeySet>, Duration), IdpError> {
    let known = issuer.metadata.load().is_some();
    if !known || doubts {
        match discover(issuer).await {
            Ok(metadata) => issuer.metadata.store(Some(Arc::new(metadata))),
            Err(error) if known => debug!(issuer = issuer.name(), %error, "the metadata stays as it was"),
            Err(error) => return Err(error),
        }
    }
    let metadata = issuer.metadata.load_full();
    let Some(jwks_uri) = metadata.as_ref().and_then(|metadata| metadata.jwks_uri.as_ref()) else {
        return Ok((None, LONGEST_LIFE));
    };
    if !issuer.uses_keys() {
        return Ok((None, LONGEST_LIFE));
    }
    match fetch_keys(issuer, jwks_uri).await {
        Ok((keys, life)) => Ok((Some(keys), life)),
        // Where the issuer is asked anyway, its keys only spare it some questions.
        Err(IdpError::BadResponse(_)) if !issuer.mode().checks_locally() => Ok((None, LONGEST_LIFE)),
        Err(error) => Err(error),
    }
}

async fn discover(issuer: &Issuer) -> Result<Metadata, IdpError> {
    let mut last = IdpError::BadResponse("there is no metadata");
    for address in addresses(&issuer.url) {
        let reply = match issuer.http.get(&address).await {
            Ok(reply) => reply,
            // An error page of one form says nothing about the others; no answer at all does.
            Err(error @ (IdpError::Down(_) | IdpError::BadResponse(_))) => {
                last = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        if reply.status != StatusCode::OK {
            continue;
        }
        let config = &issuer.config;
        match Metadata::parse(&reply.body, &config.url, issuer.needs, config.allow_http) {
            Ok(metadata) => return Ok(metadata),
            Err(what) => last = IdpError::BadResponse(what),
        }
    }
    Err(last)
}

async fn fetch_keys(issuer: &Issuer, jwks_uri: &reqwest::Url) -> Result<(KeySet, Duration), IdpError> {
    let reply = issuer.http.get(jwks_uri).await?;
    if reply.status != StatusCode::OK {
        return Err(IdpError::BadResponse("there is no key set"));
    }
    let keys =
        KeySet::parse(&reply.body, issuer.algorithms(), &issuer.keys.current()).map_err(IdpError::BadResponse)?;
    Ok((keys, lifetime(reply.cache_control.as_ref())))
}

/// How long a key set is good for by its `Cache-Control`, within bounds.
fn lifetime(cache_control: Option<&HeaderValue>) -> Duration {
    let directives = cache_control.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut life = LONGEST_LIFE;
    for directive in directives.split(',').map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("max-age") {
            // Beyond u64 it is "for ever", which the bound answers.
            life = life.min(Duration::from_secs(value.trim_matches('"').parse().unwrap_or(u64::MAX)));
        } else if name.eq_ignore_ascii_case("no-cache") || name.eq_ignore_ascii_case("no-store") {
            life = SHORTEST_LIFE;
        }
    }
    life.clamp(SHORTEST_LIFE, LONGEST_LIFE)
}

/// Somewhat before the keys' life ends, so that pods which started together do not ask together. `dice` is in 0..1.
fn next_refresh(life: Duration, dice: f64) -> Duration {
    life.mul_f64(0.8 + 0.2 * dice).max(SHORTEST_LIFE)
}

/// Doubles with each failure, give or take half. `dice` is in 0..1.
fn next_retry(failures: u32, dice: f64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LAST_RETRY).mul_f64(0.5 + 0.5 * dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_is_heeded_within_a_minute_and_an_hour() {
        let cases = [
            (None, 3600),
            (Some("max-age=3832304, must-revalidate"), 3600),
            (Some("public, max-age=600"), 600),
            (Some("Max-Age=\"600\""), 600),
            (Some("max-age=5"), 60),
            (Some("max-age=0"), 60),
            (Some("max-age=99999999999999999999999"), 3600),
            (Some("max-age=-1"), 3600),
            (Some("no-store"), 60),
            (Some("no-cache, no-store, max-age=600"), 60),
            (Some("garbage"), 3600),
        ];
        for (header, seconds) in cases {
            let value = header.map(HeaderValue::from_static);
            assert_eq!(lifetime(value.as_ref()), Duration::from_secs(seconds), "{header:?}");
        }
    }

    #[test]
    fn refreshes_are_spread_and_never_closer_than_a_minute() {
        for dice in [0.0, 0.5, 0.999] {
            assert!(next_refresh(SHORTEST_LIFE, dice) >= SHORTEST_LIFE);
            let hour = next_refresh(LONGEST_LIFE, dice);
            assert!(hour >= LONGEST_LIFE.mul_f64(0.8) && hour <= LONGEST_LIFE);
        }
        assert_ne!(next_refresh(LONGEST_LIFE, 0.1), next_refresh(LONGEST_LIFE, 0.9));
    }

    #[test]
    fn retries_slow_down_to_a_quarter_of_a_minute_and_go_on_for_ever() {
        assert!(next_retry(1, 0.0) >= FIRST_RETRY / 2 && next_retry(1, 1.0) <= FIRST_RETRY);
        assert!(next_retry(3, 1.0) > next_retry(1, 1.0));
        for failures in [10, 1_000, u32::MAX] {
            assert_eq!(next_retry(failures, 1.0), LAST_RETRY);
        }
    }
}
