//! Which keys of an issuer are in force, and when a token that they do not verify is worth a fetch. Fetching itself is
//! `refresh`'s; this decides who waits, how often a stranger's token may cost a fetch, and when stale keys end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::error::IdpError;
use super::hints::LIFE_OF_KEYS;
use super::keys::KeySet;

/// How long a token may wait for a fetch.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Fetches that unknown `kid`s may cause in a row, and then one more each interval: a stranger can send any `kid`.
const UNKNOWN: u32 = 3;

/// The same for tokens whose `kid` is known, or that have none: counted apart, so that forged signatures keep nobody from
/// a key that is really new.
const REPLACED: u32 = 1;

const INTERVAL: Duration = Duration::from_secs(10);

/// Why no key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A set fetched after the token arrived lacks the `kid`.
    Unknown,
    /// The fetch failed, or did not end in time.
    Unavailable(IdpError),
    /// Unknown `kid`s have used up their fetches.
    OverBudget {
        /// Until the next one.
        retry_after: Duration,
    },
}

/// The keys of one issuer.
pub(crate) struct KeyCache {
    set: ArcSwap<KeySet>,
    fetches: watch::Sender<Fetches>,
    wishes: Mutex<Wishes>,
    wake: Notify,
}

/// When the last fetches that ended had begun.
#[derive(Debug, Clone, Default)]
struct Fetches {
    good: Option<Instant>,
    failed: Option<(Instant, IdpError)>,
}

/// Fetches asked for on behalf of tokens that the keys in force do not verify.
struct Wishes {
    unknown: Budget,
    replaced: Budget,
    /// Asked for and not begun.
    wanted: bool,
    /// When the latest of those under way was begun.
    running_since: Option<Instant>,
    /// When the keys in force end; absent before there are any.
    stale_at: Option<Instant>,
}

/// A token bucket.
struct Budget {
    most: u32,
    left: u32,
    counted_at: Instant,
}

impl Budget {
    fn new(most: u32, now: Instant) -> Self {
        Self { most, left: most, counted_at: now }
    }

    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        while self.left < self.most && self.counted_at + INTERVAL <= now {
            self.left += 1;
            self.counted_at += INTERVAL;
        }
        if self.left == self.most {
            self.counted_at = now;
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| (self.counted_at + INTERVAL).duration_since(now))?;
        Ok(())
    }
}

impl Fetches {
    /// What a fetch begun at or after `arrival` has come to, when one has ended.
    fn since(&self, arrival: Instant) -> Option<Result<(), IdpError>> {
        if self.good.is_some_and(|begun| begun >= arrival) {
            return Some(Ok(()));
        }
        self.failed.as_ref().filter(|(begun, _)| *begun >= arrival).map(|(_, error)| Err(error.clone()))
    }
}

impl KeyCache {
    pub(crate) fn new(now: Instant) -> Self {
        let (unknown, replaced) = (Budget::new(UNKNOWN, now), Budget::new(REPLACED, now));
        Self {
            set: ArcSwap::default(),
            fetches: watch::Sender::new(Fetches::default()),
            wishes: Mutex::new(Wishes { unknown, replaced, wanted: false, running_since: None, stale_at: None }),
            wake: Notify::new(),
        }
    }

    /// The keys now in force.
    pub(crate) fn current(&self) -> Arc<KeySet> {
        self.set.load_full()
    }

    /// Whether a set has ever been loaded, be it a seeded one.
    pub(crate) fn is_loaded(&self) -> bool {
        self.wishes().stale_at.is_some()
    }

    /// Takes keys that somebody else fetched into use until `stale_at`, unless this process has fetched any itself; true
    /// when they are in force now.
    pub(crate) fn seed(&self, set: KeySet, stale_at: Instant) -> bool {
        let mut wishes = self.wishes();
        let live = self.fetches.borrow().good.is_some();
        if !live {
            self.replace(set);
            wishes.stale_at = Some(stale_at);
        }
        !live
    }

    /// A set with keys for `kid` (any key, for a token without one), fetched again if need be. `arrival` is when the
    /// token came in. A `kid` that is known is answered at once, whatever is going on.
    pub(crate) async fn holding(&self, kid: Option<&str>, arrival: Instant) -> Result<Arc<KeySet>, Missing> {
        let mut fetches = self.fetches.subscribe();
        loop {
            // The outcome is read before the set: a fetch that ends in between is then seen on the next round.
            let seen = fetches.borrow_and_update().clone();
            let set = self.current();
            if set.candidates(kid).next().is_some() {
                return Ok(set);
            }
            match seen.since(arrival) {
                Some(Ok(())) => return Err(Missing::Unknown),
                Some(Err(error)) => return Err(Missing::Unavailable(error)),
                None => self.want(arrival, |wishes| &mut wishes.unknown)?,
            }
            wait_for_end(&mut fetches, arrival).await?;
        }
    }

    /// A set fetched since `arrival`, for a token that no key in force verifies though its `kid` is known, or that has none;
    /// `None` when there is none to be had now.
    pub(crate) async fn newer(&self, arrival: Instant) -> Option<Arc<KeySet>> {
        let mut fetches = self.fetches.subscribe();
        loop {
            let seen = fetches.borrow_and_update().clone();
            match seen.since(arrival) {
                Some(outcome) => return outcome.ok().map(|()| self.current()),
                None => self.want(arrival, |wishes| &mut wishes.replaced).ok()?,
            }
            wait_for_end(&mut fetches, arrival).await.ok()?;
        }
    }

    /// Makes sure that a fetch begun at or after `arrival` is under way or asked for, at the expense of one of the budgets.
    fn want(&self, arrival: Instant, budget: fn(&mut Wishes) -> &mut Budget) -> Result<(), Missing> {
        let mut wishes = self.wishes();
        if wishes.wanted || wishes.running_since.is_some_and(|begun| begun >= arrival) {
            return Ok(());
        }
        budget(&mut wishes).take(Instant::now()).map_err(|retry_after| Missing::OverBudget { retry_after })?;
        wishes.wanted = true;
        self.wake.notify_one();
        Ok(())
    }

    /// Returns when a token wants a fetch.
    pub(crate) async fn wanted(&self) {
        while !self.wishes().wanted {
            self.wake.notified().await;
        }
    }

    /// A fetch begins, perhaps while another hangs.
    pub(crate) fn begin(&self, now: Instant) -> Instant {
        let mut wishes = self.wishes();
        wishes.wanted = false;
        wishes.running_since = Some(now);
        now
    }

    /// The fetch begun at `begun` has ended. A good set takes force at once, and keys that are not in it lose it; a
    /// failure, or no set where none is used, leaves the keys as they are. Of fetches that overtook each other the one
    /// begun last counts.
    pub(crate) fn end(&self, begun: Instant, outcome: Result<Option<KeySet>, IdpError>) {
        let mut wishes = self.wishes();
        wishes.running_since = wishes.running_since.filter(|latest| *latest > begun);
        match outcome {
            Ok(Some(set)) if self.fetches.borrow().good.is_none_or(|good| good <= begun) => {
                self.replace(set);
                wishes.stale_at = Some(begun + LIFE_OF_KEYS);
                self.fetches.send_modify(|fetches| fetches.good = Some(begun));
            }
            Ok(_) => {}
            Err(error) => self.fetches.send_modify(|fetches| {
                if fetches.failed.as_ref().is_none_or(|(failed, _)| *failed <= begun) {
                    fetches.failed = Some((begun, error));
                }
            }),
        }
    }

    /// When the keys in force end unless a fetch succeeds.
    pub(crate) fn stale_at(&self) -> Option<Instant> {
        self.wishes().stale_at
    }

    /// Ends keys that nobody has confirmed for too long; true when there were any.
    pub(crate) fn drop_stale(&self, now: Instant) -> bool {
        let wishes = self.wishes();
        let stale = wishes.stale_at.is_some_and(|end| end <= now) && self.current().len() > 0;
        if stale {
            self.replace(KeySet::default());
        }
        stale
    }

    /// Called with the wishes held, so that each set follows the one before.
    fn replace(&self, set: KeySet) {
        let old = self.current();
        let set = Arc::new(set.following(&old));
        self.set.store(Arc::clone(&set));
        old.retire_all_but(&set);
    }

    /// A panic elsewhere leaves the wishes consistent: every change is a plain assignment.
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when a fetch ends.
async fn wait_for_end(fetches: &mut watch::Receiver<Fetches>, arrival: Instant) -> Result<(), Missing> {
    match timeout_at(arrival + LONGEST_WAIT, fetches.changed()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Missing::Unavailable(IdpError::Unreachable)),
    }
}

#[cfg(test)]
mod tests {
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
}
