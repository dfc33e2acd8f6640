//! Sets of HTTP methods in one byte, so that rules compare without text. Decides nothing.

use std::fmt;
use std::ops::BitOr;

use http::Method;

/// A set of the methods that rules can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodSet(u8);

const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl MethodSet {
    /// In a rule this means every method.
    pub const EMPTY: Self = Self(0);
    /// `GET` alone.
    pub const GET: Self = Self(1);
    /// `HEAD` alone.
    pub const HEAD: Self = Self(1 << 1);
    /// `POST` alone.
    pub const POST: Self = Self(1 << 2);
    /// Every method that rules can name.
    pub const STANDARD: Self = Self(0x7f);

    /// The set of one method; empty for one that rules cannot name.
    #[must_use]
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::GET,
            Method::HEAD => Self::HEAD,
            Method::POST => Self::POST,
            Method::PUT => Self(1 << 3),
            Method::PATCH => Self(1 << 4),
            Method::DELETE => Self(1 << 5),
            Method::OPTIONS => Self(1 << 6),
            _ => Self::EMPTY,
        }
    }

    /// Every method that rules can name, one by one.
    pub(super) fn standard() -> impl Iterator<Item = Method> {
        NAMES.into_iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
    }

    /// The set of one method by its name, in capitals.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().position(|known| *known == name).map(|at| Self(1 << at))
    }

    /// Whether a method is one of HTTP's own but for upper and lower case.
    #[must_use]
    pub fn is_miswritten(method: &Method) -> bool {
        let like = |known: &&str| method.as_str().eq_ignore_ascii_case(known) && method.as_str() != *known;
        NAMES.iter().chain(&["CONNECT", "TRACE"]).any(like)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one method is in it.
    #[must_use]
    pub fn contains(self, method: Self) -> bool {
        !method.is_empty() && self.0 & method.0 == method.0
    }

    /// Whether two rules of one path would compete; two rules for every method do.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0 || (self.is_empty() && other.is_empty())
    }
}

impl BitOr for MethodSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// As in the `Allow` header; GET brings HEAD.
impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.contains(Self::GET) { *self | Self::HEAD } else { *self };
        let mut separator = "";
        for (at, name) in NAMES.iter().enumerate() {
            if shown.0 & (1 << at) != 0 {
                write!(f, "{separator}{name}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allow_lists_head_beside_get() {
        assert_eq!((MethodSet::GET | MethodSet::POST).to_string(), "GET, HEAD, POST");
        assert_eq!(MethodSet::POST.to_string(), "POST");
    }

    #[test]
    fn names_and_methods_agree() {
        for name in NAMES {
            let method: Method = name.parse().unwrap();
            assert_eq!(MethodSet::named(name), Some(MethodSet::of(&method)));
        }
        assert_eq!(MethodSet::named("get"), None);
        assert!(MethodSet::of(&Method::TRACE).is_empty());
        assert!(!MethodSet::STANDARD.contains(MethodSet::of(&Method::CONNECT)));
    }

    #[test]
    fn two_rules_for_every_method_compete_but_a_named_one_beside_them_does_not() {
        assert!(MethodSet::EMPTY.overlaps(MethodSet::EMPTY));
        assert!(!MethodSet::EMPTY.overlaps(MethodSet::GET));
        assert!(MethodSet::GET.overlaps(MethodSet::GET | MethodSet::POST));
        assert!(!MethodSet::GET.overlaps(MethodSet::HEAD));
    }
}
