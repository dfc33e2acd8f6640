//! Decides whether a request's head is one that we and the app read alike, before anything else looks at it: size,
//! method, form of the target, one Host. Pure. The path is judged by `path`.

use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version, header};

use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::rescue::Context;
use crate::route::MethodSet;

/// Names and values with their separators. Tokens are at most a few KiB; common servers take 8 to 64 KiB.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// As many as our HTTP/1.1 reader has room for, in HTTP/2 too; beyond, each costs more than it says.
const MAX_HEADERS: usize = 100;

/// A refusal and what its answer needs.
pub(crate) type Refusal<'a> = (Rejection, Context<'a>);

/// Checks a head and returns the authority that the caller asked for; none with HTTP/1.0, which may leave it out.
pub(crate) fn check(parts: &Parts) -> Result<Option<&HeaderValue>, Refusal<'static>> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        let rejection = Rejection::new(Reason::MethodNotAllowed, "CONNECT and TRACE are not served.");
        return Err((rejection, Context::Allow(MethodSet::STANDARD)));
    }
    // Methods are case-sensitive to us and to HTTP, not to every app: `delete` must not get past a rule for DELETE.
    if MethodSet::of(&parts.method).is_empty() && MethodSet::is_miswritten(&parts.method) {
        let rejection = Rejection::new(Reason::BadRequest, "Write the method in capitals.");
        return Err((rejection, Context::None));
    }
    if head_bytes(parts) > MAX_HEAD_BYTES {
        return Err((Rejection::new(Reason::HeadersTooLarge, "The headers are over 32 KiB."), Context::None));
    }
    if parts.headers.len() > MAX_HEADERS {
        return Err((Rejection::new(Reason::HeadersTooLarge, "There are more than 100 headers."), Context::None));
    }
    let host = host(parts).map_err(|detail| (Rejection::new(Reason::BadRequest, detail), Context::None))?;
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if !codings.next().is_none_or(is_chunked) || codings.next().is_some() {
        let rejection = Rejection::new(Reason::BadRequest, "No transfer coding but chunked, once, is taken.");
        return Err((rejection, Context::None));
    }
    Ok(host)
}

/// The path as received; none for `*`, for authority form, and for a query without a path.
pub(crate) fn path(uri: &Uri) -> Option<&str> {
    let target = uri.path_and_query()?;
    target.as_str().starts_with('/').then(|| target.path())
}

fn head_bytes(parts: &Parts) -> usize {
    // ": " and CR LF for each.
    let headers: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers + parts.uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// RFC 9112 section 3.2: exactly one Host with HTTP/1.1, equal to the target's authority where there is one.
fn host(parts: &Parts) -> Result<Option<&HeaderValue>, &'static str> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("The request has more than one Host.");
    }
    if host.is_none() && parts.version >= Version::HTTP_11 {
        return Err("The request has no Host.");
    }
    if host.is_some_and(|host| !host.as_bytes().iter().all(is_authority_byte)) {
        return Err("The Host is malformed.");
    }
    if let Some(authority) = parts.uri.authority() {
        let same = host.is_none_or(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
        if !same || !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
            return Err("The target's scheme or authority does not fit.");
        }
    }
    Ok(host)
}

/// Bodies are framed anew for the app, which would not learn of a second coding (RFC 9112 section 6.1).
fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// RFC 3986 `host [":" port]` without user information.
fn is_authority_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(method: &str, target: &str, hosts: &[&str], version: Version) -> Result<(), Reason> {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts).map(|_| ()).map_err(|(rejection, _)| rejection.reason)
    }

    #[test]
    fn one_host_is_needed_and_must_fit_the_target() {
        let v11 = Version::HTTP_11;
        for (target, hosts, good) in [
            ("/a", &["api.test"][..], true),
            ("/a", &["api.test:8080"], true),
            ("/a", &["[::1]:80"], true),
            ("/a", &[""], true),
            ("/a", &[], false),
            ("/a", &["a", "a"], false),
            ("/a", &["a", "b"], false),
            ("/a", &["user@api.test"], false),
            ("/a", &["api.test/x"], false),
            ("/a", &["a, b"], false),
            ("/a", &["a b"], false),
            ("http://api.test/a", &["api.test"], true),
            ("http://API.test/a", &["api.TEST"], true),
            ("http://other.test/a", &["api.test"], false),
            ("http://user@api.test/a", &["api.test"], false),
            ("ftp://api.test/a", &["api.test"], false),
            ("http://api.test/a", &[], false),
        ] {
            let expected = if good { Ok(()) } else { Err(Reason::BadRequest) };
            assert_eq!(checked("GET", target, hosts, v11), expected, "{target} {hosts:?}");
        }
        assert_eq!(checked("GET", "/a", &[], Version::HTTP_10), Ok(()));
    }

    #[test]
    fn connect_and_trace_are_refused() {
        for (method, target) in [("CONNECT", "api.test:443"), ("TRACE", "/a"), ("TRACE", "/token")] {
            let refused = checked(method, target, &["api.test"], Version::HTTP_11);
            assert_eq!(refused, Err(Reason::MethodNotAllowed), "{method}");
        }
    }

    #[test]
    fn a_method_in_other_letters_is_refused_and_an_unknown_one_is_not() {
        for method in ["get", "Delete", "pOST", "trace", "connect"] {
            assert_eq!(checked(method, "/a", &["api.test"], Version::HTTP_11), Err(Reason::BadRequest), "{method}");
        }
        assert_eq!(checked("PROPFIND", "/a", &["api.test"], Version::HTTP_11), Ok(()));
    }

    #[test]
    fn a_head_over_the_limit_is_refused() {
        let (mut parts, ()) = Request::builder().uri("/").header(header::HOST, "a").body(()).unwrap().into_parts();
        parts.headers.insert("x-large", HeaderValue::from_str(&"x".repeat(32_000)).unwrap());
        assert!(check(&parts).is_ok());
        parts.headers.insert("x-more", HeaderValue::from_str(&"x".repeat(800)).unwrap());
        assert_eq!(check(&parts).unwrap_err().0.reason, Reason::HeadersTooLarge);
    }

    #[test]
    fn a_head_of_too_many_lines_is_refused() {
        let (mut parts, ()) = Request::builder().uri("/").header(header::HOST, "a").body(()).unwrap().into_parts();
        for _ in 1..MAX_HEADERS {
            parts.headers.append("x-more", HeaderValue::from_static(""));
        }
        assert!(check(&parts).is_ok());
        parts.headers.append("x-more", HeaderValue::from_static(""));
        assert_eq!(check(&parts).unwrap_err().0.reason, Reason::HeadersTooLarge);
    }

    #[test]
    fn only_a_path_is_a_path() {
        for (target, expected) in [
            ("/a?b", Some("/a")),
            ("/", Some("/")),
            ("http://api.test/a/b?c", Some("/a/b")),
            ("*", None),
            ("api.test:443", None),
        ] {
            assert_eq!(path(&target.parse().unwrap()), expected, "{target}");
        }
    }
}
