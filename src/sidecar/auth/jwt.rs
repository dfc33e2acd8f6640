//! Reads a signed token (RFC 7515 compact form) strictly and says what its header is worth. Pure: the key is given, the
//! claims are `claims`' matter. The algorithm comes from here, never from the header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::Claims;
use super::json::{self, Object};
use crate::idp::{Key, LONGEST_KID};
use crate::reason::Reason;
use crate::rejection::Rejection;

/// The one algorithm: Okta signs with nothing else.
const ALGORITHM: &str = "RS256";

/// What a token's dots say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Three parts.
    Signed,
    /// Five parts.
    Encrypted,
    /// Anything else: only its issuer can read it.
    Opaque,
}

impl Shape {
    pub(crate) fn of(token: &str) -> Self {
        match token.bytes().filter(|byte| *byte == b'.').count() {
            2 => Self::Signed,
            4 => Self::Encrypted,
            _ => Self::Opaque,
        }
    }
}

/// A well-formed signed token. Nothing in it is trusted yet.
pub(crate) struct Jws<'a> {
    header: Object,
    pub(crate) claims: Claims,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Exactly three non-empty unpadded base64url parts, the first two JSON objects without repeated names.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Rejection> {
        let parts = || malformed("The token is not three base64url parts of a signed JWT.");
        let (signing_input, signature) = token.rsplit_once('.').ok_or_else(parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or_else(parts)?;
        // The engine refuses padding, whitespace, the standard alphabet and trailing bits that are not zero.
        let decoded = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| parts())?;
            if bytes.is_empty() { Err(parts()) } else { Ok(bytes) }
        };
        let header = json::object(&decoded(header)?);
        let header = header.ok_or_else(|| malformed("The token's header is not a JSON object with unique names."))?;
        let claims = json::object(&decoded(payload)?);
        let claims = claims.ok_or_else(|| malformed("The token's claims are not a JSON object with unique names."))?;
        Ok(Self { header, claims: Claims::new(claims), signing_input, signature: decoded(signature)? })
    }

    /// The key id, when it is one that a key set could hold.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    pub(crate) fn names_our_algorithm(&self) -> bool {
        self.header.get("alg").and_then(|alg| alg.as_str()) == Some(ALGORITHM)
    }

    /// Whether the header is one of an access token that we know how to check. `jwk`, `jku`, `x5u`, `x5c` and `x5t`
    /// are never looked at: keys come from the issuer's own set.
    pub(crate) fn check_header(&self) -> Result<(), Rejection> {
        if ["crit", "b64", "zip"].iter().any(|name| self.header.contains_key(*name)) {
            return Err(malformed("The token's header asks for an extension that is not supported."));
        }
        self.check_type()?;
        match self.header.get("alg").map(|alg| alg.as_str()) {
            Some(Some(ALGORITHM)) => {}
            Some(Some(_)) => {
                return Err(Rejection::new(Reason::UnsupportedAlgorithm, "The token is not signed with RS256."));
            }
            _ => return Err(malformed("The token's header names no algorithm.")),
        }
        match self.header.get("kid") {
            None => Ok(()),
            Some(kid) => match kid.as_str() {
                Some(kid) if kid.len() <= LONGEST_KID => Ok(()),
                _ => Err(malformed("The token's key id is not a string, or too long.")),
            },
        }
    }

    /// Okta's access tokens carry no `typ`, RFC 9068's `at+jwt`; other JWTs of the same issuer say what they are.
    fn check_type(&self) -> Result<(), Rejection> {
        let Some(kind) = self.header.get("typ") else { return Ok(()) };
        let kind = kind.as_str().ok_or_else(|| malformed("The token's type is not a string."))?;
        let kind = kind.to_ascii_lowercase();
        match kind.strip_prefix("application/").unwrap_or(&kind) {
            "jwt" | "at+jwt" => Ok(()),
            _ => Err(Rejection::new(Reason::WrongTokenType, "The token's header says that it is no access token.")),
        }
    }

    /// Whether this key made the signature.
    pub(crate) fn is_signed_by(&self, key: &Key) -> bool {
        key.verifies(self.signing_input.as_bytes(), &self.signature)
    }
}

fn malformed(detail: &'static str) -> Rejection {
    Rejection::new(Reason::MalformedToken, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = r#"{"iss":"x"}"#;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn reason(token: &str) -> Option<Reason> {
        Jws::parse(token).and_then(|jws| jws.check_header()).err().map(|rejection| rejection.reason)
    }

    #[test]
    fn dots_tell_the_shape() {
        for (text, shape) in [
            ("a.b.c", Shape::Signed),
            ("a.b.c.d.e", Shape::Encrypted),
            ("abc", Shape::Opaque),
            ("ory_at_a.b", Shape::Opaque),
            ("a.b.c.d", Shape::Opaque),
        ] {
            assert_eq!(Shape::of(text), shape, "{text}");
        }
    }

    #[test]
    fn headers_of_access_tokens_pass() {
        for header in [
            r#"{"alg":"RS256","kid":"k"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"RS256","typ":"JWT"}"#,
            r#"{"alg":"RS256","typ":"jwt"}"#,
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
            r#"{"alg":"RS256","typ":"application/at+JWT"}"#,
            r#"{"alg":"RS256","jku":"https://evil.example","x5u":"https://evil.example","jwk":{},"x5t":"AA"}"#,
        ] {
            assert_eq!(reason(&token(header, CLAIMS)), None, "{header}");
        }
    }

    #[test]
    fn other_headers_are_refused_with_the_reason() {
        let long_kid = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(LONGEST_KID + 1));
        let cases = [
            (r#"{"alg":"none"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":"None"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":"HS256"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":"RS384"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":"RS512"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":"PS256"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":"ES256"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":"rs256"}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":""}"#, Reason::UnsupportedAlgorithm),
            (r#"{"alg":null}"#, Reason::MalformedToken),
            (r#"{"alg":["RS256"]}"#, Reason::MalformedToken),
            (r#"{"kid":"k"}"#, Reason::MalformedToken),
            (r#"{"alg":"RS256","kid":1}"#, Reason::MalformedToken),
            (&long_kid, Reason::MalformedToken),
            (r#"{"alg":"RS256","crit":["exp"]}"#, Reason::MalformedToken),
            (r#"{"alg":"RS256","crit":[]}"#, Reason::MalformedToken),
            (r#"{"alg":"RS256","b64":true}"#, Reason::MalformedToken),
            (r#"{"alg":"RS256","zip":"DEF"}"#, Reason::MalformedToken),
            (r#"{"alg":"RS256","alg":"RS256"}"#, Reason::MalformedToken),
            (r#"{"alg":"RS256","typ":7}"#, Reason::MalformedToken),
            (r#"{"alg":"RS256","typ":"dpop+jwt"}"#, Reason::WrongTokenType),
            (r#"{"alg":"RS256","typ":"logout+jwt"}"#, Reason::WrongTokenType),
            (r#"{"alg":"RS256","typ":"secevent+jwt"}"#, Reason::WrongTokenType),
            (r#"{"alg":"RS256","typ":"token-introspection+jwt"}"#, Reason::WrongTokenType),
            (r#"{"alg":"RS256","typ":"application/okta-internal-at+jwt"}"#, Reason::WrongTokenType),
            (r#"{"alg":"RS256","typ":""}"#, Reason::WrongTokenType),
            (r#"[]"#, Reason::MalformedToken),
            (r#""RS256""#, Reason::MalformedToken),
        ];
        for (header, expected) in cases {
            assert_eq!(reason(&token(header, CLAIMS)), Some(expected), "{header}");
        }
    }

    #[test]
    fn what_is_not_exactly_three_base64url_parts_is_malformed() {
        let good = token(r#"{"alg":"RS256"}"#, CLAIMS);
        assert_eq!(reason(&good), None);
        let (input, _) = good.rsplit_once('.').unwrap();
        let (header, payload) = input.split_once('.').unwrap();
        let cases = [
            ("no signature", format!("{input}.")),
            ("no claims", format!("{header}..AAAA")),
            ("no header", format!(".{payload}.AAAA")),
            ("two parts", input.to_owned()),
            ("four parts", format!("{good}.AAAA")),
            ("padding", format!("{input}.AAA=")),
            ("standard alphabet", format!("{input}.A+/A")),
            ("trailing bits", format!("{input}.AB")),
            ("impossible length", format!("{input}.AAAAA")),
            ("whitespace", format!("{input}.AA AA")),
            ("line break", format!("{good}\n")),
            ("claims no object", token(r#"{"alg":"RS256"}"#, "[]")),
            ("claims repeat a name", token(r#"{"alg":"RS256"}"#, r#"{"iss":"x","iss":"x"}"#)),
            ("claims no JSON", token(r#"{"alg":"RS256"}"#, "iss=x")),
        ];
        for (name, text) in cases {
            assert_eq!(reason(&text), Some(Reason::MalformedToken), "{name}");
        }
    }
}
