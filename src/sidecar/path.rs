//! Decides whether a request path can mean only one thing to us and to the app, and how it reads for matching. The
//! bytes that pass are forwarded as they came; nothing is ever rewritten. Pure.
//!
//! What could be read in two ways is refused: encoded or doubled separators, dot segments in any encoding (also with
//! `;parameters`, which servlet containers drop first), double encoding, control characters, overlong UTF-8.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// A path that passed, with its readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanPath<'a> {
    raw: &'a str,
    plain: bool,
}

/// How an app may read a path more loosely than it is spelled. [`Reading::AsSpelled`] is percent-decoding alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Percent-decoded by segment, nothing else.
    AsSpelled,
    /// Upper and lower case are the same.
    Folded,
    /// `;parameters` are dropped (also a decoded `?` or `#` and what follows), slashes merged, a trailing slash ignored.
    Stripped,
    /// Both.
    FoldedAndStripped,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// Authority form, `*`, or a query without a path.
    NotAPath,
    /// `//`: merged by some, kept by others.
    DoubleSlash,
    /// `\` or `%5C`: a slash to some.
    Backslash,
    /// `%2F`: a separator to some.
    EncodedSlash,
    /// `.` or `..` as a segment, however spelled.
    DotSegment,
    /// `%` without two hexadecimal digits.
    InvalidEscape,
    /// Decodes to something that could be decoded again.
    DoubleEncoding,
    /// NUL, CR, LF and their like, raw or encoded.
    ControlCharacter,
    /// UTF-8 that spells a character in more bytes than needed; lax decoders make `.` or `/` of it.
    OverlongUtf8,
}

impl PathError {
    /// A sentence for the caller.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::NotAPath => "The request target is not a path.",
            Self::DoubleSlash => "The path contains an empty segment (//).",
            Self::Backslash => "The path contains a backslash.",
            Self::EncodedSlash => "The path contains an encoded slash.",
            Self::DotSegment => "The path contains a dot segment.",
            Self::InvalidEscape => "The path contains an invalid percent-encoding.",
            Self::DoubleEncoding => "The path is percent-encoded twice.",
            Self::ControlCharacter => "The path contains a control character.",
            Self::OverlongUtf8 => "The path contains overlong UTF-8.",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl Error for PathError {}

impl<'a> CleanPath<'a> {
    /// Checks a path as received, without query.
    ///
    /// # Errors
    /// The path could be read in two ways.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAPath);
        }
        let scan = scan(raw.as_bytes())?;
        if scan.needs_segment_check {
            raw[1..].split('/').try_for_each(check_segment)?;
        }
        Ok(Self { raw, plain: scan.plain })
    }

    /// As received.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// Percent-decoded, for comparisons; `None` where that is not UTF-8. A plain path is lent as it is.
    pub(crate) fn decoded(&self) -> Option<Cow<'a, str>> {
        if !self.raw.contains('%') {
            return Some(Cow::Borrowed(self.raw));
        }
        // No escape decodes to a slash, so the segments are the same before and after.
        String::from_utf8(decode(self.raw).into_owned()).ok().map(Cow::Owned)
    }

    /// Whether every [`Reading`] of it is the same (lower case, nothing encoded, no parameter, no trailing slash).
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether it is another spelling of this plain path: percent-encoding alone, nothing looser.
    #[must_use]
    pub fn spells(&self, plain: &str) -> bool {
        self.raw == plain
            || (!self.plain
                && self
                    .segments(Reading::AsSpelled)
                    .iter()
                    .map(|s| &**s)
                    .eq(plain.split('/').skip(1).map(str::as_bytes)))
    }

    /// The segments of a plain path; needs no allocation.
    pub(crate) fn plain_segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.raw[1..].split('/').map(str::as_bytes)
    }

    /// The segments in one reading.
    #[must_use]
    pub fn segments(&self, reading: Reading) -> Vec<Cow<'a, [u8]>> {
        self.raw[1..].split('/').map(decode).filter_map(|segment| reading.apply(segment)).collect()
    }
}

impl Reading {
    /// All of them, the spelled one first.
    pub const ALL: [Self; 4] = [Self::AsSpelled, Self::Folded, Self::Stripped, Self::FoldedAndStripped];

    fn apply(self, segment: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::AsSpelled => Some(segment),
            Self::Folded => Some(fold(segment)),
            Self::Stripped => strip(segment),
            Self::FoldedAndStripped => strip(segment).map(fold),
        }
    }
}

struct Scan {
    plain: bool,
    needs_segment_check: bool,
}

/// One pass that settles most paths: what is wrong whatever surrounds it, and whether a closer look is needed.
fn scan(path: &[u8]) -> Result<Scan, PathError> {
    let mut plain = path.len() == 1 || path.last() != Some(&b'/');
    let mut needs_segment_check = false;
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {}
            b'/' if previous == b'/' => return Err(PathError::DoubleSlash),
            b'\\' => return Err(PathError::Backslash),
            b'.' if previous == b'/' => needs_segment_check = true,
            b'%' => {
                plain = false;
                needs_segment_check = true;
            }
            b'A'..=b'Z' | b';' | 0x80.. => plain = false,
            0..=0x1f | 0x7f => return Err(PathError::ControlCharacter),
            b'?' | b'#' => return Err(PathError::NotAPath),
            _ => {}
        }
        previous = byte;
    }
    Ok(Scan { plain, needs_segment_check })
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    let raw = segment.as_bytes();
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' {
            let digits = rest.as_slice();
            let decoded = hex_pair(digits).ok_or(PathError::InvalidEscape)?;
            match decoded {
                b'/' => return Err(PathError::EncodedSlash),
                b'\\' => return Err(PathError::Backslash),
                0..=0x1f | 0x7f => return Err(PathError::ControlCharacter),
                _ => rest = digits[2..].iter(),
            }
        }
    }
    let decoded = decode(segment);
    // A `%` that is left over was `%25`; digits after it, however spelled, make it decodable once more.
    if decoded.iter().enumerate().any(|(at, &byte)| byte == b'%' && hex_pair(&decoded[at + 1..]).is_some()) {
        return Err(PathError::DoubleEncoding);
    }
    if is_overlong(&decoded) {
        return Err(PathError::OverlongUtf8);
    }
    // Trailing blanks are dropped by some file systems.
    if matches!(before_parameters(&decoded).trim_ascii_end(), b"." | b"..") {
        return Err(PathError::DotSegment);
    }
    Ok(())
}

fn is_overlong(bytes: &[u8]) -> bool {
    let pairs = bytes.windows(2).any(|pair| matches!(pair, [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]));
    pairs || bytes.iter().any(|byte| matches!(byte, 0xc0 | 0xc1))
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Percent-decodes a segment; `%` without two digits stays.
fn decode(segment: &str) -> Cow<'_, [u8]> {
    let raw = segment.as_bytes();
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, tail @ ..] = rest {
        match hex_pair(tail) {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(decoded)
}

fn before_parameters(segment: &[u8]) -> &[u8] {
    let end = segment.iter().position(|byte| matches!(byte, b';' | b'?' | b'#')).unwrap_or(segment.len());
    &segment[..end]
}

/// Without parameters; `None` when nothing is left, as merged slashes and ignored trailing slashes leave nothing.
fn strip(segment: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    let kept = before_parameters(&segment).len();
    if kept == 0 {
        return None;
    }
    Some(match segment {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..kept]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(kept);
            Cow::Owned(bytes)
        }
    })
}

/// Case-folded: upper first, then lower, which also joins the odd letters (ſ with s, K for Kelvin with k).
fn fold(segment: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if segment.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return segment;
    }
    Cow::Owned(match std::str::from_utf8(&segment) {
        Ok(text) if !text.is_ascii() => {
            text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>().into_bytes()
        }
        _ => segment.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_mean_two_things_is_refused() {
        use PathError::*;
        let table: &[(&str, PathError)] = &[
            // not a path
            ("", NotAPath),
            ("*", NotAPath),
            ("example.com:443", NotAPath),
            ("items", NotAPath),
            ("/a?b", NotAPath),
            ("/a#b", NotAPath),
            // separators
            ("//", DoubleSlash),
            ("//items", DoubleSlash),
            ("/docs//items", DoubleSlash),
            ("/items//", DoubleSlash),
            ("//evil.example/items", DoubleSlash),
            ("/docs/%2Fitems", EncodedSlash),
            ("/docs%2fitems", EncodedSlash),
            ("/%2F", EncodedSlash),
            ("/docs\\items", Backslash),
            ("/docs/..\\items", Backslash),
            ("/docs%5Citems", Backslash),
            ("/docs/..%5citems", Backslash),
            // dot segments
            ("/.", DotSegment),
            ("/..", DotSegment),
            ("/./items", DotSegment),
            ("/../items", DotSegment),
            ("/docs/../items", DotSegment),
            ("/docs/./items", DotSegment),
            ("/docs/..", DotSegment),
            ("/docs/.", DotSegment),
            ("/docs/../", DotSegment),
            ("/docs/%2e%2e/items", DotSegment),
            ("/docs/%2E%2E/items", DotSegment),
            ("/docs/.%2e/items", DotSegment),
            ("/docs/%2e./items", DotSegment),
            ("/docs/%2e/items", DotSegment),
            ("/%2e", DotSegment),
            ("/docs/..;/items", DotSegment),
            ("/docs/..;x=y/items", DotSegment),
            ("/docs/.;/items", DotSegment),
            ("/docs/%2e%2e;/items", DotSegment),
            ("/docs/..%3b/items", DotSegment),
            ("/docs/..%3Bx/items", DotSegment),
            ("/docs/..%3f/items", DotSegment),
            ("/docs/..%23/items", DotSegment),
            ("/docs/..%20/items", DotSegment),
            ("/docs/.%20;x/items", DotSegment),
            // encodings
            ("/%", InvalidEscape),
            ("/%2", InvalidEscape),
            ("/%zz", InvalidEscape),
            ("/a%2/b", InvalidEscape),
            ("/a%25%2", InvalidEscape),
            ("/items%", InvalidEscape),
            ("/%u002e%u002e/items", InvalidEscape),
            ("/%+1", InvalidEscape),
            ("/docs/%252e%252e/items", DoubleEncoding),
            ("/docs/%252Fitems", DoubleEncoding),
            ("/%2569tems", DoubleEncoding),
            ("/%25%32%65", DoubleEncoding),
            ("/%25%36%39tems", DoubleEncoding),
            ("/%252%65", DoubleEncoding),
            ("/%25252e", DoubleEncoding),
            // control characters
            ("/%00", ControlCharacter),
            ("/items%00", ControlCharacter),
            ("/items%00.json", ControlCharacter),
            ("/items%0a", ControlCharacter),
            ("/items%0d%0aX-Tollgate-Subject:%20admin", ControlCharacter),
            ("/items%09", ControlCharacter),
            ("/items%7f", ControlCharacter),
            ("/items\u{7f}", ControlCharacter),
            ("/items\t", ControlCharacter),
            // overlong UTF-8
            ("/docs/%c0%ae%c0%ae/items", OverlongUtf8),
            ("/docs%c0%afitems", OverlongUtf8),
            ("/docs%C1%9Citems", OverlongUtf8),
            ("/docs/%e0%80%ae%e0%80%ae/items", OverlongUtf8),
            ("/docs/%f0%80%80%ae/items", OverlongUtf8),
        ];
        for (path, reason) in table {
            assert_eq!(CleanPath::parse(path), Err(*reason), "{path}");
        }
    }

    #[test]
    fn odd_but_unambiguous_paths_pass_unchanged() {
        let table = [
            "/",
            "/items",
            "/items/",
            "/items/1",
            "/.well-known/openid-configuration",
            "/...",
            "/..a",
            "/a..",
            "/a.b/c..d",
            "/.a/..b/",
            "/items;color=red",
            "/items;a=1;b=2/3",
            "/;/x",
            "/100%25",
            "/100%25/more",
            "/50%25off",
            "/a%20b",
            "/a+b",
            "/caf%C3%A9",
            "/café",
            "/%E4%BD%A0%E5%A5%BD",
            "/%e9t%e9",
            "/%F0%9F%98%80",
            "/a:b@c",
            "/a,b!c$d&e'f(g)h*i=j",
            "/~user",
            "/Items",
            "/v1/users/3F2504E0-4F89-11D3-9A0C-0305E82C3301",
            "/search%3Fq",
            "/c%23",
            "/a|b",
            "/\"quoted\"",
            "/{id}",
            "/[1]",
        ];
        for path in table {
            assert_eq!(CleanPath::parse(path).map(|clean| clean.as_str()), Ok(path), "{path}");
        }
    }

    fn read(path: &str, reading: Reading) -> Vec<String> {
        let clean = CleanPath::parse(path).unwrap();
        clean.segments(reading).iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
    }

    #[test]
    fn readings_loosen_what_an_app_may_loosen() {
        assert_eq!(read("/%69tems/A%20b", Reading::AsSpelled), ["items", "A b"]);
        assert_eq!(read("/Items/", Reading::AsSpelled), ["Items", ""]);
        assert_eq!(read("/Items/%41", Reading::Folded), ["items", "a"]);
        assert_eq!(read("/items;x=1/;y/2/", Reading::Stripped), ["items", "2"]);
        assert_eq!(read("/items%3bx/%3f/c%23d", Reading::Stripped), ["items", "c"]);
        assert_eq!(read("/ITEMS;x/", Reading::FoldedAndStripped), ["items"]);
        assert_eq!(read("/\u{17f}ecret/\u{212a}ey/STRA\u{df}E", Reading::Folded), ["secret", "key", "strasse"]);
        assert_eq!(read("/", Reading::AsSpelled), [""]);
        assert!(read("/", Reading::Stripped).is_empty());
    }

    #[test]
    fn another_spelling_of_a_plain_path_is_only_percent_encoding() {
        for (path, spells) in [
            ("/token", true),
            ("/%74oken", true),
            ("/token/", false),
            ("/Token", false),
            ("/token;x", false),
            ("/tokens", false),
            ("/token/x", false),
        ] {
            assert_eq!(CleanPath::parse(path).unwrap().spells("/token"), spells, "{path}");
        }
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/items", "/items/1/x-y_z~.json", "/.well-known/x", "/a:b"] {
            let clean = CleanPath::parse(path).unwrap();
            assert!(clean.is_plain(), "{path}");
            if path != "/" {
                for reading in Reading::ALL {
                    let segments: Vec<&[u8]> = clean.plain_segments().collect();
                    assert_eq!(clean.segments(reading), segments, "{path}");
                }
            }
        }
        for path in ["/Items", "/items/", "/items;x", "/%69tems", "/é"] {
            assert!(!CleanPath::parse(path).unwrap().is_plain(), "{path}");
        }
    }
}
