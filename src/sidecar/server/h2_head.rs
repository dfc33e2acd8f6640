//! Makes the head of an HTTP/2 request one that reads like HTTP/1.1's, which everything behind it and the app judge by:
//! Host from `:authority`, one Cookie. Pure. What is malformed in HTTP/2 itself (RFC 9113 section 8.2) never gets here.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version, header};

/// RFC 9113 sections 8.3.1 and 8.2.3. A Host beside `:authority` stays: whether they are the same is judged with the
/// rest of the head.
pub(super) fn adapt(parts: &mut Parts) {
    if parts.version != Version::HTTP_2 {
        return;
    }
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    join_cookies(&mut parts.headers);
}

/// HTTP/2 may send each cookie in a field of its own, for compression's sake; elsewhere there is one list.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn adapted(version: Version, target: &str, fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        adapt(&mut parts);
        parts.headers
    }

    #[test]
    fn the_authority_is_the_host_where_none_is_named() {
        assert_eq!(adapted(Version::HTTP_2, "http://api.test:81/a", &[])["host"], "api.test:81");
        assert_eq!(adapted(Version::HTTP_2, "http://api.test/a", &[("host", "other")])["host"], "other");
        assert!(adapted(Version::HTTP_2, "/a", &[]).is_empty(), "nothing is made up");
        assert!(adapted(Version::HTTP_11, "http://api.test/a", &[]).is_empty(), "HTTP/1.1 has its own rules");
    }

    #[test]
    fn crumbs_of_cookies_become_one() {
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
        let headers = adapted(Version::HTTP_2, "/", &crumbs);
        let joined: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(joined, ["a=1; b=2; c=3; d=4"]);
        assert_eq!(adapted(Version::HTTP_11, "/", &crumbs).get_all("cookie").iter().count(), 3);
    }
}
