//! Takes the access token from a request, and from nowhere but its one `Authorization` header: `Bearer` (RFC 6750 section
//! 2.1) or `DPoP` (RFC 9449 section 7.1); for a WebSocket where the policy says so also from `subprotocol`. Pure; says nothing about what the token is worth.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;

use super::{Presented, subprotocol};
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Okta's tokens have under 2 KiB, with a user's many groups a few more.
pub(super) const LONGEST_TOKEN: usize = 16 * 1024;

/// How a token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// As it is (RFC 6750).
    Bearer,
    /// With a proof of possession (RFC 9449).
    Dpop,
}

impl Scheme {
    /// What a caller tried, going by its first `Authorization` header; for the challenge of a refusal.
    #[must_use]
    pub fn attempted(headers: &HeaderMap) -> Option<Self> {
        Self::named(split(headers.get(AUTHORIZATION)?.as_bytes()).0)
    }

    fn named(scheme: &[u8]) -> Option<Self> {
        if scheme.eq_ignore_ascii_case(b"Bearer") {
            Some(Self::Bearer)
        } else if scheme.eq_ignore_ascii_case(b"DPoP") {
            Some(Self::Dpop)
        } else {
            None
        }
    }
}

/// What stands after the scheme in the one `Authorization` header, or its equal: not empty of meaning yet, and not too
/// long.
#[derive(Debug)]
pub(crate) struct Credentials<'a> {
    scheme: Scheme,
    token: Cow<'a, [u8]>,
}

impl<'a> Credentials<'a> {
    /// The credentials of a request.
    pub(crate) fn of(presented: &Presented<'a>) -> Result<Self, Rejection> {
        let offered = if presented.may_be_subprotocol { subprotocol::token(presented.headers)? } else { None };
        let mut values = presented.headers.get_all(AUTHORIZATION).iter();
        let (scheme, token) = match (values.next(), offered) {
            (Some(_), Some(_)) => {
                let detail = "Credentials were sent in Authorization and in Sec-WebSocket-Protocol.";
                return Err(Rejection::new(Reason::BadRequest, detail));
            }
            (None, Some(token)) => (Some(Scheme::Bearer), Cow::Owned(token)),
            (Some(value), None) => {
                let (scheme, token) = split(value.as_bytes());
                (Scheme::named(scheme), Cow::Borrowed(token))
            }
            (None, None) => {
                let detail = "No access token was sent in an Authorization header.";
                return Err(Rejection::new(Reason::MissingToken, detail));
            }
        };
        if values.next().is_some() {
            return Err(Rejection::new(Reason::BadRequest, "More than one Authorization header was sent."));
        }
        let Some(scheme) = scheme else {
            return Err(Rejection::new(Reason::MissingToken, "The Authorization header holds no access token."));
        };
        // RFC 6750 section 2: one method in a request. The query's is never taken (RFC 9700 section 4.3.2).
        if presented.query.is_some_and(has_access_token) {
            let detail = "An access token was sent in the query too; send it in the Authorization header only.";
            return Err(Rejection::new(Reason::BadRequest, detail));
        }
        if token.len() > LONGEST_TOKEN {
            return Err(Rejection::new(Reason::MalformedToken, "The token is too long."));
        }
        Ok(Self { scheme, token })
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bytes, unchecked: good for a digest and for nothing else.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.token
    }

    /// The token, in the characters of RFC 6750's `b64token`. Costs a look at each of them, which a token that is
    /// already known by its digest is spared.
    pub(crate) fn token(&self) -> Result<&str, Rejection> {
        if !is_b64token(&self.token) {
            let detail = "The token is empty or holds characters no token has.";
            return Err(Rejection::new(Reason::MalformedToken, detail));
        }
        std::str::from_utf8(&self.token).map_err(|_| Rejection::new(Reason::MalformedToken, "The token is not ASCII."))
    }
}

/// Scheme and credentials, with the spaces between them gone (RFC 9110 section 11.4).
fn split(value: &[u8]) -> (&[u8], &[u8]) {
    let end_of_scheme = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end_of_scheme);
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    (scheme, rest.get(spaces..).unwrap_or_default())
}

/// As a form's reader sees it: a name may be escaped in part or in whole.
fn has_access_token(query: &str) -> bool {
    let mut names = query.split('&').filter_map(|parameter| Some(parameter.split_once('=')?.0));
    names.any(|name| percent_decode_str(name).eq(*b"access_token"))
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = token.get(..token.len() - padding).unwrap_or_default();
    !body.is_empty()
        && body
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::header::SEC_WEBSOCKET_PROTOCOL;
    use http::{HeaderValue, Method};

    use super::*;

    fn read(values: &[&str], query: Option<&str>) -> Result<(Scheme, String), Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let presented = Presented {
            method: &Method::GET,
            path: "/items",
            query,
            headers: &headers,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            certificate: None,
            may_be_subprotocol: false,
        };
        let credentials = Credentials::of(&presented).map_err(|rejection| rejection.reason)?;
        let token = credentials.token().map_err(|rejection| rejection.reason)?;
        Ok((credentials.scheme(), token.to_owned()))
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_the_token_exact() {
        let token = "a.b-c_d~e+f/g==";
        for (header, scheme) in [
            ("Bearer", Scheme::Bearer),
            ("bearer", Scheme::Bearer),
            ("BEARER  ", Scheme::Bearer),
            ("DPoP", Scheme::Dpop),
            ("dpop", Scheme::Dpop),
            ("DPOP  ", Scheme::Dpop),
        ] {
            assert_eq!(read(&[&format!("{header} {token}")], None), Ok((scheme, token.to_owned())), "{header}");
        }
        let longest = "t".repeat(LONGEST_TOKEN);
        assert_eq!(read(&[&format!("Bearer {longest}")], None), Ok((Scheme::Bearer, longest)));
    }

    #[test]
    fn what_is_no_access_token_is_refused() {
        let too_long = format!("Bearer {}", "t".repeat(LONGEST_TOKEN + 1));
        let cases: [(&[&str], Reason); 24] = [
            (&[], Reason::MissingToken),
            (&[""], Reason::MissingToken),
            (&["Basic YTpi"], Reason::MissingToken),
            (&["Token abc"], Reason::MissingToken),
            (&["BearerX abc"], Reason::MissingToken),
            (&["Bearer\tabc"], Reason::MissingToken),
            (&["Bearer,DPoP abc"], Reason::MissingToken),
            (&["Bearer abc", "Bearer abc"], Reason::BadRequest),
            (&["Bearer abc", "Basic YTpi"], Reason::BadRequest),
            (&["Basic YTpi", "Bearer abc"], Reason::BadRequest),
            (&["DPoP abc", "Bearer abc"], Reason::BadRequest),
            (&["DPoP"], Reason::MalformedToken),
            (&["DPoP a b"], Reason::MalformedToken),
            (&["Bearer"], Reason::MalformedToken),
            (&["Bearer "], Reason::MalformedToken),
            (&["Bearer ==="], Reason::MalformedToken),
            (&["Bearer a b"], Reason::MalformedToken),
            (&["Bearer a, Bearer b"], Reason::MalformedToken),
            (&["Bearer a=b"], Reason::MalformedToken),
            (&["Bearer abc "], Reason::MalformedToken),
            (&["Bearer \"abc\""], Reason::MalformedToken),
            (&["Bearer tök"], Reason::MalformedToken),
            (&["Bearer abc\u{a0}"], Reason::MalformedToken),
            (&[&too_long], Reason::MalformedToken),
        ];
        for (headers, reason) in cases {
            assert_eq!(read(headers, None), Err(reason), "{headers:?}");
        }
    }

    #[test]
    fn a_token_in_the_query_is_never_taken_and_beside_another_it_is_one_too_many() {
        for query in [
            "access_token=abc",
            "a=b&access_token=abc",
            "access_token=",
            "access%5Ftoken=abc",
            "a=b&%61ccess%5ftoke%6E=abc",
        ] {
            assert_eq!(read(&[], Some(query)), Err(Reason::MissingToken), "{query}");
            assert_eq!(read(&["Basic YTpi"], Some(query)), Err(Reason::MissingToken), "{query}");
            assert_eq!(read(&["Bearer abc"], Some(query)), Err(Reason::BadRequest), "{query}");
        }
        for query in
            ["", "access_tokens=1", "my_access_token=1", "access_token", "access%255Ftoken=1", "a=access_token="]
        {
            assert!(read(&["Bearer abc"], Some(query)).is_ok(), "{query}");
        }
    }

    #[test]
    fn a_subprotocol_is_a_token_only_where_it_may_be_and_only_alone() {
        let read = |authorization: Option<&'static str>, query, may_be_subprotocol| {
            let token = "base64url.bearer.authorization.tollgate.dev.YS5iLmM";
            let mut headers = HeaderMap::from_iter([(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(token))]);
            headers.extend(authorization.map(|value| (AUTHORIZATION, HeaderValue::from_static(value))));
            let (method, from) = (&Method::GET, IpAddr::V4(Ipv4Addr::LOCALHOST));
            let certificate = None;
            let presented =
                Presented { method, path: "/", query, headers: &headers, from, certificate, may_be_subprotocol };
            let credentials = Credentials::of(&presented).map_err(|rejection| rejection.reason)?;
            Ok((credentials.scheme(), credentials.token().map_err(|rejection| rejection.reason)?.to_owned()))
        };
        assert_eq!(read(None, None, true), Ok((Scheme::Bearer, "a.b.c".to_owned())));
        assert_eq!(read(None, None, false), Err(Reason::MissingToken));
        assert_eq!(read(Some("Bearer d.e.f"), None, false), Ok((Scheme::Bearer, "d.e.f".to_owned())));
        for authorization in ["Bearer a.b.c", "DPoP a.b.c", "Basic YTpi", ""] {
            assert_eq!(read(Some(authorization), None, true), Err(Reason::BadRequest), "{authorization}");
        }
        assert_eq!(read(None, Some("access_token=a"), true), Err(Reason::BadRequest));
    }

    #[test]
    fn what_was_attempted_is_told_by_the_first_header() {
        let attempted = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            Scheme::attempted(&headers)
        };
        assert_eq!(attempted(&[]), None);
        assert_eq!(attempted(&["Basic YTpi", "Bearer abc"]), None);
        assert_eq!(attempted(&["dpop abc", "Bearer abc"]), Some(Scheme::Dpop));
        assert_eq!(attempted(&["Bearer"]), Some(Scheme::Bearer));
    }
}
