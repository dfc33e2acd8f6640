//! When an issuer that does not answer is asked again (pure). After a few failures in a row everybody is told at once what
//! is wrong, and only a call now and then tries whether that still holds. A limit is no failure.

use std::time::Duration;

use tokio::time::Instant;

use super::error::IdpError;

/// One lost packet is no outage.
const FAILURES: u32 = 3;

/// Between probes, give or take a quarter. A probe may start while the one before still hangs: a call may take 5 s to
/// fail, and the issuer's return must not wait for it.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// What may be done with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pass {
    /// All is well.
    Free,
    /// The issuer did not answer, in this way; this call sees whether it does now.
    Probe(IdpError),
}

/// The state of one kind of calls to one issuer.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    trusted: Side,
    /// What strangers send may be why the issuer fails them: their failures are told to strangers alone.
    strangers: Side,
}

/// What holds for some of the calls.
#[derive(Debug, Default)]
struct Side {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    error: IdpError,
    next_probe: Instant,
}

impl Breaker {
    /// Whether a call may be made; `Err` is what is wrong. `dice` is in 0..1.
    pub(super) fn pass(&mut self, trusted: bool, now: Instant, dice: f64) -> Result<Pass, IdpError> {
        let side = if trusted { &mut self.trusted } else { &mut self.strangers };
        let Some(open) = &mut side.open else { return Ok(Pass::Free) };
        if now < open.next_probe {
            return Err(open.error.clone());
        }
        open.next_probe = now + interval(dice);
        Ok(Pass::Probe(open.error.clone()))
    }

    /// A call that was made has ended. `dice` is in 0..1.
    pub(super) fn record(&mut self, trusted: bool, outcome: Result<(), &IdpError>, now: Instant, dice: f64) {
        let error = match outcome {
            Err(error) if error.is_outage() => error,
            // Whatever it says, it answers.
            Ok(()) | Err(_) => return *self = Self::default(),
        };
        if trusted {
            self.trusted.fail(error, now, dice);
        } else if matches!(error, IdpError::Down(_) | IdpError::Garbled(_)) {
            // It answers this stranger; another may fare better.
            return;
        }
        self.strangers.fail(error, now, dice);
    }

    /// The issuer has given something else that was asked of it: worth a try at once.
    pub(super) fn hope(&mut self, now: Instant) {
        for open in [&mut self.trusted, &mut self.strangers].into_iter().filter_map(|side| side.open.as_mut()) {
            open.next_probe = now;
        }
    }

    /// Whether it is open for all.
    pub(super) fn is_open(&self) -> bool {
        self.trusted.open.is_some()
    }
}

impl Side {
    fn fail(&mut self, error: &IdpError, now: Instant, dice: f64) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES && self.open.is_none() {
            self.open = Some(Open { error: error.clone(), next_probe: now + interval(dice) });
        }
    }
}

fn interval(dice: f64) -> Duration {
    PROBE_INTERVAL.mul_f64(0.75 + 0.5 * dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: IdpError = IdpError::Down(503);

    fn opened(error: &IdpError, now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert_eq!(breaker.pass(true, now, 0.5), Ok(Pass::Free));
            breaker.record(true, Err(error), now, 0.5);
        }
        assert!(breaker.is_open());
        breaker
    }

    #[test]
    fn a_few_failures_in_a_row_open_it_and_everybody_hears_why_at_once() {
        let now = Instant::now();
        for error in [IdpError::Unreachable, IdpError::BadTls, DOWN, IdpError::Garbled("no HTTP")] {
            let mut breaker = opened(&error, now);
            for trusted in [true, false] {
                assert_eq!(breaker.pass(trusted, now + Duration::from_millis(1_999), 0.5), Err(error.clone()));
            }
        }
    }

    #[test]
    fn failures_with_answers_between_them_do_not_open_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..50 {
            breaker.record(true, Err(&DOWN), now, 0.5);
            breaker.record(true, Err(&DOWN), now, 0.5);
            breaker.record(true, Ok(()), now, 0.5);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn neither_a_limit_nor_a_wrong_answer_opens_it_and_either_closes_it() {
        let now = Instant::now();
        let retry_after = Duration::from_secs(9);
        let answers =
            [IdpError::RateLimited { retry_after }, IdpError::BadResponse("no JSON"), IdpError::ClientRefused];
        for answer in answers {
            let mut breaker = Breaker::default();
            (0..100).for_each(|_| breaker.record(true, Err(&answer), now, 0.5));
            assert!(!breaker.is_open(), "{answer}");
            let mut breaker = opened(&DOWN, now);
            breaker.record(true, Err(&answer), now, 0.5);
            assert!(!breaker.is_open(), "{answer}");
        }
    }

    #[test]
    fn one_probe_every_two_seconds_or_so_even_while_another_hangs() {
        let start = Instant::now();
        let mut breaker = opened(&IdpError::Unreachable, start);
        let mut probes = Vec::new();
        for millis in 0..60_000_u64 {
            let now = start + Duration::from_millis(millis);
            if breaker.pass(true, now, (millis % 7) as f64 / 7.0).is_ok() {
                probes.push(millis);
            }
        }
        // None of them has ended.
        assert!(probes.windows(2).all(|pair| (1_500..=2_500).contains(&(pair[1] - pair[0]))), "{probes:?}");
        assert!(probes[0] >= 1_500 && probes.len() >= 24, "{probes:?}");
    }

    #[test]
    fn the_first_answer_closes_it_and_a_failed_probe_keeps_it_open() {
        let start = Instant::now();
        let mut breaker = opened(&IdpError::Unreachable, start);
        let later = start + Duration::from_secs(600);
        assert_eq!(breaker.pass(true, later, 0.5), Ok(Pass::Probe(IdpError::Unreachable)));
        breaker.record(true, Err(&DOWN), later, 0.5);
        assert_eq!(breaker.pass(true, later, 0.5), Err(IdpError::Unreachable), "what opened it");
        breaker.record(true, Ok(()), later, 0.5);
        assert_eq!(breaker.pass(true, later, 0.5), Ok(Pass::Free));
        breaker.record(true, Err(&DOWN), later, 0.5);
        assert!(!breaker.is_open(), "counted anew");
    }

    #[test]
    fn strangers_neither_open_it_with_tokens_that_make_the_issuer_stumble_nor_take_the_probes_of_others() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        (0..100).for_each(|_| breaker.record(false, Err(&DOWN), start, 0.5));
        assert!(!breaker.is_open());
        let mut breaker = opened(&DOWN, start);
        let later = start + Duration::from_secs(3);
        assert_eq!(breaker.pass(false, later, 0.5), Ok(Pass::Probe(DOWN)));
        assert!(breaker.pass(false, later, 0.5).is_err());
        assert_eq!(breaker.pass(true, later, 0.5), Ok(Pass::Probe(DOWN)));
    }

    #[test]
    fn requests_of_strangers_that_hang_the_issuer_stop_strangers_alone() {
        let start = Instant::now();
        for error in [IdpError::Unreachable, IdpError::BadTls] {
            let mut breaker = Breaker::default();
            (0..100).for_each(|_| breaker.record(false, Err(&error), start, 0.5));
            assert_eq!(breaker.pass(false, start, 0.5), Err(error.clone()));
            assert_eq!((breaker.is_open(), breaker.pass(true, start, 0.5)), (false, Ok(Pass::Free)));
            breaker.record(true, Ok(()), start, 0.5);
            assert_eq!(breaker.pass(false, start, 0.5), Ok(Pass::Free), "it answers");
        }
    }

    #[test]
    fn a_sign_of_life_is_worth_a_probe_at_once() {
        let start = Instant::now();
        let mut breaker = opened(&IdpError::Unreachable, start);
        assert!(breaker.pass(true, start, 0.5).is_err());
        breaker.hope(start);
        assert_eq!(breaker.pass(true, start, 0.5), Ok(Pass::Probe(IdpError::Unreachable)));
        assert!(breaker.pass(true, start, 0.5).is_err(), "one");
        let mut closed = Breaker::default();
        closed.hope(start);
        assert_eq!(closed.pass(true, start, 0.5), Ok(Pass::Free));
    }
}
