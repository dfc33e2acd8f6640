//! What an issuer's answers teach about its limit, and how much of it is ours (pure): a part of the whole, divided by the
//! sidecars that share it, less where others need it more, and never the last tenth of a window.

use std::time::Duration;

use tokio::time::Instant;

use super::headers::WindowRate;

/// The part of a limit that all sidecars together take: the rest is for logins and whatever else the org does.
const OUR_PART: f64 = 0.25;

/// How many sidecars share a limit when nobody says: more than most clusters have, so that none takes too much.
const UNSAID_SHARERS: u32 = 8;

/// Where others use more than this part of a window, we take the less the more they use.
const OTHERS_PART: f64 = 0.5;

/// But so much of our part stays, however much they used: it is asked for now and then whether that still holds.
const LEAST_PART: f64 = 0.2;

/// One call of so many is never taken.
const RESERVE: u32 = 10;

/// What others used of a window is projected to its end, but not from its first moments.
const SHORTEST_SAMPLE: f64 = 0.25;

/// What is known of the limit, and how many share our part of it.
#[derive(Debug)]
pub(super) struct Share {
    window: Duration,
    sharers: u32,
    learned: Learned,
}

#[derive(Debug)]
enum Learned {
    /// No answer yet.
    Nothing,
    /// The issuer answers and names no limit.
    NoLimit,
    Limit(Limit),
}

#[derive(Debug)]
struct Limit {
    calls: u32,
    confirmed_at: Instant,
    seen: Option<Seen>,
    /// The window before: what others use shows only towards a window's end.
    before: Option<Seen>,
}

/// How far a window of the issuer's was used up.
#[derive(Debug, Clone, Copy)]
struct Seen {
    reset: u64,
    remaining: u32,
    /// Calls that are not ours, at the pace so far until the window's end.
    others: f64,
    /// When that window ends, by our clock.
    until: Instant,
}

impl Share {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, sharers: UNSAID_SHARERS, learned: Learned::Nothing }
    }

    /// Sets how many sidecars share the limit; `None` when nobody says.
    pub(super) fn divide(&mut self, sharers: Option<u32>) {
        self.sharers = sharers.unwrap_or(UNSAID_SHARERS).max(1);
    }

    /// Whether an answer has said yet if there is a limit.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.learned, Learned::Nothing)
    }

    /// An answer came that names no limit.
    pub(super) fn learn_none(&mut self) {
        if self.is_unknown() {
            self.learned = Learned::NoLimit;
        }
    }

    /// An answer names a limit. False when it is tighter than the bucket's: then it is a limit of who made the call.
    /// Only when nobody has seen the wider one for two windows has the bucket's itself been lowered. `ours` is how many
    /// calls of the window were.
    pub(super) fn learn(&mut self, rate: &WindowRate, ours: usize, now: Instant) -> bool {
        let held = match &self.learned {
            Learned::Limit(limit) => Some(limit),
            Learned::Nothing | Learned::NoLimit => None,
        };
        if held.is_some_and(|held| rate.limit < held.calls && now < held.confirmed_at + 2 * self.window) {
            return false;
        }
        let told = rate.remaining.map(|remaining| {
            let others = f64::from(rate.limit.saturating_sub(remaining)) - ours as f64;
            let sample = 1.0 - rate.left.div_duration_f64(self.window);
            let others = others.max(0.0) / sample.clamp(SHORTEST_SAMPLE, 1.0);
            Seen { reset: rate.reset, remaining, others, until: now + rate.left }
        });
        let before = held.and_then(|held| held.before);
        // Answers overtake each other: within a window the fewest left is the latest word.
        let (seen, before) = match (held.and_then(|held| held.seen), told) {
            (Some(seen), Some(told)) if seen.reset == told.reset => {
                (Some(if told.remaining < seen.remaining { told } else { seen }), before)
            }
            (Some(seen), Some(told)) if seen.reset > told.reset && now < seen.until => (Some(seen), before),
            (Some(seen), Some(told)) => (Some(told), Some(seen)),
            (seen, told) => (told.or(seen), before),
        };
        self.learned = Learned::Limit(Limit { calls: rate.limit, confirmed_at: now, seen, before });
        true
    }

    /// Whether the limit held is wider than one that is named.
    pub(super) fn is_wider_than(&self, rate: &WindowRate) -> bool {
        self.limit().is_some_and(|(calls, _)| calls > rate.limit)
    }

    /// The issuer's limit and what was left of it when it last said.
    pub(super) fn limit(&self) -> Option<(u32, Option<u32>)> {
        match &self.learned {
            Learned::Limit(limit) => Some((limit.calls, limit.seen.map(|seen| seen.remaining))),
            Learned::Nothing | Learned::NoLimit => None,
        }
    }

    /// Calls a window that are ours, as a fraction; `None` where there is no limit.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let Learned::Limit(limit) = &self.learned else { return None };
        let calls = f64::from(limit.calls);
        let recent = [limit.seen, limit.before].into_iter().flatten().filter(|seen| now < seen.until + self.window);
        let others = recent.map(|seen| seen.others).fold(0.0, f64::max);
        let part = (1.0 - others / calls) / (1.0 - OTHERS_PART);
        Some(calls * OUR_PART / f64::from(self.sharers) * part.clamp(LEAST_PART, 1.0))
    }

    /// How long nothing may be taken because only the reserve is left. `in_flight` are calls that the issuer may not
    /// have counted yet.
    pub(super) fn is_exhausted(&self, in_flight: usize, now: Instant) -> Option<Duration> {
        let Learned::Limit(limit) = &self.learned else { return None };
        let seen = limit.current(now)?;
        let left = (seen.remaining as usize).saturating_sub(in_flight);
        (left <= (limit.calls / RESERVE) as usize).then(|| seen.until.saturating_duration_since(now))
    }
}

impl Limit {
    fn current(&self, now: Instant) -> Option<Seen> {
        self.seen.filter(|seen| now < seen.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Told in the middle of a window.
    fn told(limit: u32, remaining: u32, reset: u64) -> WindowRate {
        WindowRate { limit, remaining: Some(remaining), reset, left: Duration::from_secs(30) }
    }

    fn rounded(share: &Share, now: Instant) -> f64 {
        (share.rate(now).unwrap() * 1e6).round() / 1e6
    }

    fn of_one_sidecar() -> Share {
        let mut share = Share::new(MINUTE);
        share.divide(Some(1));
        share
    }

    #[test]
    fn a_quarter_of_the_limit_is_divided_by_the_sidecars_that_share_it() {
        let now = Instant::now();
        for (sharers, rate) in [(Some(1), 150.0), (Some(4), 37.5), (None, 18.75), (Some(1024), 150.0 / 1024.0)] {
            let mut share = Share::new(MINUTE);
            share.divide(sharers);
            share.learn(&told(600, 600, 1), 0, now);
            assert_eq!(share.rate(now), Some(rate), "{sharers:?}");
        }
        let mut share = of_one_sidecar();
        share.divide(Some(0));
        share.learn(&told(600, 600, 1), 0, now);
        assert_eq!(share.rate(now), Some(150.0), "nobody shares it with nobody");
    }

    #[test]
    fn without_a_named_limit_there_is_none_until_one_is_named() {
        let (mut share, now) = (of_one_sidecar(), Instant::now());
        assert!(share.is_unknown());
        share.learn_none();
        assert_eq!((share.is_unknown(), share.rate(now), share.is_exhausted(9, now)), (false, None, None));
        share.learn(&told(600, 600, 1), 0, now);
        share.learn_none();
        assert_eq!(share.rate(now), Some(150.0), "one answer without it takes nothing back");
    }

    #[test]
    fn where_others_use_most_of_a_window_we_take_less() {
        for (remaining, ours, rate) in [
            (600, 0, 150.0),
            (450, 0, 150.0),
            (375, 0, 75.0),
            (375, 75, 150.0),
            (350, 0, 50.0),
            (330, 0, 30.0),
            (0, 0, 30.0),
            (0, 600, 150.0),
            (600, 100, 150.0),
        ] {
            let (mut share, now) = (of_one_sidecar(), Instant::now());
            share.learn(&told(600, remaining, 1), ours, now);
            assert_eq!(rounded(&share, now), rate, "{remaining} left, {ours} ours");
        }
    }

    #[test]
    fn the_last_tenth_of_a_window_is_never_taken_and_the_next_window_is_free() {
        let now = Instant::now();
        for (remaining, in_flight, exhausted) in
            [(61, 0, false), (60, 0, true), (76, 16, true), (77, 16, false), (0, 0, true), (5, 16, true)]
        {
            let mut share = of_one_sidecar();
            share.learn(&told(600, remaining, 1), 0, now);
            let left = Duration::from_secs(30);
            assert_eq!(share.is_exhausted(in_flight, now), exhausted.then_some(left), "{remaining} {in_flight}");
            assert_eq!(share.is_exhausted(in_flight, now + left), None);
        }
    }

    #[test]
    fn what_others_use_is_projected_to_the_windows_end() {
        for (left, rate) in [(59, 150.0), (45, 30.0), (30, 150.0), (15, 150.0)] {
            let (mut share, now) = (of_one_sidecar(), Instant::now());
            let left = Duration::from_secs(left);
            let used = if left > Duration::from_secs(50) { 9 } else { 135 };
            share.learn(&WindowRate { left, ..told(600, 600 - used, 1) }, 0, now);
            assert_eq!(rounded(&share, now), rate, "{used} used with {left:?} left");
        }
    }

    #[test]
    fn what_others_used_of_a_window_is_expected_of_the_next_one_too() {
        let (mut share, start) = (of_one_sidecar(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        share.learn(&told(600, 60, 1), 0, start);
        assert_eq!(rounded(&share, at(31)), 30.0, "the window has ended");
        share.learn(&told(600, 599, 2), 0, at(31));
        assert_eq!(rounded(&share, at(31)), 30.0, "and another has begun");
        assert_eq!(rounded(&share, at(89)), 30.0);
        assert_eq!(rounded(&share, at(90)), 150.0, "a window later it is over");
    }

    #[test]
    fn answers_that_overtake_each_other_do_not_give_calls_back() {
        let (mut share, now) = (of_one_sidecar(), Instant::now());
        let mut remaining = |told| {
            share.learn(&told, 0, now);
            share.limit().unwrap().1.unwrap()
        };
        assert_eq!(remaining(told(600, 100, 7)), 100);
        assert_eq!(remaining(told(600, 101, 7)), 100);
        assert_eq!(remaining(told(600, 99, 7)), 99);
        assert_eq!(remaining(told(600, 500, 6)), 99, "of the window before");
        assert_eq!(remaining(told(600, 599, 8)), 599, "the next one");
    }

    #[test]
    fn a_tighter_limit_is_the_callers_own_unless_the_wider_one_is_seen_no_more() {
        let (mut share, now) = (of_one_sidecar(), Instant::now());
        assert!(share.learn(&told(600, 400, 1), 0, now));
        assert!(!share.learn(&told(300, 0, 1), 0, now), "the ceiling of one client");
        assert_eq!(share.limit(), Some((600, Some(400))));
        assert!(!share.learn(&told(300, 0, 1), 0, now + MINUTE));
        assert!(share.learn(&told(300, 299, 2), 0, now + 2 * MINUTE), "lowered by an administrator");
        assert_eq!(share.limit(), Some((300, Some(299))));
        assert!(share.learn(&told(1200, 1199, 2), 0, now + 2 * MINUTE), "and raised at once");
        assert_eq!(share.limit(), Some((1200, Some(299))), "the window is the same");
    }
}
