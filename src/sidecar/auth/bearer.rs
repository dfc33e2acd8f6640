//! Takes the bearer token from a request (RFC 6750 section 2.1), and from nowhere but its one `Authorization` header.
//! Pure; says nothing about what the token is worth.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::reason::Reason;
use crate::rejection::Rejection;

/// Okta's tokens have under 2 KiB, with a user's many groups a few more.
const LONGEST_TOKEN: usize = 16 * 1024;

/// What stands after `Bearer` in the one `Authorization` header: not empty of meaning yet, and not too long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credentials<'a>(&'a [u8]);

impl<'a> Credentials<'a> {
    /// The credentials of a request.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, Rejection> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Err(Rejection::new(Reason::MissingToken, "No access token was sent."));
        };
        if values.next().is_some() {
            return Err(Rejection::new(Reason::BadRequest, "More than one Authorization header was sent."));
        }
        let value = value.as_bytes();
        let end_of_scheme = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = value.split_at(end_of_scheme);
        if scheme.eq_ignore_ascii_case(b"DPoP") {
            let detail = "DPoP is not offered here; send a token that is not bound to a key, as Bearer.";
            return Err(Rejection::new(Reason::SenderMismatch, detail));
        }
        if !scheme.eq_ignore_ascii_case(b"Bearer") {
            return Err(Rejection::new(Reason::MissingToken, "The Authorization header holds no bearer token."));
        }
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let token = rest.get(spaces..).unwrap_or_default();
        if token.len() > LONGEST_TOKEN {
            return Err(Rejection::new(Reason::MalformedToken, "The token is too long."));
        }
        Ok(Self(token))
    }

    /// The bytes, unchecked: good for a digest and for nothing else.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The token, in the characters of RFC 6750's `b64token`. Costs a look at each of them, which a token that is
    /// already known by its digest is spared.
    pub(crate) fn token(self) -> Result<&'a str, Rejection> {
        if !is_b64token(self.0) {
            let detail = "The token is empty or holds characters no token has.";
            return Err(Rejection::new(Reason::MalformedToken, detail));
        }
        std::str::from_utf8(self.0).map_err(|_| Rejection::new(Reason::MalformedToken, "The token is not ASCII."))
    }
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
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let token = Credentials::of(&headers).and_then(Credentials::token);
        token.map(str::to_owned).map_err(|rejection| rejection.reason)
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_the_token_exact() {
        for header in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER   a.b-c_d~e+f/g=="] {
            assert_eq!(of(&[header]).as_deref(), Ok("a.b-c_d~e+f/g=="), "{header}");
        }
        let longest = "t".repeat(LONGEST_TOKEN);
        assert_eq!(of(&[&format!("Bearer {longest}")]), Ok(longest));
    }

    #[test]
    fn what_is_no_bearer_token_is_refused() {
        let too_long = format!("Bearer {}", "t".repeat(LONGEST_TOKEN + 1));
        let cases: [(&[&str], Reason); 21] = [
            (&[], Reason::MissingToken),
            (&[""], Reason::MissingToken),
            (&["Basic YTpi"], Reason::MissingToken),
            (&["Token abc"], Reason::MissingToken),
            (&["BearerX abc"], Reason::MissingToken),
            (&["Bearer\tabc"], Reason::MissingToken),
            (&["Bearer abc", "Bearer abc"], Reason::BadRequest),
            (&["Bearer abc", "Basic YTpi"], Reason::BadRequest),
            (&["Basic YTpi", "Bearer abc"], Reason::BadRequest),
            (&["DPoP abc"], Reason::SenderMismatch),
            (&["dpop abc"], Reason::SenderMismatch),
            (&["Bearer"], Reason::MalformedToken),
            (&["Bearer "], Reason::MalformedToken),
            (&["Bearer ==="], Reason::MalformedToken),
            (&["Bearer a b"], Reason::MalformedToken),
            (&["Bearer a, Bearer b"], Reason::MalformedToken),
            (&["Bearer a=b"], Reason::MalformedToken),
            (&["Bearer abc "], Reason::MalformedToken),
            (&["Bearer \"abc\""], Reason::MalformedToken),
            (&["Bearer tök"], Reason::MalformedToken),
            (&[&too_long], Reason::MalformedToken),
        ];
        for (headers, reason) in cases {
            assert_eq!(of(headers), Err(reason), "{headers:?}");
        }
    }
}
