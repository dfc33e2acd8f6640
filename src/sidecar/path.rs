//! Decides whether a request path can mean only one thing to us and to the app, and how it reads for matching. The
//! bytes that pass are forwarded as they came; nothing is ever rewritten. Pure.
//!
//! What could be read in two ways is refused: encoded or doubled separators, dot segments in any encoding (also with
//! `;parameters`, which servlet containers drop first), double encoding, control characters, overlong UTF-8. Where the
//! policy keeps encoded or doubled separators, such a path has several [`Cut`]s, and rules are looked for in each.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use tollgate_contract::{OddSlash, PathsConfig};

/// A path that passed, with its readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanPath<'a> {
    raw: &'a str,
    plain: bool,
    /// Holds `//` or `%2F`, kept by the policy.
    odd_slashes: bool,
}

/// Where an app may see a path begin and its segments end. That of most paths is [`Cut::AS_SPELLED`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// `%2F` ends a segment; else it is a part of one.
    at_encoded_slashes: bool,
    /// What follows a leading `//` is a host, and the path begins after it (RFC 3986 section 3.3).
    after_authority: bool,
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

impl Cut {
    /// At the slashes that stand there, and at no others.
    pub const AS_SPELLED: Self = Self { at_encoded_slashes: false, after_authority: false };

    const ALL: [Self; 4] = [
        Self::AS_SPELLED,
        Self { at_encoded_slashes: true, after_authority: false },
        Self { at_encoded_slashes: false, after_authority: true },
        Self { at_encoded_slashes: true, after_authority: true },
    ];
}

impl<'a> CleanPath<'a> {
    /// Checks a path, without query, that holds nothing odd.
    ///
    /// # Errors
    /// The path could be read in two ways.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        Self::received(raw, &PathsConfig::default())
    }

    /// Checks a path as received, without query; `paths` may keep what could be read in two ways.
    ///
    /// # Errors
    /// The path could be read in two ways.
    pub fn received(raw: &'a str, paths: &PathsConfig) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAPath);
        }
        let scan = scan(raw.as_bytes(), paths.double_slash)?;
        let mut odd_slashes = scan.double_slash;
        if scan.needs_segment_check {
            odd_slashes |= check_segments(&raw[1..], paths)?;
        }
        Ok(Self { raw, plain: scan.plain && !odd_slashes, odd_slashes })
    }

    /// As received.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// Percent-decoded, for comparisons; `None` where that is not UTF-8. A slash within a segment stays `%2F`, which
    /// nothing else decodes to. A plain path is lent as it is.
    pub(crate) fn decoded(&self) -> Option<Cow<'a, str>> {
        if !self.raw.contains('%') {
            return Some(Cow::Borrowed(self.raw));
        }
        if self.odd_slashes {
            return joined(&self.segments(Cut::AS_SPELLED, Reading::AsSpelled)).map(Cow::Owned);
        }
        // No escape decodes to a slash, so the segments are the same before and after.
        String::from_utf8(decode(self.raw).into_owned()).ok().map(Cow::Owned)
    }

    /// The same for the path as others may cut it, slashes merged and not; none for most. What is not UTF-8 has been
    /// found by [`CleanPath::decoded`].
    pub(crate) fn decoded_otherwise(&self) -> Vec<String> {
        if !self.odd_slashes {
            return Vec::new();
        }
        let texts = self.cuts().filter_map(|cut| joined(&self.segments(cut, Reading::AsSpelled)));
        texts.flat_map(|text| [merged(&text), text]).collect()
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
                    .segments(Cut::AS_SPELLED, Reading::AsSpelled)
                    .iter()
                    .map(|s| &**s)
                    .eq(plain.split('/').skip(1).map(str::as_bytes)))
    }

    /// The segments of a plain path; needs no allocation.
    pub(crate) fn plain_segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.raw[1..].split('/').map(str::as_bytes)
    }

    /// Every way in which the path may be cut, [`Cut::AS_SPELLED`] first.
    pub fn cuts(&self) -> impl Iterator<Item = Cut> + use<'a> {
        let Self { raw, odd_slashes, .. } = *self;
        let has_encoded = odd_slashes && raw.contains('%');
        Cut::ALL.into_iter().filter(move |cut| {
            // An authority follows two slashes, as the cut sees them.
            (!cut.at_encoded_slashes || has_encoded)
                && (!cut.after_authority
                    || (odd_slashes && split(&raw[1..], cut.at_encoded_slashes).next().is_some_and(str::is_empty)))
        })
    }

    /// The segments, cut in one way, in one reading.
    #[must_use]
    pub fn segments(&self, cut: Cut, reading: Reading) -> Vec<Cow<'a, [u8]>> {
        let mut pieces = split(&self.raw[1..], cut.at_encoded_slashes).peekable();
        if cut.after_authority {
            // More slashes than two make no difference to those who look for an authority.
            let _authority = pieces.find(|piece| !piece.is_empty());
        }
        // A host without a path asks for `/`.
        let root = pieces.peek().is_none().then_some("");
        pieces.chain(root).map(decode).filter_map(|segment| reading.apply(segment)).collect()
    }
}

impl Reading {
    /// All of them, the spelled one first.
    pub const ALL: [Self; 4] = [Self::AsSpelled, Self::Folded, Self::Stripped, Self::FoldedAndStripped];

    /// Whether upper and lower case are the same in it.
    #[must_use]
    pub fn folds(self) -> bool {
        matches!(self, Self::Folded | Self::FoldedAndStripped)
    }

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
    double_slash: bool,
    needs_segment_check: bool,
}

/// One pass that settles most paths: what is wrong whatever surrounds it, and whether a closer look is needed.
fn scan(path: &[u8], double_slashes: OddSlash) -> Result<Scan, PathError> {
    let mut double_slash = false;
    let mut plain = path.len() == 1 || path.last() != Some(&b'/');
    let mut needs_segment_check = false;
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {}
            b'/' if previous == b'/' => match double_slashes {
                OddSlash::Reject => return Err(PathError::DoubleSlash),
                OddSlash::Keep => double_slash = true,
            },
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
    Ok(Scan { plain, double_slash, needs_segment_check })
}

/// Whether there are encoded slashes, all segments being sound in either case.
fn check_segments(path: &str, paths: &PathsConfig) -> Result<bool, PathError> {
    let keeps_encoded = paths.encoded_slash == OddSlash::Keep;
    let mut pieces = split(path, keeps_encoded).peekable();
    let mut count = 0_usize;
    while let Some(piece) = pieces.next() {
        count += 1;
        // The last one may be empty: that is a trailing slash.
        if piece.is_empty() && pieces.peek().is_some() && paths.double_slash == OddSlash::Reject {
            return Err(PathError::DoubleSlash);
        }
        check_segment(piece)?;
    }
    Ok(count > split(path, false).count())
}

/// Segments as they stand between slashes, or between these and encoded ones.
fn split(path: &str, at_encoded_slashes: bool) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let path = rest?;
        let is_end = |at: &usize| match path.as_bytes()[*at..] {
            [b'/', ..] => true,
            [b'%', b'2', b'F' | b'f', ..] => at_encoded_slashes,
            _ => false,
        };
        let Some(end) = (0..path.len()).find(is_end) else {
            return rest.take();
        };
        let width = if path.as_bytes()[end] == b'/' { 1 } else { "%2F".len() };
        rest = path.get(end + width..);
        path.get(..end)
    })
}

/// As a text, each segment after a slash; `None` where it is not UTF-8.
fn joined(segments: &[Cow<'_, [u8]>]) -> Option<String> {
    let mut text = String::new();
    for segment in segments {
        text.push('/');
        text.push_str(&std::str::from_utf8(segment).ok()?.replace('/', "%2F"));
    }
    Some(if text.is_empty() { "/".to_owned() } else { text })
}

fn merged(text: &str) -> String {
    let mut merged = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
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
        clean.segments(Cut::AS_SPELLED, reading).iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
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

    const KEEP_ALL: PathsConfig =
        PathsConfig { encoded_slash: OddSlash::Keep, double_slash: OddSlash::Keep, case_sensitive: false };

    #[test]
    fn odd_slashes_are_kept_only_where_the_policy_says_so() {
        use OddSlash::{Keep, Reject};
        use PathError::*;
        // (path, refused with both kinds rejected, with encoded ones kept, with double ones kept, with both kept)
        let table = [
            ("/a%2Fb", [Some(EncodedSlash), None, Some(EncodedSlash), None]),
            ("/a%2fb%2F", [Some(EncodedSlash), None, Some(EncodedSlash), None]),
            ("/a//b", [Some(DoubleSlash), Some(DoubleSlash), None, None]),
            ("//a", [Some(DoubleSlash), Some(DoubleSlash), None, None]),
            ("//", [Some(DoubleSlash), Some(DoubleSlash), None, None]),
            ("/a/%2Fb", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
            ("/%2Fa", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
            ("/a%2F%2Fb", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
            ("/a%2F/b", [Some(EncodedSlash), Some(DoubleSlash), Some(EncodedSlash), None]),
            // never
            ("/a%2F..", [Some(EncodedSlash), Some(DotSegment), Some(EncodedSlash), Some(DotSegment)]),
            ("/a/..%2Fb", [Some(EncodedSlash), Some(DotSegment), Some(EncodedSlash), Some(DotSegment)]),
            ("/a%2F%2e%2e;x%2Fb", [Some(EncodedSlash), Some(DotSegment), Some(EncodedSlash), Some(DotSegment)]),
            ("/a//../b", [Some(DoubleSlash), Some(DoubleSlash), Some(DotSegment), Some(DotSegment)]),
            ("/a%252Fb", [Some(DoubleEncoding); 4]),
            ("/a%%2Fb", [Some(InvalidEscape); 4]),
            ("/a%2%2Fb", [Some(InvalidEscape); 4]),
            ("/a%5Cb", [Some(Backslash); 4]),
            ("/a%c0%afb", [Some(OverlongUtf8); 4]),
        ];
        for (path, expected) in table {
            let settings = [(Reject, Reject), (Keep, Reject), (Reject, Keep), (Keep, Keep)];
            let outcomes = settings.map(|(encoded_slash, double_slash)| {
                let paths = PathsConfig { encoded_slash, double_slash, case_sensitive: false };
                let clean = CleanPath::received(path, &paths);
                assert!(clean.is_err() || !clean.is_ok_and(|clean| clean.is_plain()), "{path}");
                assert!(clean.is_ok_and(|clean| clean.as_str() == path) || clean.is_err());
                clean.err()
            });
            assert_eq!(outcomes, expected, "{path}");
        }
    }

    #[test]
    fn a_kept_slash_is_read_in_both_ways() {
        let all = |path: &str| {
            let clean = CleanPath::received(path, &KEEP_ALL).unwrap();
            let text = |cut| {
                let segments = clean.segments(cut, Reading::AsSpelled);
                segments.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect::<Vec<_>>().join("|")
            };
            clean.cuts().map(text).collect::<Vec<_>>()
        };
        assert_eq!(all("/a/b"), ["a|b"]);
        assert_eq!(all("/a%20b"), ["a b"]);
        assert_eq!(all("/a%2Fb/c"), ["a/b|c", "a|b|c"]);
        assert_eq!(all("/a//b"), ["a||b"]);
        assert_eq!(all("//a/b"), ["|a|b", "b"]);
        assert_eq!(all("///a/b"), ["||a|b", "b"]);
        assert_eq!(all("//a"), ["|a", ""]);
        assert_eq!(all("/%2Fa/b"), ["/a|b", "|a|b", "b"]);
        assert_eq!(all("//a%2Fb/c"), ["|a/b|c", "|a|b|c", "c", "b|c"]);
        let clean = CleanPath::received("/a//b%2Fc", &KEEP_ALL).unwrap();
        assert_eq!(clean.decoded().unwrap(), "/a//b%2Fc");
        assert_eq!(clean.decoded_otherwise(), ["/a/b%2Fc", "/a//b%2Fc", "/a/b/c", "/a//b/c"]);
        assert_eq!(clean.segments(Cut::AS_SPELLED, Reading::Stripped), [&b"a"[..], b"b/c"]);
        assert!(CleanPath::parse("/a%20b").unwrap().decoded_otherwise().is_empty());
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/items", "/items/1/x-y_z~.json", "/.well-known/x", "/a:b"] {
            let clean = CleanPath::parse(path).unwrap();
            assert!(clean.is_plain(), "{path}");
            if path != "/" {
                for reading in Reading::ALL {
                    let segments: Vec<&[u8]> = clean.plain_segments().collect();
                    assert_eq!(clean.segments(Cut::AS_SPELLED, reading), segments, "{path}");
                }
            }
        }
        for path in ["/Items", "/items/", "/items;x", "/%69tems", "/é"] {
            assert!(!CleanPath::parse(path).unwrap().is_plain(), "{path}");
        }
    }
}
