//! Rules of how callers reach the API: external URLs and trusted proxies.

use serde_json::json;

use super::case::{Case, case, set};

pub(super) fn cases() -> Vec<Case> {
    [external_url_cases(), proxy_cases()].concat()
}

fn external_url_cases() -> Vec<Case> {
    const SCHEME: &str = "start with https://";
    const QUERY: &str = "leave out the query and the fragment";
    const SLASH: &str = "leave out the trailing slash; the path of a request follows";
    const USER: &str = "leave out the user and password";
    const SHAPE: &str = "write a URL such as https://api.acme.com or https://api.acme.com/shop";
    [
        ("api.acme.com", SCHEME, "https://api.acme.com"),
        ("wss://api.acme.com", SCHEME, "https://api.acme.com"),
        ("https://api.acme.com?x=1", QUERY, "https://api.acme.com"),
        ("https://api.acme.com/shop#x", QUERY, "https://api.acme.com/shop"),
        ("https://api.acme.com/", SLASH, "https://api.acme.com"),
        ("https://api.acme.com/shop/", SLASH, "https://api.acme.com/shop"),
        ("https://me:secret@api.acme.com", USER, "https://api.acme.com/me"),
        ("https:///shop", SHAPE, "https://[2001:db8::1]:8443/shop"),
        ("https://api.acme.com:port", SHAPE, "https://api.acme.com:8443"),
        ("https://api.acme.com/my shop", SHAPE, "https://api.acme.com/my-shop"),
        ("https://api.acme.com/a%2fb", SHAPE, "https://api.acme.com/a/b"),
        ("https://api.acme.com/a/../b", SHAPE, "https://api.acme.com/b"),
        ("https://api.acme.com//shop", SHAPE, "https://api.acme.com/shop"),
        ("https://*.acme.com", SHAPE, "https://api.acme.com"),
    ]
    .into_iter()
    .map(|(bad, message, mended)| {
        let to = |url: &str| [set("/spec/externalUrls", json!(["https://first.acme.com", url]))];
        case(&format!("the external URL {bad}"), &to(bad), "spec.externalUrls[1]", message, &to(mended))
    })
    .collect()
}

fn proxy_cases() -> Vec<Case> {
    const RANGE: &str = "write a range of addresses, such as 10.0.0.0/8, or 192.0.2.7/32 for one";
    const EVERY: &str = "name your proxies; this range is every address there is";
    [
        ("10.0.0.1", RANGE, "10.0.0.1/32"),
        ("10.0.0.0/33", RANGE, "10.0.0.0/32"),
        ("10.0.0/8", RANGE, "10.0.0.0/8"),
        ("proxy.acme.com", RANGE, "192.0.2.7/32"),
        ("::ffff:10.0.0.0/104", RANGE, "10.0.0.0/8"),
        ("2001:db8::/129", RANGE, "2001:db8::/128"),
        ("0.0.0.0/0", EVERY, "10.0.0.0/8"),
        ("::/0", EVERY, "2001:db8::/32"),
    ]
    .into_iter()
    .map(|(bad, message, mended)| {
        let to = |range: &str| [set("/spec/trustedProxies", json!(["192.0.2.0/24", range]))];
        case(&format!("the proxies {bad}"), &to(bad), "spec.trustedProxies[1]", message, &to(mended))
    })
    .collect()
}
