//! What fuzzing may reach, compiled under `cfg(fuzzing)` alone. Each function takes any bytes, hands them to the reader
//! that hostile bytes meet first, and panics where an invariant of what was accepted does not hold; that nothing else
//! panics is the least of it.

use http::Method;
use tollgate_contract::{Access, DefaultAccess, OddSlash, PathMatch, PathsConfig, RouteConfig, ScopesConfig};

pub use crate::auth::fuzzing::{authorization, claims, dpop, jws};
pub use crate::idp::fuzzing::{introspection, jwks, metadata};

use crate::path::{CleanPath, Cut, Reading};
use crate::route::{Requirement, RouteTable};

/// A request path. One that passes has no dot segment, separator or second decoding in any reading, and opens nothing
/// but what its spelled segments name; with odd slashes kept, in whatever way it is cut.
pub fn path(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let kept = PathsConfig { encoded_slash: OddSlash::Keep, double_slash: OddSlash::Keep, case_sensitive: false };
    if let Ok(path) = CleanPath::received(raw, &kept) {
        path.cuts().for_each(|cut| check_segments(&path, cut, true));
        only_the_spelled_path_opens(&path);
    }
    let Ok(path) = CleanPath::parse(raw) else { return };
    assert_eq!(path.as_str(), raw, "the path is never rewritten");
    assert_eq!(path.cuts().collect::<Vec<_>>(), [Cut::AS_SPELLED]);
    check_segments(&path, Cut::AS_SPELLED, false);
    let spelled = path.segments(Cut::AS_SPELLED, Reading::AsSpelled);
    let joined: Vec<u8> = spelled.iter().flat_map(|segment| [b"/", &**segment].concat()).collect();
    assert_eq!(path.decoded().map(|text| text.as_bytes().to_vec()), String::from_utf8(joined).ok().map(Into::into));
    only_the_spelled_path_opens(&path);
}

fn check_segments(path: &CleanPath<'_>, cut: Cut, odd_slashes: bool) {
    let raw = path.as_str();
    let spelled = path.segments(cut, Reading::AsSpelled);
    for reading in Reading::ALL {
        let segments = path.segments(cut, reading);
        for (at, segment) in segments.iter().enumerate() {
            let last = at + 1 == segments.len();
            let sound = !segment.is_empty() || odd_slashes || (last && !raw.ends_with("//"));
            assert!(sound, "an empty segment: {segments:?}");
            // Where an encoded slash is kept it may be a part of a segment; its parts are no dot segments either.
            for part in segment.split(|byte| odd_slashes && *byte == b'/') {
                let name = part.split(|byte| matches!(byte, b';' | b'?' | b'#')).next().unwrap_or_default();
                assert!(![&b"."[..], b".."].contains(&name.trim_ascii_end()), "a dot segment: {segments:?}");
                assert!(!part.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0..=0x1f | 0x7f)), "{segments:?}");
            }
            assert!(!segment.windows(3).any(is_escape), "decodable again: {segments:?}");
        }
        // The root has one empty segment, which is none where slashes are merged.
        assert!(
            !path.is_plain() || segments == spelled || raw == "/",
            "a plain path with another reading: {segments:?}"
        );
    }
}

fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// `/docs` is public, `/docs/internal` nobody's.
fn only_the_spelled_path_opens(path: &CleanPath<'_>) {
    let route = |name: &str, prefix: &str, access| RouteConfig {
        name: name.to_owned(),
        path: PathMatch::Prefix(prefix.to_owned()),
        methods: Vec::new(),
        access,
        scopes: ScopesConfig::default(),
        issuers: Vec::new(),
        when: None,
    };
    let routes = [route("docs", "/docs", Access::Public), route("internal", "/docs/internal", Access::Denied)];
    let Ok(table) = RouteTable::new(&routes, DefaultAccess::Authenticated, false) else {
        unreachable!("the routes are sound")
    };
    if table.judge(path, &Method::GET).requirement == Requirement::Nothing {
        let spelled = path.segments(Cut::AS_SPELLED, Reading::AsSpelled);
        assert_eq!(spelled.first().map(|segment| &**segment), Some(&b"docs"[..]), "opened by another spelling");
        let closed = |(cut, reading)| match path.segments(cut, reading).as_slice() {
            [first, second, ..] => **first == *b"docs" && **second == *b"internal",
            _ => false,
        };
        let mut readings = path.cuts().flat_map(|cut| Reading::ALL.map(|reading| (cut, reading)));
        assert!(!readings.any(closed), "a closed path, opened by another spelling");
    }
}
