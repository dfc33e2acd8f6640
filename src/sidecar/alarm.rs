//! A clock for waits that hardly ever run out, such as those for a request's head and for an answer's. Setting a timer of
//! the runtime for each costs more than the rest of the wait; an alarm is set once, goes off early, and only then is set
//! to what is waited for by now. It decides no times.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Timer;
use tokio::time::{Instant, Sleep, sleep_until};

/// For one wait at a time; kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready from `deadline` on.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// The alarm of one connection, as hyper asks for it. hyper waits for one thing at a time on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionTimer(Arc<Mutex<Alarm>>);

/// One wait.
struct Wait {
    alarm: ConnectionTimer,
    deadline: Instant,
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Wait { alarm: self.clone(), deadline: Instant::now() + duration })
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Wait { alarm: self.clone(), deadline: Instant::from_std(deadline) })
    }

    /// The runtime's, which tests may stop.
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl hyper::rt::Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.0.lock().unwrap_or_else(PoisonError::into_inner);
        alarm.poll(self.deadline, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn wait(alarm: &mut Alarm, deadline: Instant) {
        poll_fn(|cx| alarm.poll(deadline, cx)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_takes_its_own_time_whatever_the_alarm_was_set_to() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        let given_up = tokio::time::timeout(SECOND, wait(&mut alarm, start + 10 * SECOND)).await;
        assert!(given_up.is_err());
        for deadline in [2, 30, 31, 31, 12] {
            let deadline = start + deadline * SECOND;
            let begun = Instant::now();
            wait(&mut alarm, deadline).await;
            let late = Instant::now() - deadline.max(begun);
            assert!(Instant::now() >= deadline && late <= Duration::from_millis(1), "{late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_came_to_an_end_in_time_does_not_shorten_the_next() {
        let mut alarm = Alarm::default();
        let first = Instant::now() + SECOND;
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(first, cx))).await.is_pending());
        tokio::time::advance(2 * SECOND).await;
        let second = Instant::now() + 3 * SECOND;
        wait(&mut alarm, second).await;
        assert!(Instant::now() >= second);
    }

    #[tokio::test(start_paused = true)]
    async fn hyper_waits_as_long_as_it_asked() {
        let timer = ConnectionTimer::default();
        let start = Instant::now();
        drop(timer.sleep(5 * SECOND));
        timer.sleep_until(timer.now() + SECOND).await;
        assert!(start.elapsed() >= SECOND && start.elapsed() < 2 * SECOND);
        timer.sleep(SECOND).await;
        assert!(start.elapsed() >= 2 * SECOND && start.elapsed() < 3 * SECOND);
    }
}
