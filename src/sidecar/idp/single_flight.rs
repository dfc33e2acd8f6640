//! Lets equal questions share one answer: whoever asks while the same question is under way waits for its outcome,
//! failures included. It keeps nothing once the answer is there; callers cache what they want cached.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

type Flight<V> = BoxFuture<'static, V>;

/// Questions under way. Bounded by the number of requests that wait on them.
pub(crate) struct SingleFlight<K, V> {
    flights: Arc<Mutex<HashMap<K, WeakShared<Flight<V>>>>>,
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { flights: Arc::default() }
    }
}

/// Takes the question off the list when its future ends, whether it finished or everybody left.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Mutex<HashMap<K, WeakShared<Flight<V>>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The outcome of `work`, or of an equal question already under way.
    pub(crate) async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(key, work).await
    }

    fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Shared<Flight<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        let landing = Landing { flights: Arc::clone(&self.flights), key: key.clone() };
        let work = work();
        let flight = async move {
            let _landing = landing;
            work.await
        }
        .boxed()
        .shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }
}

/// A panic elsewhere leaves the map as consistent as it was: every change is a single call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn equal_questions_are_asked_once_and_different_ones_apart() {
        let flights = Arc::new(SingleFlight::<u8, u32>::default());
        let asked = Arc::new(AtomicU32::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let question = |key: u8| {
            let (asked, gate) = (Arc::clone(&asked), Arc::clone(&gate));
            flights.join(key, move || async move {
                let nth = asked.fetch_add(1, Ordering::SeqCst);
                let _permit = gate.acquire().await;
                nth
            })
        };
        let (first, second, other) = (question(1), question(1), question(2));
        gate.add_permits(1);
        let (a, b, c) = tokio::join!(first, second, other);
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(lock(&flights.flights).is_empty());
    }

    #[tokio::test]
    async fn a_question_that_everybody_left_is_forgotten_and_can_be_asked_again() {
        let flights = SingleFlight::<u8, u32>::default();
        drop(flights.join(1, std::future::pending));
        assert!(lock(&flights.flights).is_empty());
        assert_eq!(flights.run(1, || async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn those_who_stay_get_the_answer_when_the_first_asker_leaves() {
        let flights = SingleFlight::<u8, u32>::default();
        let gate = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&gate);
        let first = flights.join(1, move || async move {
            let _permit = held.acquire().await;
            7
        });
        let second = flights.join(1, || async { 8 });
        drop(first);
        gate.add_permits(1);
        assert_eq!(second.await, 7);
    }
}
