//! Ten sidecars on one limit of Okta's, each with more tokens to ask about than its share allows: none of their calls is
//! refused, and together they stay within their part.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tests::endurance::{is_full, length};
use tests::issuer::FakeIssuer;
use tests::wait::throughout;
use tollgate_contract::ValidationMode;

use crate::world::World;

const SIDECARS: usize = 10;

/// Of all calls to Okta's custom authorization servers in a window.
const LIMIT: u32 = 600;

/// What all of Tollgate may take of it.
const SHARE: u32 = LIMIT / 4;

#[tokio::test]
async fn ten_sidecars_with_too_many_tokens_stay_within_a_quarter_of_the_limit_and_hear_no_429() {
    let window = length(Duration::from_secs(4), Duration::from_secs(60));
    let issuer = Arc::new(FakeIssuer::start().await);
    issuer.limit(LIMIT, window);
    let folder = tempfile::tempdir().expect("a folder");
    let hints = folder.path().join("hints.json");
    let sharers = SIDECARS.next_power_of_two();
    std::fs::write(&hints, json!({"issuers": [{"name": "okta", "sharers": sharers}]}).to_string()).expect("a file");
    let start = |_| {
        let choose = |options: &mut tollgate_sidecar::Options| {
            options.hints = hints.clone();
            options.limits.rate_window = window;
            options.workers = NonZeroUsize::new(1);
        };
        Box::pin(World::start_as(choose, Arc::clone(&issuer), ValidationMode::LocalAndIntrospection, |_| {}))
    };
    let worlds = join_all((0..SIDECARS).map(start)).await;
    join_all(worlds.iter().map(World::await_ready)).await;

    let (passed, shed) = (Cell::new(0), Cell::new(0));
    // Each asks about two tokens that nobody has seen, again and again: many times its share.
    throughout("no call is refused", window * 5, || async {
        let tokens: Vec<String> = (0..2 * SIDECARS).map(|_| issuer.active(&issuer.token())).collect();
        let asked = tokens.iter().zip(worlds.iter().cycle()).map(|(token, world)| world.get(token));
        for answer in join_all(asked).await {
            match answer.verdict() {
                (200, _) => passed.set(passed.get() + 1),
                // Where the machine is too busy, some wait for their turn in vain.
                (503, "idp_rate_limited" | "overloaded") => shed.set(shed.get() + 1),
                other => return Err(format!("{other:?}")),
            }
        }
        match issuer.windows().iter().find(|window| window.refused > 0 || window.calls > SHARE) {
            Some(window) => Err(format!("{window:?}")),
            None => Ok(()),
        }
    })
    .await;
    let (passed, shed) = (passed.get(), shed.get());
    let windows = issuer.windows();
    let calls: Vec<u32> = windows.iter().map(|window| window.calls).collect();
    if is_full() {
        println!("calls a window of {window:?}: {calls:?}; {passed} tokens judged, {shed} shed, no 429");
    }
    assert!(shed > passed, "there was more to ask than the share allows: {passed} judged, {shed} not");
    // 600 / 4 / 16 sharers is nine calls each.
    let whole = &calls[1..calls.len() - 1];
    assert!(whole.iter().all(|calls| *calls >= 60), "and the share is used: {calls:?}");
}
