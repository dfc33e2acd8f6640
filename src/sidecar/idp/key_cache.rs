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
                None => self.want(arrival, |wishes| &mut wishes.unknown).map_err(|missing| match seen.failed {
                    // Where there are no keys at all, it is not the callers who ask for too much.
                    Some((_, error)) if set.len() == 0 => Missing::Unavailable(error),
                    Some(_) | None => missing,
                })?,
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
mod tests;
