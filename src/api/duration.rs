//! Durations as users write them: the strings of Gateway API (GEP-2257), such as `60s`, `1m30s` or `500ms`. It decides
//! what is a duration, not which lengths a field may have.

use std::time::Duration;

use thiserror::Error;

/// The schema's pattern for a duration: one to four whole numbers of at most five digits, each with a unit.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{text}' is not a duration; write it as whole numbers with the units h, m, s or ms, such as 60s or 1m30s")]
pub struct DurationError {
    text: String,
}

/// Reads a GEP-2257 duration.
///
/// # Errors
/// Anything but one to four parts of one to five digits and one of the units h, m, s and ms.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    sum_of_parts(text).ok_or_else(|| DurationError { text: text.to_owned() })
}

/// How a duration reads in a message: in its largest whole unit.
#[must_use]
pub fn display(duration: Duration) -> String {
    let millis = duration.as_millis();
    [(3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
        .map_or_else(|| format!("{millis}ms"), |(unit, suffix)| format!("{}{suffix}", millis / unit))
}

fn sum_of_parts(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let (millis, tail) = unit_in_millis(tail)?;
        total += Duration::from_millis(number * millis);
        if tail.is_empty() {
            return Some(total);
        }
        rest = tail;
    }
    None
}

/// `ms` is tried before `m`, or five milliseconds would be five minutes and an `s`.
fn unit_in_millis(text: &str) -> Option<(u64, &str)> {
    [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find_map(|(unit, millis)| text.strip_prefix(unit).map(|tail| (millis, tail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        for (text, millis) in [("60s", 60_000), ("1m30s", 90_000), ("500ms", 500), ("0s", 0), ("1h0m0s5ms", 3_600_005)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_named() {
        for text in ["", "60", "s", "1.5s", "-1s", "1d", "60 s", "123456s", "1s1s1s1s1s", "1S", "ten seconds"] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }

    #[test]
    fn messages_use_the_largest_whole_unit() {
        for (millis, text) in [(3_600_000, "1h"), (300_000, "5m"), (90_000, "90s"), (1_500, "1500ms"), (0, "0ms")] {
            assert_eq!(display(Duration::from_millis(millis)), text);
        }
    }
}
