//! Decides who may connect when there is no room, and who has to go for it. Whoever has shown no accepted token on a
//! connection is a stranger there. A quarter of the seats is theirs: with less, a newcomer takes the seat of the admitted
//! caller that has been idle longest, else of the stranger that has. So no flood takes more than that quarter from those
//! who are admitted, and none keeps a newcomer out. Nobody is sent away while a request is under way, or a WebSocket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// For an admitted caller to take what lies in its idle connection, and the word that it should leave. Until then the
/// connection is one more than there are seats; strangers, who may be many, get no time.
const PARTING: Duration = Duration::from_secs(2);

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
pub(super) struct UnderWay(Arc<Seat>);

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
    /// Twice what is under way, and [`MISSED`].
    state: AtomicUsize,
    /// When something was under way last, in microseconds since the crowd opened.
    since: AtomicU64,
    /// The time by which it stands in its queue; only for those who hold the room's lock.
    queued: AtomicU64,
    is_admitted: AtomicBool,
    has_to_go: AtomicBool,
    told: Notify,
}

/// It was busy when somebody looked for a seat, and queues again when it is idle.
const MISSED: usize = 1;
const ONE: usize = 2;

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
            state: AtomicUsize::new(0),
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
        self.idle(guest.is_admitted.load(Ordering::Relaxed)).insert((since, guest.number), guest);
    }

    fn leave_queue(&mut self, guest: &Guest) -> Option<Arc<Guest>> {
        let turn = (guest.queued.load(Ordering::Relaxed), guest.number);
        self.idle(guest.is_admitted.load(Ordering::Relaxed)).remove(&turn)
    }

    fn free(&mut self, guest: &Guest) {
        self.taken -= 1;
        self.strangers -= usize::from(!guest.is_admitted.load(Ordering::Relaxed));
    }

    fn idle(&mut self, is_admitted: bool) -> &mut Idle {
        if is_admitted { &mut self.idle_admitted } else { &mut self.idle_strangers }
    }
}

impl Guest {
    fn is_busy(&self) -> bool {
        self.state.load(Ordering::Acquire) >= ONE
    }

    /// Whether it is busy; if so it queues again by itself.
    fn miss(&self) -> bool {
        let noted = |state| (state >= ONE).then_some(state | MISSED);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, noted).is_ok()
    }
}

impl Seat {
    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.guest.state.fetch_add(ONE, Ordering::AcqRel);
        UnderWay(Arc::clone(self))
    }

    /// Waits until the seat is another's: the connection should take no more requests.
    pub(super) async fn given_away(&self) {
        while !self.guest.has_to_go.load(Ordering::Acquire) {
            self.guest.told.notified().await;
        }
    }

    /// Waits until the seat is another's and the connection must end, whatever its caller does. That is never where a
    /// request was just coming: it ends with that.
    pub(super) async fn over(&self) {
        self.given_away().await;
        if !self.guest.is_busy() && self.guest.is_admitted.load(Ordering::Relaxed) {
            sleep(PARTING).await;
        }
        // It may have sent one before it heard that it should leave.
        if self.guest.is_busy() {
            std::future::pending().await
        }
    }

    fn admit(&self) {
        if self.guest.is_admitted.load(Ordering::Relaxed) {
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

    /// It has become idle, and is in no queue.
    fn queue_again(&self) {
        let mut room = lock(&self.crowd.room);
        // Another end may have been first.
        if self.guest.state.fetch_and(!MISSED, Ordering::AcqRel) & MISSED != 0 {
            room.queue(Arc::clone(&self.guest));
        }
    }
}

impl UnderWay {
    /// A token of the caller was accepted, or it was given one.
    pub(super) fn admit(&self) {
        self.0.admit();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let guest = &self.0.guest;
        guest.since.store(self.0.crowd.now(), Ordering::Relaxed);
        if guest.state.fetch_sub(ONE, Ordering::AcqRel) == ONE | MISSED {
            self.0.queue_again();
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
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    /// A seat that was taken a second after the one before.
    async fn enter(crowd: &Arc<Crowd>) -> Option<(Arc<Seat>, bool)> {
        advance(Duration::from_secs(1)).await;
        crowd.enter()
    }

    async fn stranger(crowd: &Arc<Crowd>) -> Arc<Seat> {
        enter(crowd).await.expect("a seat").0
    }

    async fn admitted(crowd: &Arc<Crowd>) -> Arc<Seat> {
        let seat = stranger(crowd).await;
        seat.begin().admit();
        seat
    }

    /// The places of those who had to go.
    fn gone(seats: &[Arc<Seat>]) -> Vec<usize> {
        (0..seats.len()).filter(|nth| seats[*nth].given_away().now_or_never().is_some()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_have_a_quarter_and_the_one_idle_longest_goes() {
        let crowd = Crowd::new(8);
        let mut seats = Vec::new();
        for _ in 0..8 {
            seats.push(admitted(&crowd).await);
        }
        assert_eq!(gone(&seats), [] as [usize; 0], "there was room");
        advance(Duration::from_secs(1)).await;
        drop(seats[0].begin());
        let mut flood = Vec::new();
        for _ in 0..20 {
            let (seat, went) = enter(&crowd).await.expect("a newcomer gets a seat");
            assert!(went);
            flood.push(seat);
        }
        assert_eq!(gone(&seats), [1, 2], "the first was in use after them");
        assert_eq!(gone(&flood), (0..18).collect::<Vec<_>>());
        drop(flood.remove(0));
        drop(seats.remove(1));
        assert_eq!(lock(&crowd.room).taken, 8, "their seats are others'");
        drop(flood.pop());
        assert!(!enter(&crowd).await.expect("a seat").1, "room again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_makes_no_stranger_admitted_and_a_token_does() {
        let crowd = Crowd::new(2);
        let (answered, known) = (stranger(&crowd).await, stranger(&crowd).await);
        drop(answered.begin());
        known.begin().admit();
        known.begin().admit();
        let seats = [known, answered];
        let newcomer = stranger(&crowd).await;
        assert_eq!(gone(&seats), [1]);
        newcomer.begin().admit();
        assert_eq!(lock(&crowd.room).strangers, 0);
        drop((seats, newcomer));
        let room = lock(&crowd.room);
        assert_eq!((room.taken, room.strangers), (0, 0));
        assert!(room.idle_strangers.is_empty() && room.idle_admitted.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_sent_away_while_something_is_under_way() {
        let crowd = Crowd::new(1);
        for is_admitted in [false, true] {
            let seat = stranger(&crowd).await;
            let (first, second) = (seat.begin(), seat.begin());
            if is_admitted {
                first.admit();
            }
            assert!(crowd.enter().is_none());
            drop(first);
            assert!(crowd.enter().is_none(), "another is");
            drop(second);
            drop(seat.begin());
            let (_next, went) = crowd.enter().expect("a seat");
            assert!(went);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_outlives_its_connection_for_what_is_under_way() {
        let crowd = Crowd::new(1);
        let seat = stranger(&crowd).await;
        let tunnel = seat.begin();
        drop(seat);
        assert!(crowd.enter().is_none());
        drop(tunnel);
        assert!(!crowd.enter().expect("a seat").1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_admitted_caller_gets_time_to_leave_and_a_request_that_just_came_all_of_it() {
        for (is_admitted, is_asking, ends) in [(false, false, 0), (true, false, 2), (true, true, 9), (false, true, 9)] {
            let crowd = Crowd::new(1);
            let seat = if is_admitted { admitted(&crowd).await } else { stranger(&crowd).await };
            assert!(seat.over().now_or_never().is_none());
            let _newcomer = stranger(&crowd).await;
            let request = is_asking.then(|| seat.begin());
            let began = Instant::now();
            let _ = tokio::time::timeout(Duration::from_secs(9), seat.over()).await;
            assert_eq!(began.elapsed().as_secs(), ends, "{is_admitted} {is_asking}");
            drop(request);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_crosses_the_word_to_leave_is_answered() {
        let crowd = Crowd::new(1);
        let seat = admitted(&crowd).await;
        let _newcomer = stranger(&crowd).await;
        let mut over = std::pin::pin!(seat.over());
        assert!(over.as_mut().now_or_never().is_none());
        let request = seat.begin();
        assert!(tokio::time::timeout(Duration::from_secs(9), over).await.is_err());
        drop(request);
        seat.over().await;
    }
}
