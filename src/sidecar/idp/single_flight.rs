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
    flights: Arc<Mutex<Flights<K, V>>>,
}

struct Flights<K, V> {
    under_way: HashMap<K, (u64, WeakShared<Flight<V>>)>,
    /// How many there ever were: a flight's number.
    begun: u64,
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { flights: Arc::new(Mutex::new(Flights { under_way: HashMap::new(), begun: 0 })) }
    }
}

/// Takes the question off the list when its future ends, whether it finished or everybody left.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Mutex<Flights<K, V>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights);
        // Once everybody has left, the same may have been asked anew: that flight is another's.
        if flights.under_way.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            flights.under_way.remove(&self.key);
        }
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
        if let Some(flight) = flights.under_way.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        flights.begun += 1;
        let number = flights.begun;
        let landing = Landing { flights: Arc::clone(&self.flights), key: key.clone(), number };
        let work = work();
        let flight = async move {
            let _landing = landing;
            work.await
        }
        .boxed()
        .shared();
        if let Some(weak) = flight.downgrade() {
            flights.under_way.insert(key, (number, weak));
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
        assert!(lock(&flights.flights).under_way.is_empty());
    }

    #[tokio::test]
    async fn a_question_that_everybody_left_is_forgotten_and_can_be_asked_again() {
        let flights = SingleFlight::<u8, u32>::default();
        drop(flights.join(1, std::future::pending));
        assert!(lock(&flights.flights).under_way.is_empty());
        assert_eq!(flights.run(1, || async { 7 }).await, 7);
    }

    /// Asks the same question anew when it is dropped.
    struct AskAgain {
        flights: Arc<SingleFlight<u8, u32>>,
        asked: Arc<Mutex<Option<Shared<Flight<u32>>>>>,
    }

    impl Drop for AskAgain {
        fn drop(&mut self) {
            *lock(&self.asked) = Some(self.flights.join(1, || async { 7 }));
        }
    }

    #[tokio::test]
    async fn a_question_asked_anew_while_the_old_one_is_dropped_stays_on_the_list() {
        let (flights, asked) = (Arc::new(SingleFlight::<u8, u32>::default()), Arc::default());
        let again = AskAgain { flights: Arc::clone(&flights), asked: Arc::clone(&asked) };
        let mut old = flights.join(1, move || async move {
            let _again = again;
            std::future::pending().await
        });
        assert!((&mut old).now_or_never().is_none());
        drop(old);
        let (new, equal) = (lock(&asked).take().unwrap(), flights.join(1, || async { 8 }));
        assert_eq!((new.await, equal.await), (7, 7));
        assert!(lock(&flights.flights).under_way.is_empty());
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
