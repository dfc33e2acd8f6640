//! Strangers flood the sidecar with made-up tokens and made-up credentials: who is known, or brings a sound token, sees
//! nothing of it, Okta's limit holds, and memory stays as it was.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::endurance::{is_full, length};
use tests::issuer::{Endpoint, FakeIssuer, Seen};
use tests::load::{Load, get_items};
use tests::wait::throughout;
use tokio::sync::Mutex;
use tokio::time::interval;
use tollgate_contract::ValidationMode;
use tollgate_sidecar::AccessLogTo;

use crate::world::World;

/// Of all calls to Okta's custom authorization servers in a second of a window. The one client's tokens take nearly the
/// eighth of Tollgate's quarter that is one client's; the flood would take all of it in no time.
const LIMIT: u32 = 400;

/// Rounds of the others in a second.
const ROUNDS: u32 = 10;

/// What a flood may leave behind in memory, in KiB: all tables are bounded.
const MOST_GROWN: u64 = 64 * 1024;

const GRANT: &str = "grant_type=client_credentials";

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A token request with credentials that nobody has.
fn made_up(number: u64) -> String {
    let authorization = basic(&format!("0oaMadeUp{number}"), "guess");
    format!(
        "POST /token HTTP/1.1\r\nhost: api.test\r\nauthorization: {authorization}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{GRANT}",
        GRANT.len()
    )
}

/// Calls that the issuer saw for strangers.
fn made_up_calls(issuer: &FakeIssuer) -> usize {
    let made_up = |seen: &&Seen| seen.form.get("token").is_some_and(|token| token.starts_with("made-up"));
    let tokens = issuer.seen(Endpoint::Introspect).iter().filter(made_up).count();
    let known = basic("0oaCaller", "s3cret");
    let others = |seen: &&Seen| seen.authorization.as_deref() != Some(known.as_str());
    tokens + issuer.seen(Endpoint::Token).iter().filter(others).count()
}

/// What this process holds in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_is_felt_by_nobody_else() {
    let window = length(Duration::from_secs(4), Duration::from_secs(60));
    let duration = window * 2;
    let issuer = Arc::new(FakeIssuer::start().await);
    let limit = LIMIT * u32::try_from(window.as_secs()).expect("it fits");
    issuer.limit(limit, window);
    let folder = tempfile::tempdir().expect("a folder");
    let hints = folder.path().join("hints.json");
    std::fs::write(&hints, json!({"issuers": [{"name": "okta", "sharers": 1}]}).to_string()).expect("a file");
    let choose = |options: &mut tollgate_sidecar::Options| {
        options.hints = hints;
        // A log that the test keeps would hide what else grows.
        options.access_log = AccessLogTo::Off;
        options.limits.rate_window = window;
    };
    let world = World::start_as(choose, Arc::clone(&issuer), ValidationMode::Introspection, |config| {
        // A remembered verdict is soon asked about again.
        config.issuers[0].introspection.cache_millis = 200;
    })
    .await;
    world.await_ready().await;
    // A token without a life is never handed out twice.
    issuer.lifetime(0);
    let opaque = "opaque-token-that-was-good-before";
    issuer.answer(opaque, issuer.token().answer());
    assert_eq!(world.get(opaque).await.status, 200);
    let caller = basic("0oaCaller", "s3cret");
    assert_eq!(world.post_token(&[("authorization", &caller)], GRANT).await.status, 200);

    let address = world.sidecar.proxy_addr();
    let before = (resident(), issuer.hits(Endpoint::Introspect), issuer.hits(Endpoint::Token));
    let tokens = Load { address, rate: 2_000, connections: 64, duration }
        .run(|number| get_items(&format!("made-up-token-number-{number}")));
    let credentials = Load { address, rate: 500, connections: 32, duration }.run(made_up);
    let (tokens, credentials) = (tokio::spawn(tokens), tokio::spawn(credentials));

    let rounds = Cell::new(0_u64);
    let pace = Mutex::new(interval(Duration::from_secs(1) / ROUNDS));
    throughout("nobody else sees an error", duration, || async {
        pace.lock().await.tick().await;
        let sound = issuer.active(&issuer.token());
        let (known, sound) = tokio::join!(world.get(opaque), world.get(&sound));
        let token = world.post_token(&[("authorization", &caller)], GRANT).await;
        rounds.set(rounds.get() + 1);
        match (known.verdict(), sound.verdict(), token.status) {
            ((200, _), (200, _), 200) => Ok(()),
            other => Err(format!("{other:?}, {}", token.body)),
        }
    })
    .await;
    let (tokens, credentials) = (tokens.await.expect("a flood"), credentials.await.expect("a flood"));
    let asked = (issuer.hits(Endpoint::Introspect) - before.1, issuer.hits(Endpoint::Token) - before.2);
    let windows = issuer.windows();
    let calls: Vec<u32> = windows.iter().map(|window| window.calls).collect();
    let of_strangers = made_up_calls(&issuer);
    let grown = resident().saturating_sub(before.0);
    if is_full() {
        println!("tokens {:?}\ncredentials {:?}", tokens.answers, credentials.answers);
        let rounds = rounds.get();
        println!("{rounds} rounds of the others without an error; {asked:?} calls; {grown} KiB more");
        println!("calls a window of {window:?}: {calls:?}, {of_strangers} of strangers in all");
    }
    assert!(rounds.get() > 10, "{rounds:?}");
    for flood in [&tokens, &credentials] {
        assert_eq!(flood.broken, 0);
        assert_eq!(flood.with_status(200), 0);
        assert_eq!(flood.unexplained_503, 0, "who is turned away hears when to come back");
    }
    let share = limit / 4;
    assert!(windows.iter().all(|window| window.refused == 0 && window.calls <= share), "{share}: {windows:?}");
    // All of them have one address: an eighth of the share in any window of ours.
    let most = (share / 8) as usize * (windows.len() + 1);
    assert!((1..=most).contains(&of_strangers), "{of_strangers} calls for strangers, {most} at most");
    assert!(grown <= MOST_GROWN, "{grown} KiB more");
    assert!(tokens.with_status(503) > 0 && credentials.with_status(503) > 0, "the flood was one");
}
