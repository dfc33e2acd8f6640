//! Decides whether a caller's trace context is one (https://www.w3.org/TR/trace-context/). A sound one is passed on as it
//! came; of a malformed one nothing is, as the standard wants, so that no app has to parse a stranger's nonsense. Pure.

use http::HeaderMap;

use crate::trace::{TRACEPARENT, TRACESTATE, TraceContext};

/// What a vendor must pass on of `tracestate` (section 3.3.1.5); longer ones are dropped whole.
const LONGEST_STATE: usize = 512;

/// Removes what is malformed, and the state with it.
pub(super) fn sanitize(headers: &mut HeaderMap) {
    if !headers.contains_key(TRACEPARENT) {
        return;
    }
    if TraceContext::of(headers).is_none() {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
        return;
    }
    let state: usize = headers.get_all(TRACESTATE).iter().map(|value| value.len() + 1).sum();
    if state > LONGEST_STATE + 1 {
        headers.remove(TRACESTATE);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn left(parents: &[&str], state: &str) -> (usize, usize) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_str(state).unwrap());
        sanitize(&mut headers);
        (headers.get_all(TRACEPARENT).iter().count(), headers.get_all(TRACESTATE).iter().count())
    }

    #[test]
    fn a_sound_context_is_passed_on() {
        let later = format!("cc{}-what-the-future-will-be-like", &SOUND[2..]);
        for parent in [SOUND, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", &later, &later[..55]] {
            assert_eq!(left(&[parent], "a=1"), (1, 1), "{parent}");
        }
        assert_eq!(left(&[SOUND], &"a".repeat(513)), (1, 0));
    }

    #[test]
    fn of_a_malformed_one_nothing_is() {
        for parent in [
            "",
            "00",
            &SOUND[..54],
            &format!("{SOUND}-"),
            &format!("{SOUND}0"),
            &SOUND.to_uppercase(),
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "not a traceparent but one that is exactly that long.....",
        ] {
            assert_eq!(left(&[parent], "a=1"), (0, 0), "{parent}");
        }
        assert_eq!(left(&[SOUND, SOUND], "a=1"), (0, 0));
    }
}
