//! Who may call an issuer now, who waits and who is refused (pure): the share by lane, calls in flight, and pauses after
//! a 429. One bucket of the issuer's; the clock and the dice are the caller's.

use std::time::Duration;

use quick_cache::unsync::Cache;
use tokio::time::Instant;

use super::headers::{MOMENT, Rate};
use super::share::Share;
use super::window::Window;
use crate::idp::digest::TokenDigest;
use crate::idp::lanes::{Lane, Payer, Peer};

/// The part of our share that strangers may use, and the part of what trusted calls leave over: where those use nearly
/// all of the share, a flood leaves them room to grow.
const STRANGERS_PART: f64 = 0.25;
const STRANGERS_PART_OF_REST: f64 = 0.5;

/// One address may use half of what strangers may, so that another always finds the other half.
const PEERS_OF_STRANGERS: usize = 2;

/// Questions about known tokens find this part of the share whatever all others ask, and of those no caller's client may
/// use more than the same part: one of many, with good credentials, must not end what works for the rest.
const KEPT_FOR_KNOWN: f64 = 0.125;
const CALLERS_PART: f64 = 0.125;

/// Trusted calls use at most half of the share in a quarter of a window: calls at different times show what others use.
const BURST_PART: f64 = 0.5;
const BURST_OF_WINDOW: u32 = 4;

/// Probes of an issuer that does not answer leave the other half of the share for when it does.
const PROBES_PART: f64 = 0.5;

/// Calls in flight: Okta takes 75 at once from a whole org, 35 on the free plan. Strangers have a quarter of their own.
const MOST_IN_FLIGHT: usize = 16;
const FEWEST_IN_FLIGHT: usize = 2;
const STRANGERS_IN_FLIGHT: usize = 4;

/// Calls that may queue for a turn. Trusted ones are requests of callers, whose number is bounded anyhow.
const TRUSTED_QUEUE: usize = 1024;
const STRANGERS_QUEUE: usize = 64;

/// Callers that are paused at a time; beyond that, one goes on early.
const MOST_PAUSED: usize = 1024;

/// After a 429 calls resume within a quarter of a window, so that sidecars which stopped together do not start together.
const JITTER_OF_WINDOW: u32 = 4;

/// A call that somebody wants to make.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) lane: Lane,
    pub(crate) payer: Payer,
}

/// What an answer says of the limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) rate: Option<Rate>,
    /// Of a 429: how long it lasts.
    pub(super) limited_for: Option<Duration>,
    /// Not of the issuer itself, but of something before it that is down.
    pub(super) failed: bool,
}

/// What becomes of a call that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is begun.
    Now,
    /// Others must end first.
    Wait,
}

/// Why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The issuer said 429, for so much longer.
    Limited(Duration),
    /// The share is used up, for so much longer.
    OverShare(Duration),
    /// Too many wait.
    Crowded,
}

/// A bucket's numbers, for gauges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// The issuer's limit and what it last said was left; absent where it names none.
    pub(crate) limit: Option<(u32, Option<u32>)>,
    /// Calls a window that are ours.
    pub(crate) share: Option<f64>,
    pub(crate) in_flight: usize,
    pub(crate) waiting_trusted: usize,
    pub(crate) waiting_strangers: usize,
}

/// One bucket.
pub(super) struct State {
    window: Duration,
    /// Absent where only a 429 is heeded: such calls are few and not counted by the issuer.
    share: Option<Share>,
    all: Window<()>,
    strangers: Window<Peer>,
    /// Calls that callers' clients pay for.
    callers: Window<TokenDigest>,
    /// Trusted calls of a quarter of a window.
    burst: Window<()>,
    ceiling: usize,
    /// Answers since the ceiling changed.
    smooth: usize,
    paused_until: Option<Instant>,
    own_paused_until: Option<Instant>,
    paused: Cache<Payer, Instant>,
    waiting_trusted: usize,
    waiting_strangers: Vec<Peer>,
}

impl State {
    pub(super) fn new(window: Duration, metered: bool) -> Self {
        Self {
            window,
            share: metered.then(|| Share::new(window)),
            all: Window::new(window),
            strangers: Window::new(window),
            callers: Window::new(window),
            burst: Window::new(window / BURST_OF_WINDOW),
            ceiling: MOST_IN_FLIGHT,
            smooth: 0,
            paused_until: None,
            own_paused_until: None,
            paused: Cache::new(MOST_PAUSED),
            waiting_trusted: 0,
            waiting_strangers: Vec::new(),
        }
    }

    /// Sets how many sidecars share the limit; `None` when nobody says.
    pub(super) fn divide(&mut self, sharers: Option<u32>) {
        if let Some(share) = &mut self.share {
            share.divide(sharers);
        }
    }

    /// Asks for a turn. `queued` when this call waits already.
    pub(super) fn ask(&mut self, call: Call, queued: bool, now: Instant) -> Result<Turn, Refused> {
        let of_payer = match call.payer {
            Payer::Own => self.own_paused_until,
            payer => self.paused.get(&payer).copied(),
        };
        let pauses = [self.paused_until, of_payer];
        if let Some(until) = pauses.into_iter().flatten().filter(|until| *until > now).max() {
            return Err(Refused::Limited(until - now));
        }
        if self.share.is_some() {
            self.keeps_to_share(call, now).map_err(Refused::OverShare)?;
            if !self.has_slot(call.lane) {
                return if queued || self.may_queue(call.lane) { Ok(Turn::Wait) } else { Err(Refused::Crowded) };
            }
        }
        self.all.begin(());
        if let Payer::Caller(client) = call.payer {
            self.callers.begin(client);
        }
        match call.lane {
            Lane::Stranger(peer) => self.strangers.begin(peer),
            Lane::Known | Lane::Trusted | Lane::Probe => self.burst.begin(()),
        }
        Ok(Turn::Now)
    }

    /// The call waits from now on.
    pub(super) fn queue(&mut self, lane: Lane) {
        match lane {
            Lane::Stranger(peer) => self.waiting_strangers.push(peer),
            Lane::Known | Lane::Trusted | Lane::Probe => self.waiting_trusted += 1,
        }
    }

    /// The call waits no more.
    pub(super) fn leave(&mut self, lane: Lane) {
        match lane {
            Lane::Stranger(peer) => {
                if let Some(at) = self.waiting_strangers.iter().position(|waiting| *waiting == peer) {
                    self.waiting_strangers.swap_remove(at);
                }
            }
            Lane::Known | Lane::Trusted | Lane::Probe => self.waiting_trusted = self.waiting_trusted.saturating_sub(1),
        }
    }

    /// The head of an answer is there. `dice` is in 0..1.
    pub(super) fn answered(&mut self, payer: Payer, answer: &Answer, now: Instant, dice: f64) {
        let mut of_all = false;
        match (answer.rate, &mut self.share) {
            (Some(Rate::Concurrency), _) if answer.limited_for.is_some() => return self.too_many_at_once(now, dice),
            (Some(Rate::Window(rate)), Some(share)) => {
                let ours = self.all.used(now);
                match payer {
                    Payer::Own => of_all = share.learn(&rate, ours, now) && rate.remaining == Some(0),
                    // Another client may have a limit of its own.
                    _ if answer.limited_for.is_some() || share.is_wider_than(&rate) => {}
                    _ => _ = share.learn(&rate, ours, now),
                }
            }
            (None, Some(share)) if !answer.failed && answer.limited_for.is_none() => share.learn_none(),
            _ => {}
        }
        match answer.limited_for {
            Some(limited_for) => {
                let until = now + limited_for + (self.window / JITTER_OF_WINDOW).mul_f64(dice);
                // A bucket that is not metered has no clients: a 429 there is everybody's.
                if of_all || self.share.is_none() {
                    self.paused_until = self.paused_until.max(Some(until));
                } else {
                    self.pause(payer, until);
                }
            }
            None => self.grow(),
        }
    }

    /// The call has ended; `counted` unless it surely never reached the issuer.
    pub(super) fn end(&mut self, call: Call, counted: bool, now: Instant) {
        self.all.end((), counted, now);
        if let Payer::Caller(client) = call.payer {
            self.callers.end(client, counted, now);
        }
        match call.lane {
            Lane::Stranger(peer) => self.strangers.end(peer, counted, now),
            Lane::Known | Lane::Trusted | Lane::Probe => self.burst.end((), counted, now),
        }
        // Nobody may ask for a while: what has left the windows is let go now.
        self.all.used(now);
        self.strangers.used(now);
        self.callers.used(now);
        self.burst.used(now);
    }

    /// How many of those who wait may ask again: trusted ones, strangers.
    pub(super) fn free_slots(&self) -> (usize, usize) {
        let (trusted, strangers) = self.slots();
        let trusted_open = self.all.open() - self.strangers.open();
        (trusted.saturating_sub(trusted_open), strangers.saturating_sub(self.strangers.open()))
    }

    pub(super) fn read(&self, now: Instant) -> Reading {
        Reading {
            limit: self.share.as_ref().and_then(Share::limit),
            share: self.share.as_ref().and_then(|share| share.rate(now)),
            in_flight: self.all.open(),
            waiting_trusted: self.waiting_trusted,
            waiting_strangers: self.waiting_strangers.len(),
        }
    }

    fn keeps_to_share(&mut self, call: Call, now: Instant) -> Result<(), Duration> {
        let Some(share) = &self.share else { return Ok(()) };
        if let Some(left) = share.is_exhausted(self.all.open(), now) {
            return Err(left);
        }
        let used = self.all.used(now);
        let Some(rate) = share.rate(now) else { return Ok(()) };
        if let Payer::Caller(client) = call.payer {
            // Whole calls: one may always be a client's.
            self.callers.has_room_for(client, ((rate * CALLERS_PART) as usize).max(1), now)?;
        }
        let open = rate * (1.0 - KEPT_FOR_KNOWN);
        match call.lane {
            Lane::Known => self.has_room_for_trusted(rate, now),
            Lane::Trusted => self.has_room_for_trusted(open, now),
            Lane::Probe => self.all.has_room(rate * PROBES_PART, now),
            Lane::Stranger(peer) => {
                self.all.has_room(open, now)?;
                let trusted = used - self.strangers.used(now);
                let rest = (rate - trusted as f64) * STRANGERS_PART_OF_REST;
                let part = rest.min(rate * STRANGERS_PART);
                self.strangers.has_room(part, now)?;
                // Whole calls: one may always be a peer's.
                let peers = (part as usize / PEERS_OF_STRANGERS).max(1);
                self.strangers.has_room_for(peer, peers, now)
            }
        }
    }

    fn has_room_for_trusted(&mut self, rate: f64, now: Instant) -> Result<(), Duration> {
        self.all.has_room(rate, now)?;
        self.burst.has_room((rate * BURST_PART).max(1.0), now)
    }

    /// Slots of trusted calls and of strangers'. Apart, so that neither waits for the other; one each until the first
    /// answer says what the limit is.
    fn slots(&self) -> (usize, usize) {
        if self.share.as_ref().is_some_and(Share::is_unknown) {
            return (1, 1);
        }
        let strangers = (self.ceiling * STRANGERS_IN_FLIGHT / MOST_IN_FLIGHT).max(1);
        (self.ceiling - strangers, strangers)
    }

    fn has_slot(&self, lane: Lane) -> bool {
        let (trusted, strangers) = self.free_slots();
        match lane {
            Lane::Known | Lane::Trusted => trusted > 0,
            // Calls that hang are why there are probes: they do not keep one from starting.
            Lane::Probe => true,
            Lane::Stranger(peer) => {
                strangers > 0 && self.strangers.open_of(peer) < (self.slots().1 / PEERS_OF_STRANGERS).max(1)
            }
        }
    }

    fn may_queue(&self, lane: Lane) -> bool {
        match lane {
            Lane::Known | Lane::Trusted | Lane::Probe => self.waiting_trusted < TRUSTED_QUEUE,
            Lane::Stranger(peer) => {
                let same = self.waiting_strangers.iter().filter(|waiting| **waiting == peer).count();
                self.waiting_strangers.len() < STRANGERS_QUEUE && same < STRANGERS_QUEUE / PEERS_OF_STRANGERS
            }
        }
    }

    /// Halves the calls in flight, once for all that were refused together.
    fn too_many_at_once(&mut self, now: Instant, dice: f64) {
        if self.paused_until.is_none_or(|until| until <= now) {
            self.ceiling = (self.ceiling / 2).max(FEWEST_IN_FLIGHT);
            self.smooth = 0;
        }
        let until = now + MOMENT.mul_f64(1.0 + dice);
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// One more call in flight for each round of answers without trouble.
    fn grow(&mut self) {
        self.smooth += 1;
        if self.smooth >= self.ceiling && self.ceiling < MOST_IN_FLIGHT {
            self.ceiling += 1;
            self.smooth = 0;
        }
    }

    fn pause(&mut self, payer: Payer, until: Instant) {
        match payer {
            Payer::Own => self.own_paused_until = self.own_paused_until.max(Some(until)),
            payer => self.paused.insert(payer, until),
        }
    }
}

#[cfg(test)]
mod tests;
