//! Decides who may connect when there is no room: whoever comes takes the seat of the connection that has waited longest
//! without ever being served. So one that was served keeps its seat under any flood of connections, and a caller who is
//! new gets one; only when all have been served is a newcomer turned away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// Callers' connections of all workers.
#[derive(Debug)]
pub(super) struct Crowd {
    slots: Arc<Semaphore>,
    number: AtomicU64,
    /// Those that may have to go, by when they came: never served, and nothing under way.
    waiting: Mutex<BTreeMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    slot: OwnedSemaphorePermit,
    /// None until the task is known.
    task: Option<AbortHandle>,
}

/// One connection's seat; free when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    number: u64,
    served: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Requests, while none has been served.
    under_way: usize,
    /// Out of the crowd's reach.
    waiting: Option<Waiting>,
}

/// A request under way, on a connection that may need to know: one that has not been served yet.
pub(super) struct UnderWay<'a>(Option<&'a Seat>);

impl Crowd {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { slots: Arc::new(Semaphore::new(limit)), number: AtomicU64::new(0), waiting: Mutex::default() })
    }

    /// A seat for a new connection, and whether another had to go for it.
    pub(super) fn enter(self: &Arc<Self>) -> Option<(Arc<Seat>, bool)> {
        let (slot, went) = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => (slot, false),
            Err(_) => (self.send_away()?, true),
        };
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(number, Waiting { slot, task: None });
        let seat = Seat { crowd: Arc::clone(self), number, served: AtomicBool::new(false), held: Mutex::default() };
        Some((Arc::new(seat), went))
    }

    /// Ends the connection that has waited longest, and hands its slot on.
    fn send_away(&self) -> Option<OwnedSemaphorePermit> {
        let (_, Waiting { slot, task }) = lock(&self.waiting).pop_first()?;
        task.inspect(AbortHandle::abort);
        Some(slot)
    }
}

impl Seat {
    /// The task that serves the connection.
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        if let Some(waiting) = lock(&self.crowd.waiting).get_mut(&self.number) {
            waiting.task = Some(task);
        }
    }

    /// A request has come: the connection is safe from being sent away until its end, and ever after where the answer is
    /// no refusal.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        if self.served.load(Ordering::Relaxed) {
            return UnderWay(None);
        }
        let mut held = lock(&self.held);
        held.under_way += 1;
        if held.waiting.is_none() {
            held.waiting = lock(&self.crowd.waiting).remove(&self.number);
        }
        UnderWay(Some(self))
    }
}

impl UnderWay<'_> {
    /// There is an answer.
    pub(super) fn end(self, is_refusal: bool) {
        if let Some(seat) = self.0 {
            seat.served.fetch_or(!is_refusal, Ordering::Relaxed);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Some(Seat { crowd, number, served, held }) = self.0 else { return };
        let mut held = lock(held);
        held.under_way -= 1;
        if held.under_way == 0
            && !served.load(Ordering::Relaxed)
            && let Some(waiting) = held.waiting.take()
        {
            lock(&crowd.waiting).insert(*number, waiting);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.crowd.waiting).remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// A connection whose task never ends by itself.
    fn task() -> (AbortHandle, tokio::task::JoinHandle<()>) {
        let task = tokio::spawn(pending());
        (task.abort_handle(), task)
    }

    fn answer(seat: &Seat, is_refusal: bool) {
        seat.begin().end(is_refusal);
    }

    #[tokio::test]
    async fn the_longest_unserved_goes_and_the_served_stay() {
        let crowd = Crowd::new(3);
        let (served, _) = crowd.enter().unwrap();
        answer(&served, false);
        let (refused, _) = crowd.enter().unwrap();
        let (handle, first) = task();
        refused.is_served_by(handle);
        let (silent, went) = crowd.enter().unwrap();
        let (handle, second) = task();
        silent.is_served_by(handle);
        assert!(!went, "there was room");
        answer(&refused, true);
        let (newcomer, went) = crowd.enter().unwrap();
        assert!(went && first.await.unwrap_err().is_cancelled(), "a refusal is no service");
        answer(&newcomer, false);
        let (last, went) = crowd.enter().unwrap();
        assert!(went && second.await.unwrap_err().is_cancelled());
        answer(&last, false);
        assert!(crowd.enter().is_none(), "all have been served");
        drop(last);
        assert!(!crowd.enter().unwrap().1, "room again");
    }

    #[tokio::test]
    async fn nobody_is_sent_away_while_a_request_is_under_way() {
        let crowd = Crowd::new(1);
        let (seat, _) = crowd.enter().unwrap();
        let (first, second) = (seat.begin(), seat.begin());
        assert!(crowd.enter().is_none());
        drop(first);
        assert!(crowd.enter().is_none(), "another is");
        drop(second);
        let (_next, went) = crowd.enter().unwrap();
        assert!(went);
        drop(seat);
        assert_eq!(crowd.slots.available_permits(), 0, "the slot is the newcomer's");
    }
}
