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
mod tests;
