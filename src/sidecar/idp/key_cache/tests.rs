//! Who waits for a fetch, what a stranger may cost, and when keys end.

use serde_json::json;
use tokio::time::advance;

use super::*;
use crate::jose::Algorithm;
use crate::testkit::RsaKey;

fn set(kids: &[&str]) -> KeySet {
    let keys: Vec<_> = kids.iter().map(|kid| RsaKey::first().jwk(kid)).collect();
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), &[Algorithm::Rs256]).unwrap()
}

async fn loaded(kids: &[&str]) -> Arc<KeyCache> {
    let cache = Arc::new(KeyCache::new(Instant::now()));
    let begun = cache.begin(Instant::now());
    cache.end(begun, Ok(Some(set(kids))));
    // What comes now came after that fetch.
    advance(Duration::from_millis(1)).await;
    cache
}

/// Serves each wish with `kids`, and counts.
async fn serve(cache: Arc<KeyCache>, kids: &'static [&'static str], served: Arc<std::sync::atomic::AtomicU32>) {
    loop {
        cache.wanted().await;
        let begun = cache.begin(Instant::now());
        advance(Duration::from_millis(10)).await;
        served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        cache.end(begun, Ok(Some(set(kids))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_kid_never_waits_even_while_a_fetch_hangs() {
    let cache = loaded(&["known"]).await;
    cache.begin(Instant::now());
    let arrival = Instant::now();
    assert!(cache.holding(Some("known"), arrival).await.is_ok());
    assert_eq!(Instant::now(), arrival);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tokens_with_a_new_kid_cost_one_fetch() {
    let cache = loaded(&["old"]).await;
    let served = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let server = tokio::spawn(serve(Arc::clone(&cache), &["old", "new"], Arc::clone(&served)));
    let arrival = Instant::now();
    let all = futures::future::join_all((0..100).map(|_| cache.holding(Some("new"), arrival))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(served.load(std::sync::atomic::Ordering::SeqCst), 1);
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn a_kid_is_unknown_only_when_a_set_fetched_after_arrival_lacks_it() {
    let cache = loaded(&["old"]).await;
    // A fetch that began before the token arrived says nothing about it.
    let begun = cache.begin(Instant::now());
    advance(Duration::from_millis(1)).await;
    let arrival = Instant::now();
    let waiting = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { cache.holding(Some("forged"), arrival).await.map(|_| ()) }
    });
    tokio::task::yield_now().await;
    cache.end(begun, Ok(Some(set(&["old"]))));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    cache.wanted().await;
    let begun = cache.begin(Instant::now());
    cache.end(begun, Ok(Some(set(&["old"]))));
    assert_eq!(waiting.await.unwrap(), Err(Missing::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_is_no_verdict() {
    let cache = loaded(&["old"]).await;
    let arrival = Instant::now();
    let failing = async {
        cache.wanted().await;
        let begun = cache.begin(Instant::now());
        cache.end(begun, Err(IdpError::Down(503)));
    };
    let (verdict, ()) = tokio::join!(cache.holding(Some("new"), arrival), failing);
    assert_eq!(verdict.err(), Some(Missing::Unavailable(IdpError::Down(503))));
    assert!(cache.holding(Some("old"), arrival).await.is_ok(), "what was known stays known");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_two_seconds() {
    let cache = loaded(&["old"]).await;
    let arrival = Instant::now();
    let verdict = cache.holding(Some("new"), arrival).await;
    assert_eq!(verdict.err(), Some(Missing::Unavailable(IdpError::Unreachable)));
    assert_eq!(Instant::now() - arrival, LONGEST_WAIT);
}

#[tokio::test(start_paused = true)]
async fn strangers_get_three_fetches_and_then_one_in_ten_seconds() {
    let cache = loaded(&["old"]).await;
    let served = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let server = tokio::spawn(serve(Arc::clone(&cache), &["old"], Arc::clone(&served)));
    for _ in 0..UNKNOWN {
        advance(Duration::from_millis(1)).await;
        assert_eq!(cache.holding(Some("forged"), Instant::now()).await.err(), Some(Missing::Unknown));
    }
    advance(Duration::from_millis(1)).await;
    let refused = cache.holding(Some("forged"), Instant::now()).await.err();
    let Some(Missing::OverBudget { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(retry_after <= INTERVAL && retry_after > INTERVAL / 2, "{retry_after:?}");
    advance(INTERVAL).await;
    assert_eq!(cache.holding(Some("forged"), Instant::now()).await.err(), Some(Missing::Unknown));
    assert_eq!(served.load(std::sync::atomic::Ordering::SeqCst), UNKNOWN + 1);
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn a_key_replaced_under_its_kid_is_looked_for_once_in_ten_seconds_and_not_at_the_expense_of_new_ones() {
    let cache = loaded(&["old"]).await;
    let served = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let server = tokio::spawn(serve(Arc::clone(&cache), &["old"], Arc::clone(&served)));
    let arrival = Instant::now();
    let all = futures::future::join_all((0..100).map(|_| cache.newer(arrival))).await;
    assert!(all.iter().all(Option::is_some), "all who wait get what is fetched for one");
    for _ in 0..100 {
        advance(Duration::from_millis(1)).await;
        assert!(cache.newer(Instant::now()).await.is_none());
    }
    assert_eq!(served.load(std::sync::atomic::Ordering::SeqCst), 1);
    for _ in 0..UNKNOWN {
        advance(Duration::from_millis(1)).await;
        assert_eq!(cache.holding(Some("new"), Instant::now()).await.err(), Some(Missing::Unknown));
    }
    advance(INTERVAL).await;
    assert!(cache.newer(Instant::now()).await.is_some());
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_or_hangs_brings_no_newer_set() {
    let cache = loaded(&["old"]).await;
    let failing = async {
        cache.wanted().await;
        cache.end(cache.begin(Instant::now()), Err(IdpError::Down(503)));
    };
    let (newer, ()) = tokio::join!(cache.newer(Instant::now()), failing);
    assert!(newer.is_none());
    advance(INTERVAL).await;
    let arrival = Instant::now();
    assert!(cache.newer(arrival).await.is_none());
    assert_eq!(Instant::now() - arrival, LONGEST_WAIT);
}

#[tokio::test(start_paused = true)]
async fn stale_keys_end_after_a_day_without_a_good_fetch() {
    let cache = loaded(&["old"]).await;
    let held = cache.current();
    advance(LIFE_OF_KEYS - Duration::from_secs(1)).await;
    let begun = cache.begin(Instant::now());
    cache.end(begun, Err(IdpError::Unreachable));
    assert!(!cache.drop_stale(Instant::now()));
    advance(Duration::from_secs(1)).await;
    assert!(cache.drop_stale(Instant::now()));
    assert_eq!(cache.current().len(), 0);
    assert!(held.candidates(None).all(|key| !key.is_in_force()), "decisions made with them end too");
    assert!(cache.is_loaded(), "readiness is about the first load");
}

#[tokio::test(start_paused = true)]
async fn seeded_keys_serve_until_the_first_fetch_and_never_replace_what_it_brought() {
    let cache = Arc::new(KeyCache::new(Instant::now()));
    let in_an_hour = Instant::now() + Duration::from_secs(3_600);
    assert!(cache.seed(set(&["seeded"]), in_an_hour));
    assert!(cache.is_loaded());
    assert_eq!(cache.stale_at(), Some(in_an_hour), "counted from when they were fetched");
    assert!(cache.holding(Some("seeded"), Instant::now()).await.is_ok());
    assert!(cache.seed(set(&["newer"]), in_an_hour));
    assert_eq!(cache.current().ids(), ["newer"]);
    let begun = cache.begin(Instant::now());
    cache.end(begun, Ok(Some(set(&["live"]))));
    assert!(!cache.seed(set(&["late"]), in_an_hour + LIFE_OF_KEYS));
    assert_eq!(cache.current().ids(), ["live"]);
    assert_eq!(cache.stale_at(), Some(begun + LIFE_OF_KEYS));
}

#[tokio::test(start_paused = true)]
async fn keys_that_a_seed_takes_away_while_a_fetch_is_read_are_in_force_after_it() {
    let cache = Arc::new(KeyCache::new(Instant::now()));
    let in_an_hour = Instant::now() + Duration::from_secs(3_600);
    cache.seed(set(&["stays", "left"]), in_an_hour);
    let (held, begun, read) = (cache.current(), cache.begin(Instant::now()), set(&["stays", "left"]));
    cache.seed(set(&["stays"]), in_an_hour);
    cache.end(begun, Ok(Some(read)));
    let current = cache.current();
    assert_eq!(current.ids(), ["left", "stays"]);
    assert!(current.candidates(None).all(|key| key.is_in_force()));
    assert!(held.candidates(Some("stays")).all(|key| key.is_in_force()), "decisions made with it hold");
    assert!(held.candidates(Some("left")).all(|key| !key.is_in_force()));
}

#[tokio::test(start_paused = true)]
async fn a_kid_that_only_the_seed_lacks_is_not_unknown() {
    let cache = Arc::new(KeyCache::new(Instant::now()));
    cache.seed(set(&["seeded"]), Instant::now() + LIFE_OF_KEYS);
    advance(Duration::from_millis(1)).await;
    let failing = async {
        cache.wanted().await;
        cache.end(cache.begin(Instant::now()), Err(IdpError::Unreachable));
    };
    let (verdict, ()) = tokio::join!(cache.holding(Some("new"), Instant::now()), failing);
    assert_eq!(verdict.err(), Some(Missing::Unavailable(IdpError::Unreachable)));
}

#[tokio::test(start_paused = true)]
async fn seeded_keys_end_a_day_after_they_were_fetched() {
    let cache = Arc::new(KeyCache::new(Instant::now()));
    cache.seed(set(&["seeded"]), Instant::now() + Duration::from_secs(60));
    advance(Duration::from_secs(60)).await;
    assert!(cache.drop_stale(Instant::now()));
    assert_eq!(cache.current().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_was_overtaken_changes_nothing() {
    let cache = loaded(&["old"]).await;
    let hanging = cache.begin(Instant::now());
    advance(Duration::from_secs(2)).await;
    let begun = cache.begin(Instant::now());
    cache.end(begun, Ok(Some(set(&["new"]))));
    cache.end(hanging, Ok(Some(set(&["old"]))));
    assert_eq!(cache.current().ids(), ["new"]);
    cache.end(hanging, Err(IdpError::Unreachable));
    assert_eq!(cache.holding(Some("forged"), begun).await.err(), Some(Missing::Unknown));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_latest_fetch_is_not_answered_by_the_end_of_an_older_one() {
    let cache = loaded(&["old"]).await;
    let hanging = cache.begin(Instant::now());
    advance(Duration::from_secs(1)).await;
    let arrival = Instant::now();
    let latest = cache.begin(arrival);
    let answered = async {
        advance(Duration::from_millis(500)).await;
        cache.end(hanging, Err(IdpError::Unreachable));
        advance(Duration::from_millis(500)).await;
        cache.end(latest, Ok(Some(set(&["old", "new"]))));
    };
    let (verdict, ()) = tokio::join!(cache.holding(Some("new"), arrival), answered);
    assert!(verdict.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_million_unknown_kids_take_no_memory_and_three_fetches() {
    let cache = loaded(&["old"]).await;
    let served = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let server = tokio::spawn(serve(Arc::clone(&cache), &["old"], Arc::clone(&served)));
    for number in 0..1_000_000_u32 {
        let verdict = cache.holding(Some(&number.to_string()), Instant::now()).await;
        assert!(verdict.is_err());
    }
    assert!(served.load(std::sync::atomic::Ordering::SeqCst) <= UNKNOWN + 1);
    assert_eq!(cache.fetches.receiver_count(), 0);
    server.abort();
}
