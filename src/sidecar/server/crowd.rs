//! Decides who may connect when there is no room, and who has to go for it. Whoever has shown no accepted token on a
//! connection is a stranger there. A quarter of the seats is theirs: with less, a newcomer takes the seat of the admitted
//! caller that has been idle longest, else of the stranger that has. So no flood takes more than that quarter from those
//! who are admitted, and none keeps a newcomer out. Nobody is sent away while a request is under way, or a WebSocket; but
//! a stranger that lets us wait for the rest of its request is idle meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::intake::{Intake, Watch};

/// For an admitted caller to take what lies in its idle connection, and the word that it should leave. Until then the
/// connection is one more than there are seats; strangers, who may be many, get no time.
const PARTING: Duration = Duration::from_secs(2);
/// Bytes that a stranger has to send of a request's body to count as having been busy: less, now and then, is what somebody
/// sends who wants the seat. A slow phone sends as much within a second.
const ADVANCE: usize = 16 * 1024;

/// Callers' connections of all workers.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: usize,
    opened: Instant,
    room: Mutex<Room>,
}

/// One connection's seat; free when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    guest: Arc<Guest>,
}

/// Something under way that keeps a seat: a request until its answer has been sent, a WebSocket until its end.
#[derive(Debug)]
pub(super) struct UnderWay {
    seat: Arc<Seat>,
    /// Of a stranger's request, until it is answered.
    upload: Option<Arc<Upload>>,
}

/// A stranger's request whose body is yet to come.
#[derive(Debug)]
struct Upload {
    crowd: Arc<Crowd>,
    guest: Arc<Guest>,
    /// [`WAITS`] and [`OVER`].
    state: AtomicU8,
    /// Bytes that came and do not count yet.
    came: AtomicUsize,
}

/// It waits for its caller.
const WAITS: u8 = 1;
/// The app has begun to answer, or nobody waits for an answer: what is still to come makes no difference.
const OVER: u8 = 2;

#[derive(Debug, Default)]
struct Room {
    taken: usize,
    strangers: usize,
    /// Seats that were ever taken, which numbers them.
    number: u64,
    idle_strangers: Idle,
    idle_admitted: Idle,
}

/// Who may have to go, by since when each was idle when it was last looked at. Those that were busy then are not here.
type Idle = BTreeMap<(u64, u64), Arc<Guest>>;

/// What is known of a connection. Requests change it without a lock; the room's lock is for those who come, leave, or
/// are admitted.
#[derive(Debug)]
struct Guest {
    number: u64,
    /// A [`State`].
    state: AtomicU64,
    /// When something was under way last, in microseconds since the crowd opened.
    since: AtomicU64,
    /// The time by which it stands in its queue; only for those who hold the room's lock.
    queued: AtomicU64,
    is_admitted: AtomicBool,
    has_to_go: AtomicBool,
    told: Notify,
}

/// How often [`ONE`] is under way, how often [`WAITING`] for its caller, and [`MISSED`].
#[derive(Debug, Clone, Copy)]
struct State(u64);

/// It was busy when somebody looked for a seat, and queues again when it is idle.
const MISSED: u64 = 1;
const ONE: u64 = 2;
const WAITING: u64 = 1 << 32;

impl Crowd {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, opened: Instant::now(), room: Mutex::default() })
    }

    /// A seat for a new connection, and whether another had to go for it.
    pub(super) fn enter(self: &Arc<Self>) -> Option<(Arc<Seat>, bool)> {
        let mut room = lock(&self.room);
        let is_full = room.taken >= self.limit;
        if is_full {
            room.send_one_away(self.limit)?;
        }
        let guest = Arc::new(room.seat(self.now()));
        room.queue(Arc::clone(&guest));
        Some((Arc::new(Seat { crowd: Arc::clone(self), guest }), is_full))
    }

    /// Something of a guest has ended, or waits: is it idle now?
    fn look_at(&self, guest: &Arc<Guest>, state: State) {
        if state.is_busy(guest.is_admitted()) {
            return;
        }
        if state.0 & MISSED != 0 {
            let mut room = lock(&self.room);
            // Another end may have been first.
            if guest.state.fetch_and(!MISSED, Ordering::AcqRel) & MISSED != 0 {
                room.queue(Arc::clone(guest));
            }
        }
        if guest.has_to_go.load(Ordering::Acquire) {
            guest.told.notify_one();
        }
    }

    fn now(&self) -> u64 {
        // Microseconds fit for half a million years.
        self.opened.elapsed().as_micros() as u64
    }
}

impl Room {
    fn seat(&mut self, now: u64) -> Guest {
        self.taken += 1;
        self.strangers += 1;
        self.number += 1;
        Guest {
            number: self.number,
            state: AtomicU64::new(0),
            since: AtomicU64::new(now),
            queued: AtomicU64::new(now),
            is_admitted: AtomicBool::new(false),
            has_to_go: AtomicBool::new(false),
            told: Notify::new(),
        }
    }

    /// None when there is nobody who may be sent away.
    fn send_one_away(&mut self, limit: usize) -> Option<()> {
        let few_strangers = self.strangers * 4 < limit;
        let admitted = if few_strangers { self.longest_idle(true) } else { None };
        let guest = admitted.or_else(|| self.longest_idle(false))?;
        self.free(&guest);
        guest.has_to_go.store(true, Ordering::Release);
        guest.told.notify_one();
        Some(())
    }

    /// Takes the one out of its queue. Each look at a busy one or at one that was used again is paid by a request of it.
    fn longest_idle(&mut self, is_admitted: bool) -> Option<Arc<Guest>> {
        loop {
            let ((queued, _), guest) = self.idle(is_admitted).pop_first()?;
            if guest.miss() {
                continue;
            }
            if guest.since.load(Ordering::Relaxed) <= queued {
                return Some(guest);
            }
            self.queue(guest);
        }
    }

    fn queue(&mut self, guest: Arc<Guest>) {
        let since = guest.since.load(Ordering::Relaxed);
        guest.queued.store(since, Ordering::Relaxed);
        self.idle(guest.is_admitted()).insert((since, guest.number), guest);
    }

    fn leave_queue(&mut self, guest: &Guest) -> Option<Arc<Guest>> {
        let turn = (guest.queued.load(Ordering::Relaxed), guest.number);
        self.idle(guest.is_admitted()).remove(&turn)
    }

    fn free(&mut self, guest: &Guest) {
        self.taken -= 1;
        self.strangers -= usize::from(!guest.is_admitted());
    }

    fn idle(&mut self, is_admitted: bool) -> &mut Idle {
        if is_admitted { &mut self.idle_admitted } else { &mut self.idle_strangers }
    }
}

impl State {
    fn under_way(self) -> u64 {
        self.0 % WAITING / ONE
    }

    /// Something waits for us or the app; what admitted callers send is theirs to time.
    fn is_busy(self, is_admitted: bool) -> bool {
        self.under_way() > if is_admitted { 0 } else { self.0 / WAITING }
    }
}

impl Guest {
    fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    fn is_admitted(&self) -> bool {
        self.is_admitted.load(Ordering::Relaxed)
    }

    fn is_busy(&self) -> bool {
        self.state().is_busy(self.is_admitted())
    }

    /// Whether it is busy; if so it queues again by itself.
    fn miss(&self) -> bool {
        let noted = |state| State(state).is_busy(self.is_admitted()).then_some(state | MISSED);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, noted).is_ok()
    }
}

impl Seat {
    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.guest.state.fetch_add(ONE, Ordering::AcqRel);
        UnderWay { seat: Arc::clone(self), upload: None }
    }

    /// Waits until the seat is another's: the connection should take no more requests.
    pub(super) async fn given_away(&self) {
        while !self.guest.has_to_go.load(Ordering::Acquire) {
            self.guest.told.notified().await;
        }
    }

    /// Waits until the seat is another's and the connection must end, whatever its caller does. Where a request was just
    /// coming it ends with that, and here only if that lets us wait.
    pub(super) async fn over(&self) {
        self.given_away().await;
        if !self.guest.is_busy() && self.guest.is_admitted() {
            sleep(PARTING).await;
        }
        // It may have sent one before it heard that it should leave.
        let mut crossed = false;
        loop {
            let is_busy = self.guest.is_busy();
            crossed |= is_busy;
            if !is_busy && (!crossed || self.guest.state().under_way() > 0) {
                return;
            }
            self.guest.told.notified().await;
        }
    }

    fn admit(&self) {
        if self.guest.is_admitted() {
            return;
        }
        let mut room = lock(&self.crowd.room);
        let left = room.leave_queue(&self.guest);
        let was_admitted = self.guest.is_admitted.swap(true, Ordering::Relaxed);
        if !was_admitted && !self.guest.has_to_go.load(Ordering::Relaxed) {
            room.strangers -= 1;
        }
        if let Some(guest) = left {
            room.queue(guest);
        }
    }
}

impl UnderWay {
    /// The body of this request, whose caller may be a stranger.
    pub(super) fn take_in(&mut self, body: Incoming) -> Intake {
        if !self.seat.guest.is_admitted() && !body.is_end_stream() {
            self.upload = Some(Arc::new(Upload::of(&self.seat)));
        }
        Intake::new(body, self.upload.clone().map(|upload| upload as _))
    }

    /// A token of the caller was accepted, or it was given one.
    pub(super) fn admit(&self) {
        self.seat.admit();
    }

    /// The answer has begun.
    pub(super) fn is_answered(&self) {
        self.upload.iter().for_each(|upload| upload.is_over());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.is_answered();
        let Seat { crowd, guest } = &*self.seat;
        guest.since.store(crowd.now(), Ordering::Relaxed);
        let before = guest.state.fetch_sub(ONE, Ordering::AcqRel);
        crowd.look_at(guest, State(before - ONE));
    }
}

impl Upload {
    fn of(seat: &Seat) -> Self {
        let (crowd, guest) = (Arc::clone(&seat.crowd), Arc::clone(&seat.guest));
        // That it has come at all counts.
        Self { crowd, guest, state: AtomicU8::new(0), came: AtomicUsize::new(ADVANCE) }
    }

    fn is_over(&self) {
        if self.state.fetch_or(OVER, Ordering::AcqRel) == WAITS {
            self.guest.state.fetch_sub(WAITING, Ordering::AcqRel);
        }
    }
}

impl Watch for Upload {
    fn waits(&self, came: usize) {
        if self.came.fetch_add(came, Ordering::Relaxed) + came >= ADVANCE {
            self.came.store(0, Ordering::Relaxed);
            self.guest.since.store(self.crowd.now(), Ordering::Relaxed);
        }
        if self.state.fetch_or(WAITS, Ordering::AcqRel) == 0 {
            let before = self.guest.state.fetch_add(WAITING, Ordering::AcqRel);
            self.crowd.look_at(&self.guest, State(before + WAITING));
        }
    }

    fn goes_on(&self) {
        if self.state.fetch_and(!WAITS, Ordering::AcqRel) == WAITS {
            self.guest.state.fetch_sub(WAITING, Ordering::AcqRel);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut room = lock(&self.crowd.room);
        room.leave_queue(&self.guest);
        if !self.guest.has_to_go.load(Ordering::Relaxed) {
            room.free(&self.guest);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
