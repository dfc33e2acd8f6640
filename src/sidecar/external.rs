//! How callers reach the API, as the policy says it: the one source of URLs in answers and in the checks of DPoP proofs.
//! Pure. A request's `Host` can only choose among these URLs, never make one.

use http::uri::{Scheme, Uri};
use http::{HeaderMap, header};

use crate::path::CleanPath;

/// The resource's bound; each costs every DPoP request a comparison.
const MAX_EXTERNAL_URLS: usize = 8;

/// The external URLs of a policy; none is common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalUrls(Box<[ExternalUrl]>);

/// `https://host[:port][/path]` without a trailing slash: a resource identifier (RFC 9728 section 1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUrl {
    text: Box<str>,
    /// Where the authority ends and the path, if any, begins.
    path_at: usize,
}

impl ExternalUrls {
    /// Reads the policy's URLs; `http://` only where the operator lets issuers use it.
    ///
    /// # Errors
    /// What is wrong with which, as the end of a sentence.
    pub fn parse(urls: &[String], allow_http: bool) -> Result<Self, (String, &'static str)> {
        if let Some(one_too_many) = urls.get(MAX_EXTERNAL_URLS) {
            return Err((one_too_many.clone(), "is one too many; 8 fit"));
        }
        let parse = |url: &String| ExternalUrl::parse(url, allow_http).map_err(|problem| (url.clone(), problem));
        urls.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// All of them, in the policy's order.
    pub fn iter(&self) -> impl Iterator<Item = &ExternalUrl> {
        self.0.iter()
    }

    /// The one whose authority the caller asked for, else the first: a proxy in front may have changed the Host.
    #[must_use]
    pub fn used_by(&self, headers: &HeaderMap) -> Option<&ExternalUrl> {
        self.0.iter().find(|url| url.is_asked_for(headers)).or(self.0.first())
    }
}

impl ExternalUrl {
    fn parse(text: &str, allow_http: bool) -> Result<Self, &'static str> {
        // Looked for in the text: the parser drops a fragment without a word, and lets quotes pass.
        if !text.bytes().all(is_uri_byte) {
            return Err("holds a character that no URL has");
        }
        if text.contains(['?', '#', '@']) || text.ends_with('/') {
            return Err("has a trailing slash, a query, a fragment or a user");
        }
        let uri: Uri = text.parse().map_err(|_| "is no URL")?;
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => "https://",
            Some(scheme) if *scheme == Scheme::HTTP && allow_http => "http://",
            _ => return Err("does not start with https://"),
        };
        let authority = uri.authority().map(|authority| authority.as_str()).filter(|_| uri.host() != Some(""));
        let path_at = scheme.len() + authority.ok_or("names no host")?.len();
        let path = text.get(path_at..).ok_or("is no URL")?;
        if !path.is_empty() && CleanPath::parse(path).is_err() {
            return Err("has a path that could be read in two ways");
        }
        Ok(Self { text: text.into(), path_at })
    }

    /// As the policy has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme and authority.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text.get(..self.path_at).unwrap_or_default()
    }

    /// Empty, or with a leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }

    /// Where the resource's metadata are, by insertion (RFC 9728 section 3.1): under the origin, this path.
    #[must_use]
    pub fn metadata_path(&self) -> String {
        format!("/.well-known/oauth-protected-resource{}", self.path())
    }

    /// The whole URL of the metadata.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        format!("{}{}", self.origin(), self.metadata_path())
    }

    /// Whether the `Host` of a request is its authority.
    pub(crate) fn is_asked_for(&self, headers: &HeaderMap) -> bool {
        let authority = self.origin().split_once("://").map_or("", |(_, authority)| authority);
        headers.get(header::HOST).is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
    }
}

/// RFC 3986 section 2.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parsed(urls: &[&str]) -> ExternalUrls {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        ExternalUrls::parse(&urls, false).unwrap()
    }

    #[test]
    fn the_metadata_path_is_inserted_before_the_resources_own() {
        for (url, path) in [
            ("https://api.acme.test", "/.well-known/oauth-protected-resource"),
            ("https://api.acme.test:8443/shop/v1", "/.well-known/oauth-protected-resource/shop/v1"),
        ] {
            let urls = parsed(&[url]);
            let url = urls.iter().next().unwrap();
            assert_eq!(url.metadata_path(), path);
            assert_eq!(url.metadata_url(), format!("{}{path}", url.origin()));
            assert_eq!(format!("{}{}", url.origin(), url.path()), url.as_str());
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for url in [
            "",
            "https://",
            "https:///shop",
            "https://:443",
            "api.acme.test",
            "//api.acme.test",
            "ftp://api.acme.test",
            "http://api.acme.test",
            "https://api.acme.test/",
            "https://api.acme.test/shop/",
            "https://api.acme.test?a",
            "https://api.acme.test/shop#a",
            "https://api.acme.test#a",
            "https://user@api.acme.test",
            "https://api.acme.test/a/../b",
            "https://api.acme.test/a//b",
            "https://api.acme.test/a%2fb",
            "https://api acme.test",
            "https://api.acme.test/a\"b",
            "https://api.acme.test/a\\b",
            "https://api.acme.test/ä",
        ] {
            assert!(ExternalUrls::parse(&[url.to_owned()], false).is_err(), "{url}");
        }
        assert!(ExternalUrls::parse(&["http://localhost:8080".to_owned()], true).is_ok());
        assert!(ExternalUrls::parse(&vec!["https://api.acme.test".to_owned(); 9], false).is_err());
    }

    #[test]
    fn the_host_chooses_among_the_policys_urls_and_makes_none() {
        let urls = parsed(&["https://api.acme.test", "https://api.acme.example:8443/shop"]);
        for (host, expected) in [
            (Some("api.acme.test"), "https://api.acme.test"),
            (Some("API.acme.EXAMPLE:8443"), "https://api.acme.example:8443/shop"),
            (Some("api.acme.example"), "https://api.acme.test"),
            (Some("evil.example"), "https://api.acme.test"),
            (None, "https://api.acme.test"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            }
            assert_eq!(urls.used_by(&headers).unwrap().as_str(), expected, "{host:?}");
        }
        assert!(ExternalUrls::default().used_by(&HeaderMap::new()).is_none());
    }
}
