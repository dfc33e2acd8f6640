//! What an answer's headers say about the issuer's rate limit (pure): `X-Rate-Limit-Limit`, `-Remaining` and `-Reset` as
//! Okta sends them, on the issuer's own clock. No other header is believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::DATE;

/// Used when a 429 does not say when the window starts again; Okta's windows last 60 s.
const UNSAID_RESET: Duration = Duration::from_secs(15);

/// How long too many calls at once last: each takes well below a second.
pub(super) const MOMENT: Duration = Duration::from_secs(1);

/// No window is longer, whatever a header says.
const LONGEST_RESET: Duration = Duration::from_secs(120);

/// Beyond what any issuer publishes: keeps the memory of a window's calls below a MiB.
const HIGHEST_LIMIT: u32 = 100_000;

/// The state of a rate limit as of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// The calls of a window.
    Window(WindowRate),
    /// So many calls at once, in Okta's form: both numbers are 0, and the reset is only a suggestion.
    Concurrency,
}

/// How far a window's calls are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowRate {
    /// Calls in a window.
    pub(super) limit: u32,
    /// Calls left in this one; absent when the answer does not say.
    pub(super) remaining: Option<u32>,
    /// Names the window: when the next one starts, by the issuer's clock in epoch seconds.
    pub(super) reset: u64,
    /// Until then.
    pub(super) left: Duration,
}

/// Reads an answer's headers; `None` when they say nothing of a limit.
pub(super) fn rate(headers: &HeaderMap, now: SystemTime) -> Option<Rate> {
    let limits = || numbers(headers, "x-rate-limit-limit");
    let remaining = numbers(headers, "x-rate-limit-remaining").min();
    if limits().max()? == 0 && remaining == Some(0) {
        return Some(Rate::Concurrency);
    }
    // Where several limits are told of, the tightest is the one to keep.
    let limit = limits().filter(|limit| *limit > 0).min()?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX).min(HIGHEST_LIMIT);
    let remaining = remaining.map(|remaining| u32::try_from(remaining).unwrap_or(u32::MAX));
    let reset = numbers(headers, "x-rate-limit-reset").min()?;
    Some(Rate::Window(WindowRate { limit, remaining, reset, left: until(reset, headers, now) }))
}

/// How long a 429 lasts: until the earliest reset. Okta may send the header several times, and documents no
/// `Retry-After`. Of too many calls at once the header says nothing: those end soon.
pub(crate) fn pause(headers: &HeaderMap, now: SystemTime) -> Duration {
    if rate(headers, now) == Some(Rate::Concurrency) {
        return MOMENT;
    }
    numbers(headers, "x-rate-limit-reset").min().map_or(UNSAID_RESET, |reset| until(reset, headers, now))
}

/// Until `reset` by the answer's own clock, plus a second for its rounding.
fn until(reset: u64, headers: &HeaderMap, now: SystemTime) -> Duration {
    let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok()).unwrap_or(now);
    let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = Duration::from_secs(1);
    Duration::from_secs(reset).saturating_sub(date).saturating_add(second).clamp(second, LONGEST_RESET)
}

fn numbers(headers: &HeaderMap, name: &str) -> impl Iterator<Item = u64> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn epoch(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = format!("x-rate-limit-{name}").parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn window(lines: &[(&str, &str)]) -> WindowRate {
        match rate(&headers(lines), epoch(1_000)) {
            Some(Rate::Window(window)) => window,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_limit_lasts_until_the_earliest_reset_on_the_issuers_clock() {
        let seconds = |headers: &HeaderMap| pause(headers, epoch(1_000)).as_secs();
        let mut held = HeaderMap::new();
        assert_eq!(pause(&held, epoch(1_000)), UNSAID_RESET);
        held.append("x-rate-limit-reset", HeaderValue::from_static("1040"));
        assert_eq!(seconds(&held), 41);
        held.append("x-rate-limit-reset", HeaderValue::from_static("1010"));
        assert_eq!(seconds(&held), 11);
        held.insert(DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:16:48 GMT"));
        assert_eq!(seconds(&held), 3, "1008 by the issuer's own clock");
        held.append("x-rate-limit-reset", HeaderValue::from_static("soon"));
        assert_eq!(seconds(&held), 3);
        held.insert("x-rate-limit-reset", HeaderValue::from_static("99999999999"));
        assert_eq!(pause(&held, epoch(1_000)), LONGEST_RESET);
        held.insert("x-rate-limit-reset", HeaderValue::from_static("18446744073709551615"));
        assert_eq!(pause(&held, epoch(1_000)), LONGEST_RESET);
        held.insert("x-rate-limit-reset", HeaderValue::from_static("3"));
        assert_eq!(seconds(&held), 1, "a reset that has passed");
    }

    #[test]
    fn a_window_is_read_and_the_tightest_of_several_counts() {
        let one = window(&[("limit", "600"), ("remaining", "599"), ("reset", "1040")]);
        let left = Duration::from_secs(41);
        assert_eq!(one, WindowRate { limit: 600, remaining: Some(599), reset: 1040, left });
        let lines = [("limit", "1200"), ("limit", "600"), ("remaining", "80"), ("remaining", "7"), ("reset", "1040")];
        let several = window(&lines);
        assert_eq!((several.limit, several.remaining), (600, Some(7)));
        assert_eq!(window(&[("limit", "600"), ("reset", "1040")]).remaining, None);
        assert_eq!(window(&[("limit", "99999999999"), ("reset", "1040")]).limit, HIGHEST_LIMIT);
    }

    #[test]
    fn two_zeros_are_the_limit_of_simultaneous_calls() {
        let concurrency = [("limit", "0"), ("remaining", "0"), ("reset", "1040")];
        assert_eq!(rate(&headers(&concurrency), epoch(1_000)), Some(Rate::Concurrency));
        assert_eq!(pause(&headers(&concurrency), epoch(1_000)), MOMENT, "the reset is only a suggestion");
    }

    #[test]
    fn what_makes_no_sense_says_nothing() {
        for lines in [
            &[][..],
            &[("limit", "600")],
            &[("limit", "many"), ("reset", "1040")],
            &[("limit", "-1"), ("reset", "1040")],
            &[("limit", "0"), ("remaining", "5"), ("reset", "1040")],
            &[("remaining", "5"), ("reset", "1040")],
        ] {
            assert_eq!(rate(&headers(lines), epoch(1_000)), None, "{lines:?}");
        }
    }
}
