//! Key rotation under load, as Okta does it: planned, with the next key published ahead, and in an emergency, with a key
//! that was never seen before while strangers flood in with random key ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::endurance;
use tests::issuer::{Endpoint, FakeIssuer};
use tests::load::{Load, Outcome, get_items};
use tests::mint::{SigningKey, other_key, signing_key};
use tests::wait::eventually;
use tokio::time::{Instant, interval_at, sleep_until};
use tollgate_contract::{Algorithm, ValidationMode};

use crate::world::{PATIENCE, World};

/// Fetches that unknown key ids may cause: three at once, then one each ten seconds; and those that a clock causes.
fn budget(over: Duration) -> usize {
    let by_ids = 3 + usize::try_from(over.as_secs() / 10).expect("a short test") + 1;
    let by_clock = usize::try_from(over.as_secs() / 60).expect("a short test") + 1;
    by_ids + by_clock
}

/// Requests ready to send, with distinct tokens of one key.
fn requests(issuer: &FakeIssuer, key: &SigningKey) -> Vec<String> {
    (0..200).map(|_| get_items(&issuer.token().minted_by(key))).collect()
}

fn nth_of(requests: &[String], nth: u64) -> String {
    let count = u64::try_from(requests.len()).expect("a short list");
    requests[usize::try_from(nth % count).expect("an index")].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_rotations_refuse_no_valid_token() {
    let world = World::ready(ValidationMode::Local).await;
    let period = endurance::length(Duration::from_secs(12), Duration::from_secs(30));
    let ahead = endurance::length(Duration::from_secs(6), Duration::from_secs(20));
    let rounds: usize = if endurance::is_full() { 10 } else { 2 };
    // Some seconds more: the last key signs for a while.
    let duration = period * u32::try_from(rounds).expect("a few") + Duration::from_secs(5);
    let keys: Vec<SigningKey> =
        (0..=rounds).map(|nth| SigningKey::generate(format!("planned-{nth}").leak(), Algorithm::Rs256)).collect();
    let tokens: Arc<Vec<Vec<String>>> = Arc::new(keys.iter().map(|key| requests(&world.issuer, key)).collect());
    world.issuer.publish(&[keys[0].jwk()]);
    await_key(&world, &keys[0]).await;
    let before = world.issuer.hits(Endpoint::Keys);

    let signs = Arc::new(AtomicUsize::new(0));
    let load = Load { address: world.sidecar.proxy_addr(), rate: 2_000, connections: 32, duration };
    let chosen = (Arc::clone(&signs), Arc::clone(&tokens));
    let running = tokio::spawn(load.run(move |nth| nth_of(&chosen.1[chosen.0.load(Ordering::SeqCst)], nth)));
    // The next key is published `ahead` of its first signature; the one before stays until its tokens are gone.
    let mut rounds_begin = interval_at(Instant::now() + (period - ahead), period);
    for next in 1..=rounds {
        let published = rounds_begin.tick().await;
        let set: Vec<_> = keys[next.saturating_sub(2)..=next].iter().map(SigningKey::jwk).collect();
        world.issuer.publish(&set);
        sleep_until(published + ahead).await;
        signs.store(next, Ordering::SeqCst);
    }
    let mut outcome = running.await.expect("the load does not panic");
    let fetches = world.issuer.hits(Endpoint::Keys) - before;
    report("planned rotations", &mut outcome, fetches);
    assert_eq!(outcome.with_status(200), outcome.total(), "{:?}", outcome.answers);
    assert_eq!(outcome.broken, 0);
    assert!(signs.load(Ordering::SeqCst) == rounds, "every rotation took place");
    assert!(fetches <= budget(duration), "{fetches} fetches");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_rotation_amid_a_flood_of_forged_key_ids_costs_valid_tokens_seconds_and_no_401() {
    const FLOOD: u32 = 10_000;
    let world = World::ready(ValidationMode::Local).await;
    let duration = endurance::length(Duration::from_secs(20), Duration::from_secs(60));
    let (compromised, kept) = (signing_key(), other_key());
    let fresh = SigningKey::generate("emergency", Algorithm::Rs256);
    world.issuer.publish(&[compromised.jwk(), kept.jwk()]);
    let known = Arc::new(requests(&world.issuer, kept));
    let valid = Arc::new(requests(&world.issuer, &fresh));
    let stolen = world.issuer.token().minted_by(compromised);
    await_key(&world, kept).await;
    assert_eq!(world.get(&stolen).await.status, 200, "before the emergency");

    let address = world.sidecar.proxy_addr();
    let quiet = Load { address, rate: 1_500, connections: 24, duration: Duration::from_secs(5) };
    let before_flood = Arc::clone(&known);
    let mut quiet = quiet.run(move |nth| nth_of(&before_flood, nth)).await;

    // Strangers' tokens: signed by nobody's key, each with an id of its own.
    let forged = world.issuer.token();
    let before = world.issuer.hits(Endpoint::Keys);
    let flood_rate = FLOOD / u32::try_from(duration.as_secs()).expect("a short test");
    let flood = Load { address, rate: flood_rate, connections: 64, duration };
    let of_forged =
        move |nth| get_items(&forged.clone().header("kid", json!(format!("forged-{nth}"))).signed_hmac(b"forged"));
    let flood = tokio::spawn(flood.run(of_forged));
    let at_flood = Arc::clone(&known);
    let steady = Load { address, rate: 1_500, connections: 24, duration };
    let steady = tokio::spawn(steady.run(move |nth| nth_of(&at_flood, nth)));
    // The budget for unknown ids is spent when the emergency comes.
    let spent = || async {
        let fetches = world.issuer.hits(Endpoint::Keys) - before;
        if fetches >= 3 { Ok(()) } else { Err(fetches) }
    };
    eventually("the flood has spent the budget", PATIENCE, spent).await;
    world.issuer.publish(&[kept.jwk(), fresh.jwk()]);
    let left = duration.saturating_sub(Duration::from_secs(4));
    let new = Load { address, rate: 500, connections: 16, duration: left };
    let mut new = new.run(move |nth| nth_of(&valid, nth)).await;
    let (mut steady, mut flood) = (steady.await.expect("no panic"), flood.await.expect("no panic"));
    let fetches = world.issuer.hits(Endpoint::Keys) - before;

    report("known keys, quiet", &mut quiet, 0);
    report("known keys, flood", &mut steady, fetches);
    report("new key", &mut new, fetches);
    report("forged ids", &mut flood, fetches);
    assert_eq!(steady.with_status(200), steady.total(), "known keys are not touched: {:?}", steady.answers);
    assert_eq!(new.with_status(200) + new.with_status(503), new.total(), "never 401: {:?}", new.answers);
    assert!(new.with_status(200) > 0, "the new key came into force");
    assert_eq!(new.unexplained_503, 0, "each 503 says when to come back");
    assert!(new.longest_retry_after.unwrap_or(0) <= 12, "{:?}", new.longest_retry_after);
    let trouble = new.last_trouble.unwrap_or_default();
    assert!(trouble <= Duration::from_secs(12), "valid tokens got 503 for {trouble:?}");
    assert_eq!(flood.with_status(200), 0, "a forged token passes");
    // Strangers may have used up the looks for unknown ids: then it is 503 for a while, and never 200.
    eventually("the removed key is dead", PATIENCE, || async {
        let answer = world.get(&stolen).await;
        assert_ne!(answer.status, 200, "the removed key verifies");
        if answer.verdict() == (401, "unknown_key") { Ok(()) } else { Err(answer.status) }
    })
    .await;
    assert!(fetches <= budget(duration), "{fetches} fetches");
    assert_eq!(steady.broken + new.broken + flood.broken, 0);
}

/// Waits until tokens of this key pass.
async fn await_key(world: &World, key: &SigningKey) {
    eventually("the key is known", PATIENCE, || async {
        let answer = world.get(&world.issuer.token().minted_by(key)).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.status) }
    })
    .await;
}

fn report(what: &str, outcome: &mut Outcome, fetches: usize) {
    let (p50, p99) = (outcome.percentile(0.5), outcome.percentile(0.99));
    println!(
        "{what}: {:?}, p50 {p50:?}, p99 {p99:?}, last trouble {:?}, key fetches {fetches}",
        outcome.answers, outcome.last_trouble
    );
}
