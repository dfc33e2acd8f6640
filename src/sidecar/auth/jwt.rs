//! Reads a signed token (RFC 7519 in RFC 7515's compact form) and says what its header is worth. Pure: keys and allowed
//! algorithms are given, the claims are `claims`' matter.

use tollgate_contract::TokenProfile;

use super::claims::Claims;
use crate::idp::{Key, LONGEST_KID};
use crate::jose::{Algorithm, Compact, CompactError, json};
use crate::reason::Reason;
use crate::rejection::Rejection;

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
    compact: Compact<'a>,
    pub(crate) claims: Claims,
}

impl<'a> Jws<'a> {
    /// A compact JWS whose payload is a JSON object without repeated names.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Rejection> {
        let compact = Compact::parse(token).map_err(refusal)?;
        let claims = json::object(compact.payload())
            .ok_or_else(|| malformed("The token's claims are not a JSON object with unique names."))?;
        Ok(Self { compact, claims: Claims::new(claims) })
    }

    /// The key id, when it is one that a key set could hold.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.compact.header().get("kid")?.as_str()
    }

    /// The algorithm that it names, if it is one of `allowed`.
    pub(crate) fn algorithm(&self, allowed: &[Algorithm]) -> Result<Algorithm, Rejection> {
        self.compact.algorithm(allowed).map_err(refusal)
    }

    /// The algorithm, if the header is one of an access token that we know how to check.
    pub(crate) fn check_header(&self, allowed: &[Algorithm], profile: TokenProfile) -> Result<Algorithm, Rejection> {
        self.check_type(profile)?;
        let algorithm = self.algorithm(allowed)?;
        match self.compact.header().get("kid") {
            None => Ok(algorithm),
            Some(kid) => match kid.as_str() {
                Some(kid) if kid.len() <= LONGEST_KID => Ok(algorithm),
                _ => Err(malformed("The token's key id is not a string, or too long.")),
            },
        }
    }

    /// Okta's access tokens carry no `typ`, RFC 9068's `at+jwt`; other JWTs of the same issuer say what they are. Media
    /// types are compared without case, and `application/` may be left out (RFC 7515 section 4.1.9).
    pub(crate) fn check_type(&self, profile: TokenProfile) -> Result<(), Rejection> {
        let typ = match self.compact.header().get("typ") {
            None => None,
            Some(typ) => Some(typ.as_str().ok_or_else(|| malformed("The token's type is not a string."))?),
        };
        let typ = typ.map(str::to_ascii_lowercase);
        match (profile, typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ))) {
            (_, Some("at+jwt")) | (TokenProfile::Okta, None | Some("jwt")) => Ok(()),
            (TokenProfile::Rfc9068, None) => Err(Rejection::new(
                Reason::WrongTokenType,
                "The token's header does not say that it is an access token.",
            )),
            _ => Err(Rejection::new(Reason::WrongTokenType, "The token's header says that it is no access token.")),
        }
    }

    /// Whether this key made the signature with this algorithm.
    pub(crate) fn is_signed_by(&self, key: &Key, algorithm: Algorithm) -> bool {
        self.compact.is_signed_by(key.public(), algorithm)
    }
}

fn refusal(error: CompactError) -> Rejection {
    match error {
        CompactError::Parts => malformed("The token is not three base64url parts of a signed JWT."),
        CompactError::Header => malformed("The token's header is not a JSON object with unique names."),
        CompactError::Extension => malformed("The token's header asks for an extension that is not supported."),
        CompactError::NoAlgorithm => malformed("The token's header names no algorithm."),
        CompactError::Algorithm => {
            Rejection::new(Reason::UnsupportedAlgorithm, "The token is signed with an algorithm that is not accepted.")
        }
    }
}

fn malformed(detail: &'static str) -> Rejection {
    Rejection::new(Reason::MalformedToken, detail)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const CLAIMS: &str = r#"{"iss":"x"}"#;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn reason(token: &str) -> Option<Reason> {
        reason_under(TokenProfile::Okta, token)
    }

    fn reason_under(profile: TokenProfile, token: &str) -> Option<Reason> {
        let header = Jws::parse(token).and_then(|jws| jws.check_header(&[Algorithm::Rs256], profile));
        header.err().map(|rejection| rejection.reason)
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
    fn rfc_9068_takes_its_own_type_only() {
        for (header, expected) in [
            (r#"{"alg":"RS256","typ":"at+jwt"}"#, None),
            (r#"{"alg":"RS256","typ":"AT+JWT"}"#, None),
            (r#"{"alg":"RS256","typ":"application/at+jwt"}"#, None),
            (r#"{"alg":"RS256"}"#, Some(Reason::WrongTokenType)),
            (r#"{"alg":"RS256","typ":"JWT"}"#, Some(Reason::WrongTokenType)),
            (r#"{"alg":"RS256","typ":"dpop+jwt"}"#, Some(Reason::WrongTokenType)),
            (r#"{"alg":"RS256","typ":"text/at+jwt"}"#, Some(Reason::WrongTokenType)),
            (r#"{"alg":"RS256","typ":["at+jwt"]}"#, Some(Reason::MalformedToken)),
            (r#"{"alg":"none","typ":"at+jwt"}"#, Some(Reason::UnsupportedAlgorithm)),
        ] {
            assert_eq!(reason_under(TokenProfile::Rfc9068, &token(header, CLAIMS)), expected, "{header}");
        }
    }

    #[test]
    fn what_is_no_jws_or_holds_no_claims_is_malformed() {
        let good = token(r#"{"alg":"RS256"}"#, CLAIMS);
        assert_eq!(reason(&good), None);
        let (input, _) = good.rsplit_once('.').unwrap();
        let cases = [
            ("no signature", format!("{input}.")),
            ("header no object", token("[]", CLAIMS)),
            ("claims no object", token(r#"{"alg":"RS256"}"#, "[]")),
            ("claims repeat a name", token(r#"{"alg":"RS256"}"#, r#"{"iss":"x","iss":"x"}"#)),
            ("claims no JSON", token(r#"{"alg":"RS256"}"#, "iss=x")),
        ];
        for (name, text) in cases {
            assert_eq!(reason(&text), Some(Reason::MalformedToken), "{name}");
        }
    }
}
