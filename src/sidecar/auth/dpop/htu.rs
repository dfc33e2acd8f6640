//! Decides whether a proof's `htu` names the request that it came with (RFC 9449 section 4.3): by the policy's external
//! URLs and the request's path, never by its `Host`. Pure.
//!
//! Both sides are normalised as far as RFC 3986 sections 6.2.2.1 to 6.2.3 go without touching segments: letters of
//! scheme and host, the default port, an empty path, percent-encodings. Dot segments never reach this place in a
//! request's path, so an `htu` that has some names nothing here.

use std::fmt::Write;

use crate::external::ExternalUrls;

/// The external URLs, normalised.
#[derive(Debug)]
pub(super) struct Targets(Vec<Target>);

#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// `https://host[:port]`
    origin: String,
    /// Empty only in an external URL.
    path: String,
}

impl Targets {
    pub(super) fn new(urls: &ExternalUrls) -> Self {
        // The policy has checked them: none that is no URL comes here.
        Self(urls.iter().filter_map(|url| Target::of(url.as_str())).collect())
    }

    /// Whether `htu` is one of the external URLs with this path below it.
    pub(super) fn are_named_by(&self, htu: &str, path: &str) -> bool {
        let (Some(named), Some(path)) = (Target::of(htu), normal_path(path)) else { return false };
        self.0.iter().any(|external| {
            // The root below `/shop` is what a caller of `/shop` gets to.
            let is_root = path == "/" && named.path == external.path;
            let below = named.path.strip_prefix(&external.path);
            named.origin == external.origin && (is_root || below == Some(&path))
        })
    }
}

impl Target {
    /// An absolute `http` or `https` URL, its query and fragment left out.
    fn of(url: &str) -> Option<Self> {
        let url = url.split(['?', '#']).next()?;
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "https" => ":443",
            "http" => ":80",
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') {
            return None;
        }
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(default_port).or(authority.strip_suffix(':')).unwrap_or(&authority);
        Some(Self { origin: format!("{scheme}://{authority}"), path: normal_path(path)? })
    }
}

/// Escapes of unreserved characters decoded, the others with capital digits (RFC 3986 sections 6.2.2.1 and 6.2.2.2).
fn normal_path(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len());
    let mut pieces = path.split('%');
    normal.push_str(pieces.next()?);
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            write!(normal, "%{byte:02X}").ok()?;
        }
        normal.push_str(piece.get(2..)?);
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(urls: &[&str]) -> Targets {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        Targets::new(&ExternalUrls::parse(&urls, true).unwrap())
    }

    #[test]
    fn spellings_of_one_url_are_one() {
        let api = targets(&["https://API.acme.test"]);
        for (htu, path) in [
            ("https://api.acme.test/items", "/items"),
            ("HTTPS://Api.Acme.Test/items", "/items"),
            ("https://api.acme.test:443/items", "/items"),
            ("https://api.acme.test:/items", "/items"),
            ("https://api.acme.test/items?page=2", "/items"),
            ("https://api.acme.test/items#top", "/items"),
            ("https://api.acme.test/items#top?x", "/items"),
            ("https://api.acme.test/%69tems", "/items"),
            ("https://api.acme.test/items", "/ite%6ds"),
            ("https://api.acme.test/a%c3%a4", "/a%C3%A4"),
            ("https://api.acme.test/a%7Eb", "/a~b"),
            ("https://api.acme.test/", "/"),
            ("https://api.acme.test", "/"),
            ("https://api.acme.test?x", "/"),
        ] {
            assert!(api.are_named_by(htu, path), "{htu} {path}");
        }
    }

    #[test]
    fn another_url_is_another() {
        let api = targets(&["https://api.acme.test"]);
        for (htu, path) in [
            ("http://api.acme.test/items", "/items"),
            ("https://api.acme.test:8443/items", "/items"),
            ("https://api.acme.test:80/items", "/items"),
            ("https://evil.example/items", "/items"),
            ("https://api.acme.test.evil.example/items", "/items"),
            ("https://api.acme.test@evil.example/items", "/items"),
            ("https://user@api.acme.test/items", "/items"),
            ("https://api.acme.test/items/", "/items"),
            ("https://api.acme.test/Items", "/items"),
            ("https://api.acme.test/items/1", "/items"),
            ("https://api.acme.test/", "/items"),
            ("https://api.acme.test", "/items"),
            ("https://api.acme.test/x/../items", "/items"),
            ("https://api.acme.test//items", "/items"),
            ("https://api.acme.test/a%2Fb", "/a/b"),
            ("https://api.acme.test/a%3Bb", "/a;b"),
            ("https://api.acme.test/items%", "/items"),
            ("https://api.acme.test/items%zz", "/items"),
            ("https:/api.acme.test/items", "/items"),
            ("//api.acme.test/items", "/items"),
            ("/items", "/items"),
            ("items", "/items"),
            ("https:///items", "/items"),
            ("", "/"),
        ] {
            assert!(!api.are_named_by(htu, path), "{htu} {path}");
        }
    }

    #[test]
    fn any_external_url_may_be_named_with_its_own_path_before_the_requests() {
        let shop = targets(&["https://api.acme.test/shop", "http://localhost:8080"]);
        for (htu, path, named) in [
            ("https://api.acme.test/shop/items", "/items", true),
            ("http://localhost:8080/items", "/items", true),
            ("https://api.acme.test/shop/", "/", true),
            ("https://api.acme.test/shop", "/", true),
            ("https://api.acme.test/items", "/items", false),
            ("https://api.acme.test/shopitems", "/items", false),
            ("https://api.acme.test/shop", "/items", false),
            ("http://localhost/items", "/items", false),
            ("http://localhost:8080/shop/items", "/items", false),
        ] {
            assert_eq!(shop.are_named_by(htu, path), named, "{htu} {path}");
        }
    }

    #[test]
    fn without_external_urls_nothing_is_named() {
        assert!(!targets(&[]).are_named_by("https://api.acme.test/items", "/items"));
    }
}
