//! Okta's rate limit: so many calls in a fixed window that starts when it likes, half of them for one client, told with
//! every answer. It keeps count for tests to look at, and decides what Okta would.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use super::okta::limited;

/// The limit of all calls to a custom authorization server together.
pub(super) struct Limiter {
    limit: u32,
    window: Duration,
    start: SystemTime,
    windows: Vec<Window>,
}

/// What happened in a window.
#[derive(Debug, Clone, Default)]
pub struct Window {
    number: u64,
    /// Calls, those refused among them.
    pub calls: u32,
    /// Calls answered with 429.
    pub refused: u32,
    by_client: HashMap<String, u32>,
}

/// What is said of the limit with an answer.
pub(super) struct Told {
    limit: u32,
    remaining: u32,
    reset: u64,
    left: u64,
    refused: bool,
}

impl Limiter {
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, start: SystemTime::now(), windows: Vec::new() }
    }

    /// Counts a call of this client.
    pub(super) fn take(&mut self, client: &str, now: SystemTime) -> Told {
        let elapsed = now.duration_since(self.start).unwrap_or_default();
        let number = (elapsed.as_millis() / self.window.as_millis()) as u64;
        if self.windows.last().is_none_or(|window| window.number != number) {
            self.windows.push(Window { number, ..Window::default() });
        }
        let window = self.windows.last_mut().expect("there is one");
        let of_client = window.by_client.entry(client.to_owned()).or_default();
        *of_client += 1;
        window.calls += 1;
        let ceiling = self.limit / 2;
        // The tighter of both is told: a client over its ceiling hears of that.
        let (limit, used) = if *of_client > ceiling { (ceiling, *of_client) } else { (self.limit, window.calls) };
        let refused = used > limit;
        window.refused += u32::from(refused);
        let end = self.start + self.window * (u32::try_from(number).expect("it fits") + 1);
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        Told {
            limit,
            remaining: limit.saturating_sub(used),
            reset: seconds(end),
            left: seconds(end).saturating_sub(seconds(now)),
            refused,
        }
    }

    pub(super) fn windows(&self) -> Vec<Window> {
        self.windows.clone()
    }
}

impl Told {
    /// The 429, where the call is refused.
    pub(super) fn refusal(&self) -> Option<Response<Full<Bytes>>> {
        self.refused.then(|| limited(&self.limit.to_string(), self.left))
    }

    /// Says it with an answer.
    pub(super) fn tell<B>(&self, answer: &mut Response<B>) {
        for (name, value) in [
            ("x-rate-limit-limit", u64::from(self.limit)),
            ("x-rate-limit-remaining", u64::from(self.remaining)),
            ("x-rate-limit-reset", self.reset),
        ] {
            answer.headers_mut().insert(name, value.into());
        }
    }
}
