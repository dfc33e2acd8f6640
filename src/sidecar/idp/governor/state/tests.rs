//! The rules of one bucket, and a simulation of many sidecars on one limit.

use std::net::IpAddr;

use super::*;
use crate::idp::digest::TokenDigest;
use crate::idp::governor::headers::WindowRate;
use crate::idp::lanes::Standing;

const MINUTE: Duration = Duration::from_secs(60);
const OWN: Call = Call { lane: Lane::Known, payer: Payer::Own };
const SOUND: Call = Call { lane: Lane::Trusted, payer: Payer::Own };
const PROBE: Call = Call { lane: Lane::Probe, payer: Payer::Own };

fn peer(number: u32) -> Peer {
    IpAddr::from(number.to_be_bytes()).into()
}

fn stranger(number: u32) -> Call {
    Call { lane: Lane::Stranger(peer(number)), payer: Payer::Own }
}

fn caller(id: &str) -> Call {
    Call { lane: Lane::Trusted, payer: Payer::Caller(TokenDigest::of(id.as_bytes())) }
}

fn told(limit: u32, remaining: u32) -> Option<Rate> {
    Some(Rate::Window(WindowRate { limit, remaining: Some(remaining), reset: 1, left: Duration::from_secs(30) }))
}

fn good(rate: Option<Rate>) -> Answer {
    Answer { rate, limited_for: None, failed: false }
}

fn limited(rate: Option<Rate>) -> Answer {
    Answer { rate, limited_for: Some(Duration::from_secs(30)), failed: false }
}

/// A bucket that knows the issuer's limit, for one sidecar.
fn knowing(limit: u32, now: Instant) -> State {
    let mut state = State::new(MINUTE, true);
    state.divide(Some(1));
    state.answered(Payer::Own, &good(told(limit, limit)), now, 0.0);
    state
}

/// Calls one after the other until one is not made; returns how many were.
fn calls(state: &mut State, call: Call, now: Instant) -> (usize, Result<Turn, Refused>) {
    let mut made = 0;
    loop {
        match state.ask(call, false, now) {
            Ok(Turn::Now) => {}
            other => return (made, other),
        }
        state.end(call, true, now);
        made += 1;
        assert!(made < 100_000, "there is no bound");
    }
}

/// Begins calls until one is not begun; returns how many were.
fn begin(state: &mut State, call: Call, now: Instant) -> (usize, Result<Turn, Refused>) {
    let mut begun = 0;
    loop {
        match state.ask(call, false, now) {
            Ok(Turn::Now) => begun += 1,
            other => return (begun, other),
        }
        assert!(begun < 1_000, "there is no bound");
    }
}

#[test]
fn one_call_at_a_time_until_the_first_answer() {
    let (mut state, now) = (State::new(MINUTE, true), Instant::now());
    assert_eq!(begin(&mut state, OWN, now), (1, Ok(Turn::Wait)));
    assert_eq!(begin(&mut state, stranger(1), now), (1, Ok(Turn::Wait)));
    let down = Answer { rate: None, limited_for: None, failed: true };
    state.answered(Payer::Own, &down, now, 0.0);
    assert_eq!(state.ask(OWN, false, now), Ok(Turn::Wait), "what is down says nothing of a limit");
    state.answered(Payer::Own, &good(told(600, 599)), now, 0.0);
    assert_eq!(state.ask(OWN, false, now), Ok(Turn::Now));
}

#[test]
fn without_a_named_limit_only_calls_in_flight_are_bounded() {
    let (mut state, now) = (State::new(MINUTE, true), Instant::now());
    state.answered(Payer::Own, &good(None), now, 0.0);
    for _ in 0..5_000 {
        assert_eq!(state.ask(OWN, false, now), Ok(Turn::Now));
        state.end(OWN, true, now);
    }
    let strangers = STRANGERS_IN_FLIGHT;
    assert_eq!(begin(&mut state, OWN, now), (MOST_IN_FLIGHT - strangers, Ok(Turn::Wait)));
    assert_eq!(begin(&mut state, stranger(1), now).0 + begin(&mut state, stranger(2), now).0, strangers);
    assert_eq!(state.ask(stranger(3), false, now), Ok(Turn::Wait));
}

#[test]
fn trusted_calls_may_use_the_whole_share_and_no_more() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    let at = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(calls(&mut state, OWN, at(0)), (75, Err(Refused::OverShare(MINUTE / 4))), "half at once");
    assert_eq!(calls(&mut state, OWN, at(15)), (75, Err(Refused::OverShare(MINUTE * 3 / 4))), "and half later");
    assert_eq!(calls(&mut state, OWN, at(59)).0, 0);
    assert_eq!(calls(&mut state, OWN, at(60)).0, 75);
}

#[test]
fn whatever_others_ask_an_eighth_of_the_share_is_kept_for_known_tokens() {
    for others in [SOUND, stranger(1), caller("0oa1")] {
        let now = Instant::now();
        let mut state = knowing(600, now);
        // All others together use what they may, at once and later.
        let others = |state: &mut State, now| {
            let all = [others, SOUND].into_iter().chain((0..100).map(stranger));
            all.map(|call| calls(state, call, now).0).sum::<usize>()
        };
        let later = now + MINUTE / 4;
        let at_once = others(&mut state, now);
        let known_at_once = calls(&mut state, OWN, now).0;
        let in_all = at_once + others(&mut state, later);
        let known = known_at_once + calls(&mut state, OWN, later).0;
        assert!(in_all <= 131 && known >= 18, "{in_all} of others, {known} of known tokens");
        assert!(known_at_once >= 9, "half of it at once: {known_at_once}");
    }
}

#[test]
fn one_callers_client_gets_an_eighth_of_the_share_and_no_other_pays_for_it() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    assert_eq!(calls(&mut state, caller("0oaGreedy"), now), (18, Err(Refused::OverShare(MINUTE))));
    assert_eq!(calls(&mut state, caller("0oaOther"), now).0, 18);
    assert_eq!(calls(&mut state, caller("0oaGreedy"), now + MINUTE).0, 18);
    let mut small = knowing(8, now);
    assert_eq!(calls(&mut small, caller("0oaGreedy"), now).0, 1, "one is always a client's");
}

#[test]
fn strangers_get_a_quarter_of_the_share_and_one_address_half_of_that() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    assert_eq!(calls(&mut state, stranger(1), now), (18, Err(Refused::OverShare(MINUTE))));
    assert_eq!(calls(&mut state, stranger(2), now), (18, Err(Refused::OverShare(MINUTE))));
    assert_eq!(calls(&mut state, stranger(3), now).0, 1);
    assert_eq!(calls(&mut state, stranger(4), now).0, 0);
    let trusted = calls(&mut state, OWN, now).0 + calls(&mut state, OWN, now + MINUTE / 4).0;
    assert_eq!(trusted, 150 - 37, "all the rest is for trusted calls");
}

#[test]
fn strangers_get_the_less_the_more_the_trusted_use() {
    for (trusted, strangers) in [(0, 37), (75, 37), (100, 25), (140, 0), (149, 0), (150, 0)] {
        let now = Instant::now();
        let mut state = knowing(600, now);
        let now = (0..trusted).fold(now, |now, _| {
            assert_eq!(state.ask(OWN, false, now), Ok(Turn::Now));
            state.end(OWN, true, now);
            now + Duration::from_millis(201)
        });
        let made: usize = (0..100).map(|number| calls(&mut state, stranger(number), now).0).sum();
        // A part of a call is one in a longer window.
        assert!((strangers..=strangers + 1).contains(&made), "{trusted} trusted: {made}, not {strangers}");
    }
}

#[test]
fn a_flood_of_strangers_leaves_the_slots_and_the_share_of_the_trusted_alone() {
    let start = Instant::now();
    let mut state = knowing(600, start);
    let (mut now, mut strangers) = (start, 0);
    // Ten minutes, a hundred strangers a second from as many addresses, one trusted call a second that takes two.
    for second in 0..600 {
        now = start + Duration::from_secs(second);
        for number in 0..100 {
            if state.ask(stranger(number), false, now) == Ok(Turn::Now) {
                strangers += 1;
                if strangers % 2 == 0 {
                    state.end(stranger(number), true, now);
                }
            }
        }
        assert_eq!(state.ask(OWN, false, now), Ok(Turn::Now), "at {second} s");
        if second > 1 {
            state.end(OWN, true, now);
        }
    }
    assert!(state.strangers.used(now) <= 38 && state.waiting_strangers.is_empty());
}

#[test]
fn a_share_too_small_for_a_call_a_minute_still_lets_one_through_now_and_then() {
    let now = Instant::now();
    let mut state = knowing(300, now);
    state.divide(Some(150));
    assert_eq!(calls(&mut state, OWN, now), (1, Err(Refused::OverShare(2 * MINUTE))));
    assert_eq!(calls(&mut state, OWN, now + 2 * MINUTE).0, 1);
    assert_eq!(calls(&mut state, stranger(1), now + 5 * MINUTE).0, 1);
}

#[test]
fn probes_leave_half_of_the_share_and_are_not_held_up_by_calls_that_hang() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    assert_eq!(begin(&mut state, OWN, now), (MOST_IN_FLIGHT - STRANGERS_IN_FLIGHT, Ok(Turn::Wait)));
    assert_eq!(begin(&mut state, PROBE, now).0, 75 - 12);
    assert_eq!(State::new(MINUTE, true).ask(PROBE, false, now), Ok(Turn::Now));
}

#[test]
fn nothing_is_taken_of_the_last_tenth_that_others_left() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    state.answered(Payer::Own, &good(told(600, 60)), now, 0.0);
    for call in [OWN, PROBE, stranger(1), caller("0oa1")] {
        assert_eq!(state.ask(call, false, now), Err(Refused::OverShare(Duration::from_secs(30))));
    }
    assert_eq!(state.ask(OWN, false, now + Duration::from_secs(30)), Ok(Turn::Now));
}

#[test]
fn after_a_429_calls_resume_at_the_reset_and_not_all_at_once() {
    for (dice, pause) in [(0.0, 29), (0.5, 37), (1.0, 44)] {
        let now = Instant::now();
        let mut state = knowing(600, now);
        state.answered(Payer::Own, &limited(told(600, 0)), now, dice);
        for call in [OWN, stranger(1), caller("0oa1"), PROBE] {
            let turn = state.ask(call, false, now + Duration::from_secs(pause));
            assert!(matches!(turn, Err(Refused::Limited(_))), "{dice}: {turn:?}");
        }
        assert_eq!(state.ask(OWN, false, now + Duration::from_secs(pause + 1)), Ok(Turn::Now), "{dice}");
    }
}

#[test]
fn one_callers_own_429_stops_that_caller_alone() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    // The ceiling of one client, told with its own numbers, or without any.
    for rate in [told(300, 0), None] {
        let (one, other) = (caller("0oa1"), caller("0oa2"));
        state.answered(one.payer, &limited(rate), now, 0.0);
        assert_eq!(state.ask(one, false, now), Err(Refused::Limited(Duration::from_secs(30))));
        for call in [other, OWN, stranger(1)] {
            assert_eq!(state.ask(call, false, now), Ok(Turn::Now));
            state.end(call, false, now);
        }
        assert_eq!(state.ask(one, false, now + Duration::from_secs(30)), Ok(Turn::Now));
        state.end(one, false, now);
    }
}

#[test]
fn a_strangers_429_stops_nobody_but_who_claims_the_same_client_from_there() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    let claiming = |id, from| {
        let standing = Standing::Stranger(IpAddr::from(u32::to_be_bytes(from)));
        Call { lane: Lane::Stranger(peer(from)), payer: Payer::claiming(id, standing) }
    };
    let stopped = claiming("0oaVictim", 1);
    state.answered(stopped.payer, &limited(told(300, 0)), now, 0.0);
    assert!(matches!(state.ask(stopped, false, now), Err(Refused::Limited(_))));
    // Behind one ingress, all strangers are one peer.
    for call in [claiming("0oaOther", 1), claiming("0oaVictim", 2), caller("0oaVictim"), OWN] {
        assert_eq!(state.ask(call, false, now), Ok(Turn::Now));
        state.end(call, false, now);
    }
}

#[test]
fn what_another_client_hears_neither_lowers_the_buckets_limit_nor_stops_the_rest() {
    let others = Payer::claiming("0oa1", Standing::Stranger(IpAddr::from([192, 0, 2, 1])));
    for payer in [others, caller("0oa1").payer] {
        let now = Instant::now();
        // Before anything is known; and when nobody has seen the bucket's own limit for long.
        let mut new = State::new(MINUTE, true);
        new.answered(payer, &limited(told(5, 0)), now, 0.0);
        assert_eq!((new.read(now).limit, new.ask(OWN, false, now)), (None, Ok(Turn::Now)));
        let (mut state, now) = (knowing(600, now), now + 3 * MINUTE);
        for answer in [good(told(5, 4)), good(told(5, 0)), limited(told(5, 0)), limited(told(600, 0))] {
            state.answered(payer, &answer, now, 0.0);
            assert_eq!(state.read(now).limit, Some((600, Some(600))));
            assert_eq!(state.ask(OWN, false, now), Ok(Turn::Now));
            state.end(OWN, false, now);
        }
        state.answered(payer, &good(told(1_200, 1_100)), now, 0.0);
        assert_eq!(state.read(now).limit.unwrap().0, 1_200, "a wider one is the bucket's");
        state.answered(Payer::Own, &good(told(300, 299)), now + 3 * MINUTE, 0.0);
        assert_eq!(state.read(now).limit.unwrap().0, 300, "our own client tells when it was lowered");
    }
}

#[test]
fn too_many_at_once_halves_the_calls_in_flight_and_pauses_for_a_moment() {
    let now = Instant::now();
    let mut state = knowing(600, now);
    assert_eq!(begin(&mut state, OWN, now).0, 12);
    // All twelve are refused together: that is one sign, not twelve.
    for _ in 0..12 {
        state.answered(Payer::Own, &limited(Some(Rate::Concurrency)), now, 0.5);
        state.end(OWN, true, now);
    }
    assert_eq!(state.share.as_ref().unwrap().limit().unwrap().0, 600, "the limit is not learned as zero");
    assert_eq!(state.ask(OWN, false, now), Err(Refused::Limited(Duration::from_millis(1_500))));
    let later = now + Duration::from_secs(2);
    assert_eq!(begin(&mut state, OWN, later).0, 6);
    for _ in 0..200 {
        state.answered(Payer::Own, &good(told(600, 500)), later, 0.0);
    }
    assert_eq!(state.ceiling, MOST_IN_FLIGHT, "and grows again");
}

#[test]
fn the_last_slots_are_never_lost() {
    let mut now = Instant::now();
    let mut state = knowing(600, now);
    for _ in 0..20 {
        state.answered(Payer::Own, &limited(Some(Rate::Concurrency)), now, 1.0);
        now += MINUTE;
    }
    assert_eq!(state.free_slots(), (1, 1));
}

#[test]
fn where_nothing_is_counted_a_429_is_still_heeded() {
    let (mut state, now) = (State::new(MINUTE, false), Instant::now());
    for _ in 0..5_000 {
        assert_eq!(state.ask(OWN, false, now), Ok(Turn::Now));
    }
    state.answered(Payer::Own, &limited(None), now, 0.0);
    assert_eq!(state.ask(OWN, false, now), Err(Refused::Limited(Duration::from_secs(30))));
    assert_eq!(state.ask(OWN, false, now + MINUTE), Ok(Turn::Now));
}

#[test]
fn queues_are_bounded_and_one_address_gets_half_of_the_strangers() {
    let (mut state, now) = (State::new(MINUTE, true), Instant::now());
    assert_eq!(state.ask(OWN, false, now), Ok(Turn::Now));
    assert_eq!(state.ask(stranger(0), false, now), Ok(Turn::Now));
    let mut wait = |call: Call| {
        let turn = state.ask(call, false, now);
        if turn == Ok(Turn::Wait) {
            state.queue(call.lane);
        }
        turn
    };
    assert_eq!((0..1_000).filter(|_| wait(stranger(1)) == Ok(Turn::Wait)).count(), 32);
    assert_eq!((2..1_000).filter(|number| wait(stranger(*number)) == Ok(Turn::Wait)).count(), 32);
    assert_eq!(wait(stranger(5_000)), Err(Refused::Crowded));
    assert_eq!((0..5_000).filter(|_| wait(OWN) == Ok(Turn::Wait)).count(), TRUSTED_QUEUE);
    assert_eq!(wait(OWN), Err(Refused::Crowded));
    assert_eq!(state.ask(OWN, true, now), Ok(Turn::Wait), "who waits already goes on waiting");
    state.leave(stranger(1).lane);
    assert_eq!(state.ask(stranger(1), false, now), Ok(Turn::Wait));
}

#[test]
fn a_million_clients_and_addresses_leave_the_tables_small() {
    let start = Instant::now();
    let mut state = knowing(600, start);
    for number in 0..1_000_000_u32 {
        let now = start + Duration::from_micros(u64::from(number));
        let client = caller(&number.to_string());
        state.answered(client.payer, &limited(told(300, 0)), now, 0.0);
        if state.ask(stranger(number), false, now) == Ok(Turn::Now) {
            state.end(stranger(number), true, now);
        }
    }
    assert!(state.paused.len() <= MOST_PAUSED);
    assert!(state.waiting_strangers.len() <= STRANGERS_QUEUE);
    let later = start + Duration::from_secs(1);
    assert!(state.all.used(later) <= 150 && state.strangers.used(later) <= 38);
}

/// An issuer that counts calls in windows of its own and refuses those over the limit.
struct Server {
    limit: u32,
    start: Instant,
    window: u64,
    counted: u32,
    most: u32,
    refused: u32,
}

impl Server {
    fn take(&mut self, now: Instant) -> Answer {
        let elapsed = now - self.start;
        let window = elapsed.as_secs() / 60;
        if window != self.window {
            (self.window, self.counted) = (window, 0);
        }
        self.counted += 1;
        self.most = self.most.max(self.counted);
        let left = Duration::from_secs(60 * (window + 1)) - elapsed;
        let remaining = self.limit.saturating_sub(self.counted);
        let rate =
            Some(Rate::Window(WindowRate { limit: self.limit, remaining: Some(remaining), reset: window, left }));
        if self.counted > self.limit {
            self.refused += 1;
            return Answer { rate, limited_for: Some(left), failed: false };
        }
        good(rate)
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn ten_sidecars_that_all_want_too_much_stay_within_a_quarter_of_the_limit() {
    let start = Instant::now();
    let mut server = Server { limit: 600, start, window: 0, counted: 0, most: 0, refused: 0 };
    let mut sidecars: Vec<State> = (0..10).map(|_| State::new(MINUTE, true)).collect();
    sidecars.iter_mut().for_each(|sidecar| sidecar.divide(Some(16)));
    let mut dice = Dice(1);
    // When each call under way arrives, and when its answer is back.
    let mut under_way: Vec<(Instant, Instant, usize, Option<Answer>)> = Vec::new();
    let mut made = 0;
    for step in 0..(20 * 60 * 20) {
        let now = start + Duration::from_millis(50 * step);
        under_way.retain_mut(|(arrives, back, sidecar, answer)| {
            if answer.is_none() && *arrives <= now {
                *answer = Some(server.take(now));
            }
            let done = answer.filter(|_| *back <= now);
            if let Some(answer) = done {
                sidecars[*sidecar].answered(Payer::Own, &answer, now, 0.5);
                sidecars[*sidecar].end(OWN, true, now);
            }
            done.is_none()
        });
        for (number, sidecar) in sidecars.iter_mut().enumerate() {
            if sidecar.ask(OWN, false, now) == Ok(Turn::Now) {
                let arrives = now + Duration::from_millis(dice.below(900));
                under_way.push((arrives, arrives + Duration::from_millis(dice.below(900)), number, None));
                made += 1;
            }
        }
    }
    assert_eq!(server.refused, 0);
    assert!(server.most <= 150, "{}", server.most);
    assert!(made >= 19 * 10 * 9, "and the share is used: {made} calls in 20 minutes");
}

#[test]
fn with_an_org_that_uses_most_of_the_limit_itself_nobody_is_refused() {
    let start = Instant::now();
    let mut server = Server { limit: 600, start, window: 0, counted: 0, most: 0, refused: 0 };
    let mut sidecar = State::new(MINUTE, true);
    sidecar.divide(Some(1));
    let (mut made, mut refused_at_first) = (0, 0);
    for step in 0..(20 * 60 * 10) {
        let now = start + Duration::from_millis(100 * step);
        if step == 600 {
            refused_at_first = server.refused;
        }
        // 9 logins a second: nine tenths of the limit.
        if step % 10 != 0 {
            server.take(now);
        }
        if sidecar.ask(OWN, false, now) == Ok(Turn::Now) {
            let answer = server.take(now);
            assert_eq!(answer.limited_for, None, "never one of ours");
            sidecar.answered(Payer::Own, &answer, now, 0.5);
            sidecar.end(OWN, true, now);
            made += 1;
        }
    }
    assert!(refused_at_first < 30, "until what others use is seen: {refused_at_first}");
    assert_eq!(server.refused, refused_at_first);
    assert!(made > 200, "and what is left is used: {made} calls in 20 minutes");
}
