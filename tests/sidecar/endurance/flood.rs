//! Strangers flood the sidecar with made-up tokens and made-up credentials: who is known, or brings a sound token, sees
//! nothing of it, Okta's limit holds, and memory stays as it was.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::endurance::{is_full, length};
use tests::issuer::{Endpoint, FakeIssuer};
use tests::load::{Load, get_items};
use tests::wait::throughout;
use tollgate_contract::ValidationMode;

use crate::world::World;

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

/// What this process holds in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_is_felt_by_nobody_else() {
    let duration = length(Duration::from_secs(5), Duration::from_secs(60));
    let issuer = Arc::new(FakeIssuer::start().await);
    // As much as the others here need, and room for a flood.
    issuer.limit(100_000, Duration::from_secs(60));
    let folder = tempfile::tempdir().expect("a folder");
    let hints = folder.path().join("hints.json");
    std::fs::write(&hints, json!({"issuers": [{"name": "okta", "sharers": 1}]}).to_string()).expect("a file");
    let choose = |options: &mut tollgate_sidecar::Options| options.hints = hints;
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
    throughout("nobody else sees an error", duration, || async {
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
    let grown = resident().saturating_sub(before.0);
    if is_full() {
        println!("tokens {:?}\ncredentials {:?}", tokens.answers, credentials.answers);
        let rounds = rounds.get();
        println!("{rounds} rounds of the others without an error; {asked:?} calls; {grown} KiB more, log included");
    }
    assert!(rounds.get() > 10, "{rounds:?}");
    for flood in [&tokens, &credentials] {
        assert_eq!(flood.broken, 0);
        assert_eq!(flood.with_status(200), 0);
        assert_eq!(flood.unexplained_503, 0, "who is turned away hears when to come back");
    }
    assert!(tokens.with_status(503) > 0 && credentials.with_status(503) > 0, "the flood was one");
}
