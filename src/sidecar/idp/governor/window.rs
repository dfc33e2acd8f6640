//! How many calls lie in a rolling window (pure). A call is counted from its begin until a window's length after its end:
//! whenever in between the issuer counted it, no window of the issuer's holds more calls than this one allows.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Calls with what tells them apart.
#[derive(Debug)]
pub(super) struct Window<T> {
    length: Duration,
    open: Vec<T>,
    /// In the order in which they ended.
    ended: VecDeque<(Instant, T)>,
    /// The last end of all, kept for rates below one call a window.
    last: Option<Instant>,
}

impl<T: Copy + PartialEq> Window<T> {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, open: Vec::new(), ended: VecDeque::new(), last: None }
    }

    pub(super) fn begin(&mut self, tag: T) {
        self.open.push(tag);
    }

    /// The call begun with this tag has ended; `counted` unless the issuer surely never saw it.
    pub(super) fn end(&mut self, tag: T, counted: bool, now: Instant) {
        let Some(at) = self.open.iter().position(|open| *open == tag) else { return };
        self.open.swap_remove(at);
        if counted {
            self.ended.push_back((now, tag));
            self.last = Some(now);
        }
    }

    /// Calls under way.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Calls under way with this tag.
    pub(super) fn open_of(&self, tag: T) -> usize {
        self.open.iter().filter(|open| **open == tag).count()
    }

    /// Calls in the window that ends now.
    pub(super) fn used(&mut self, now: Instant) -> usize {
        while self.ended.front().is_some_and(|(end, _)| *end + self.length <= now) {
            self.ended.pop_front();
        }
        self.open.len() + self.ended.len()
    }

    /// Whether one more call keeps to `rate` calls a window, which may be a fraction; `Err` is how long until it does.
    pub(super) fn has_room(&mut self, rate: f64, now: Instant) -> Result<(), Duration> {
        let used = self.used(now);
        if rate >= 1.0 {
            // Whole calls: a part of one is not to be had within the window.
            return self.leaves_room(used, rate as usize, self.ended.iter().map(|(end, _)| *end), now);
        }
        // Less than one call a window: the window stretches until one fits.
        let stretched = if rate > 0.0 { self.length.div_f64(rate.max(SLOWEST)) } else { self.length };
        let left = self.last.map_or(Duration::ZERO, |end| (end + stretched).saturating_duration_since(now));
        match (used, left) {
            (0, Duration::ZERO) if rate > 0.0 => Ok(()),
            (_, Duration::ZERO) => Err(self.length),
            (_, left) => Err(left),
        }
    }

    /// The same of the calls with this tag alone, of which a window may hold `most`.
    pub(super) fn has_room_for(&mut self, tag: T, most: usize, now: Instant) -> Result<(), Duration> {
        self.used(now);
        let ends = || self.ended.iter().filter(|(_, held)| *held == tag).map(|(end, _)| *end);
        self.leaves_room(self.open_of(tag) + ends().count(), most, ends(), now)
    }

    fn leaves_room(
        &self,
        used: usize,
        most: usize,
        mut ends: impl Iterator<Item = Instant>,
        now: Instant,
    ) -> Result<(), Duration> {
        // So many must leave the window; those under way have not even ended.
        let Some(excess) = used.checked_sub(most) else { return Ok(()) };
        Err(ends.nth(excess).map_or(self.length, |end| (end + self.length).saturating_duration_since(now)))
    }
}

/// No share is so small that its holder gets nothing for hours.
const SLOWEST: f64 = 1.0 / 64.0;

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }
    }

    fn window() -> (Window<u8>, Clock) {
        (Window::new(MINUTE), Clock(Instant::now()))
    }

    fn call(window: &mut Window<u8>, tag: u8, begin: Instant, end: Instant) {
        assert!(begin <= end);
        window.begin(tag);
        window.end(tag, true, end);
    }

    #[test]
    fn no_minute_holds_more_than_the_rate_wherever_it_begins() {
        let (mut window, clock) = window();
        let mut made = Vec::new();
        // Somebody asks four times a second for ten minutes; each call takes a second.
        for quarter in 0..2_400_u64 {
            let now = clock.0 + Duration::from_millis(250 * quarter);
            if window.has_room(10.9, now).is_ok() {
                call(&mut window, 0, now, now + Duration::from_secs(1));
                made.push(now);
            }
        }
        for begin in &made {
            let within = made.iter().filter(|at| *at >= begin && **at < *begin + MINUTE).count();
            assert!(within <= 10, "{within}");
        }
        assert!(made.len() >= 90, "and the rate is used: {}", made.len());
    }

    #[test]
    fn a_call_counts_while_it_is_under_way_and_a_minute_after() {
        let (mut window, clock) = window();
        window.begin(0);
        assert_eq!(window.used(clock.at(300)), 1);
        assert_eq!(window.has_room(1.0, clock.at(300)), Err(MINUTE), "nobody knows when it will end");
        window.end(0, true, clock.at(301));
        assert_eq!(window.has_room(1.0, clock.at(311)), Err(Duration::from_secs(50)));
        assert_eq!(window.has_room(1.0, clock.at(361)), Ok(()));
        assert_eq!(window.used(clock.at(361)), 0);
    }

    #[test]
    fn a_call_that_never_arrived_is_not_counted() {
        let (mut window, clock) = window();
        window.begin(0);
        window.end(0, false, clock.at(1));
        assert_eq!(window.has_room(1.0, clock.at(1)), Ok(()));
        assert_eq!(window.has_room(0.5, clock.at(1)), Ok(()));
    }

    #[test]
    fn a_rate_below_one_call_stretches_the_window() {
        let (mut window, clock) = window();
        assert_eq!(window.has_room(0.25, clock.at(0)), Ok(()));
        window.begin(0);
        assert!(window.has_room(0.25, clock.at(0)).is_err());
        window.end(0, true, clock.at(1));
        assert_eq!(window.has_room(0.25, clock.at(61)), Err(Duration::from_secs(180)));
        assert_eq!(window.has_room(0.25, clock.at(241)), Ok(()));
    }

    #[test]
    fn the_smallest_rate_waits_an_hour_and_none_has_no_room_at_all() {
        let (mut window, clock) = window();
        assert!(window.has_room(0.0, clock.at(0)).is_err());
        assert!(window.has_room(-3.0, clock.at(0)).is_err());
        assert!(window.has_room(f64::NAN, clock.at(0)).is_err());
        call(&mut window, 0, clock.at(0), clock.at(0));
        assert_eq!(window.has_room(1e-9, clock.at(0)), Err(64 * MINUTE));
        assert!(window.has_room(0.0, clock.at(7_200)).is_err());
    }

    #[test]
    fn a_smaller_rate_waits_until_enough_calls_have_left_the_window() {
        let (mut window, clock) = window();
        for second in 0..10 {
            call(&mut window, 0, clock.at(second), clock.at(second));
        }
        assert_eq!(window.has_room(4.0, clock.at(10)), Err(Duration::from_secs(56)), "seven must leave");
    }

    #[test]
    fn calls_with_a_tag_are_counted_apart() {
        let (mut window, clock) = window();
        call(&mut window, 1, clock.at(0), clock.at(0));
        call(&mut window, 2, clock.at(1), clock.at(1));
        window.begin(2);
        assert_eq!((window.open_of(1), window.open_of(2), window.open()), (0, 1, 1));
        assert_eq!(window.has_room_for(1, 2, clock.at(2)), Ok(()));
        assert_eq!(window.has_room_for(2, 2, clock.at(2)), Err(Duration::from_secs(59)));
        assert_eq!(window.has_room_for(2, 1, clock.at(2)), Err(MINUTE));
        assert_eq!(window.has_room_for(3, 1, clock.at(2)), Ok(()));
    }

    #[test]
    fn what_has_left_the_window_takes_no_memory() {
        let (mut window, clock) = window();
        for second in 0..100_000 {
            let now = clock.at(second);
            window.used(now);
            call(&mut window, 0, now, now);
            assert!(window.ended.len() <= 61);
        }
    }
}
