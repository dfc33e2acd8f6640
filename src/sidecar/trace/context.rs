//! W3C trace context (https://www.w3.org/TR/trace-context/): reads a caller's `traceparent` and writes ours. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanId, TraceId};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<trace id>-<span id>-<flags>`
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

/// Where in which trace a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) sampled: bool,
}

impl TraceContext {
    /// What the one `traceparent` says; none when it is missing, malformed or there twice.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(value.as_bytes())
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let [a, b, b'-', rest @ ..] = known else { return None };
        let version = byte(*a, *b)?;
        // Later versions may say more, behind another dash; 255 is none.
        let fits = if version == 0 { more.is_empty() } else { version != 0xff && matches!(more, [] | [b'-', ..]) };
        let (trace, rest) = rest.split_at_checked(32)?;
        let [b'-', rest @ ..] = rest else { return None };
        let (span, rest) = rest.split_at_checked(16)?;
        let [b'-', c, d] = rest else { return None };
        let context = Self {
            trace: TraceId::from(hex(trace)?),
            span: SpanId::from(u64::try_from(hex(span)?).ok()?),
            sampled: byte(*c, *d)? & SAMPLED != 0,
        };
        (fits && context.trace != TraceId::INVALID && context.span != SpanId::INVALID).then_some(context)
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let Self { trace, span, sampled } = self;
        HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(*sampled))).ok()
    }
}

/// Lower-case digits only, as the recommendation has it.
fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

fn byte(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

/// At most 32 digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, letter| Some(value << 4 | u128::from(digit(*letter)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_alike() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert!(context.sampled);
        assert_eq!(context.header().unwrap(), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert_eq!(TraceContext::parse(unsampled.as_bytes()).unwrap().header().unwrap(), unsampled);
    }

    #[test]
    fn a_malformed_traceparent_says_nothing() {
        let longer = format!("{GOOD}-x");
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &longer,
            &GOOD.to_uppercase(),
            &GOOD.replace("00-4", "ff-4"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace("00f0", "00g0"),
            &format!("01{}x", &GOOD[2..]),
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad:?}");
        }
        let later = format!("01{}-more", &GOOD[2..]);
        assert!(TraceContext::parse(later.as_bytes()).is_some(), "a later version may say more");
    }

    #[test]
    fn two_of_them_say_nothing() {
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_static(GOOD))]);
        assert!(TraceContext::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceContext::of(&headers), None);
    }
}
