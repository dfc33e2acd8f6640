//! Keeps an issuer's metadata and keys fresh, and what is mounted current, for as long as the process lives. It never gives
//! up, so everything heals by itself; when to try again, `pace` decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join;
use futures::stream::FuturesUnordered;
use http::{HeaderValue, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::credentials::Mounted;
use super::discovery::{Metadata, addresses};
use super::error::IdpError;
use super::issuer::Issuer;
use super::keys::KeySet;
use super::line::Endpoint;
use super::pace::{LONGEST_LIFE, Pace, SHORTEST_LIFE, Turning};
use super::reach::Reach;

/// Attempts under way at once: while each hangs for its 5 s or 10 s, another may find the issuer back.
const MOST_ATTEMPTS: usize = 6;

/// What an attempt brought.
struct Fetched {
    /// A key set and how long it is good for; absent where no keys are used.
    keys: Option<(Bytes, Duration)>,
    /// Whether anything was asked at all.
    asked: bool,
}

/// Loads and refreshes until `shutdown`.
pub(super) async fn keep_fresh(issuer: Arc<Issuer>, shutdown: CancellationToken) {
    let mut pace = Pace::new(Instant::now());
    let mut attempts = FuturesUnordered::new();
    loop {
        let (next, wish_from) = (pace.next(), pace.wish_from(!attempts.is_empty()));
        let room = attempts.len() < MOST_ATTEMPTS;
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some((begun, outcome)) = attempts.next() => note(&issuer, &mut pace, begun, outcome),
            () = until_due(&issuer, next, wish_from), if room => {
                let begun = issuer.keys().begin(Instant::now());
                pace.begin(begun, rand::random());
                attempts.push(refresh(&issuer, begun, issuer.takes_doubts()));
            }
        }
    }
}

/// An attempt has ended.
fn note(issuer: &Issuer, pace: &mut Pace, begun: Instant, outcome: Result<Duration, IdpError>) {
    issuer.metrics().refreshed(issuer.name(), outcome.as_ref().map(|_| ()));
    let now = Instant::now();
    match outcome {
        Ok(life) => {
            if pace.succeed(begun, life.min(issuer.longest_silence()), now, rand::random()) == Turning::Loaded {
                info!(issuer = issuer.name(), "metadata and keys are loaded");
            }
        }
        Err(error) => match pace.fail(begun, &error, now, rand::random()) {
            Turning::Failing => {
                warn!(issuer = issuer.name(), %error, "metadata or keys cannot be loaded; trying again");
            }
            Turning::Loaded | Turning::Same => {
                debug!(issuer = issuer.name(), %error, "metadata or keys cannot be loaded");
            }
        },
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
        issuer.nudge();
    }
}

/// Waits for the next refresh: its time, an unknown `kid` (not before `wish_from`), or what nudges. Ends stale keys on the
/// way.
async fn until_due(issuer: &Issuer, next: Instant, wish_from: Instant) {
    let wish = async {
        sleep_until(wish_from).await;
        issuer.keys().wanted().await;
    };
    let mut wish = std::pin::pin!(wish);
    loop {
        let stale_at = issuer.keys().stale_at().filter(|_| issuer.keys().current().len() > 0);
        tokio::select! {
            () = sleep_until(next) => return,
            () = &mut wish => return,
            () = issuer.nudged() => return,
            () = sleep_until(stale_at.unwrap_or(next)), if stale_at.is_some() => {
                if issuer.keys().drop_stale(Instant::now()) {
                    issuer.metrics().keys_in_force(issuer.name(), 0);
                    warn!(issuer = issuer.name(), "no fresh keys for a day: the old ones count no more");
                }
            }
        }
    }
}

/// One attempt: metadata where it is missing, old or in doubt, and keys. Returns when it was begun, and how long what it
/// brought is good for.
async fn refresh(issuer: &Issuer, begun: Instant, doubts: bool) -> (Instant, Result<Duration, IdpError>) {
    let outcome = attempt(issuer, doubts).await.and_then(|fetched| {
        let Fetched { keys: Some((body, life)), asked } = fetched else {
            return Ok((None, LONGEST_LIFE, fetched.asked));
        };
        match KeySet::parse(&body, issuer.algorithms()) {
            Ok(keys) => Ok((Some(keys), life, asked)),
            // Where the issuer is asked anyway, its keys only spare it some questions.
            Err(_) if !issuer.mode().checks_locally() => Ok((None, LONGEST_LIFE, asked)),
            Err(what) => Err(IdpError::BadResponse(what)),
        }
    });
    let life = match outcome {
        Ok((keys, life, asked)) => {
            if let Some(keys) = &keys {
                issuer.metrics().keys_in_force(issuer.name(), keys.len());
            }
            issuer.keys().end(begun, Ok(keys));
            if asked {
                issuer.has_answered();
            }
            Ok(life)
        }
        Err(error) => {
            issuer.keys().end(begun, Err(error.clone()));
            issuer.has_failed(&error);
            Err(error)
        }
    };
    // Without keys there may be metadata now, and an issuer that is asked about every token needs no more.
    issuer.note_readiness();
    (begun, life)
}

async fn attempt(issuer: &Issuer, doubts: bool) -> Result<Fetched, IdpError> {
    let Some(known) = issuer.reach() else {
        let reach = issuer.adopt(discover(issuer).await?);
        let fetched = fetch_keys(issuer, &reach).await?;
        return Ok(Fetched { asked: true, ..fetched });
    };
    if !issuer.discovers() || !(doubts || known.is_old(Instant::now())) {
        return fetch_keys(issuer, &known).await;
    }
    // Side by side: the keys at the old address do not wait for what may be the metadata's failure.
    let (found, fetched) = join(discover(issuer), fetch_keys(issuer, &known)).await;
    let metadata = match found {
        Ok(metadata) => metadata,
        Err(error) => {
            debug!(issuer = issuer.name(), %error, "the metadata stays as it was");
            return fetched;
        }
    };
    let reach = issuer.adopt(metadata);
    let fetched = if reach.has_keys_where(&known) { fetched } else { fetch_keys(issuer, &reach).await };
    Ok(Fetched { asked: true, ..fetched? })
}

async fn discover(issuer: &Issuer) -> Result<Metadata, IdpError> {
    let mut last = IdpError::BadResponse("there is no metadata");
    for address in addresses(issuer.address()) {
        let reply = match issuer.http().get(&issuer.document(address)).await {
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
        match issuer.judge_metadata(&reply.body) {
            Ok(metadata) => return Ok(metadata),
            Err(what) => last = IdpError::BadResponse(what),
        }
    }
    Err(last)
}

async fn fetch_keys(issuer: &Issuer, reach: &Reach) -> Result<Fetched, IdpError> {
    let Some(jwks) = reach.jwks.as_ref().filter(|_| issuer.uses_keys()) else {
        return Ok(Fetched { keys: None, asked: false });
    };
    match fetch_key_set(issuer, jwks).await {
        Ok(keys) => Ok(Fetched { keys: Some(keys), asked: true }),
        Err(IdpError::BadResponse(_)) if !issuer.mode().checks_locally() => Ok(Fetched { keys: None, asked: true }),
        Err(error) => Err(error),
    }
}

async fn fetch_key_set(issuer: &Issuer, jwks: &Endpoint) -> Result<(Bytes, Duration), IdpError> {
    let reply = issuer.http().get(jwks).await?;
    if reply.status != StatusCode::OK {
        return Err(IdpError::BadResponse("there is no key set"));
    }
    Ok((reply.body, lifetime(reply.cache_control.as_ref())))
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
}
