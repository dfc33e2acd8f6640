//! The compact form of a signature, read strictly (RFC 7515 section 7.1). Pure; nothing in it is trusted yet. Which
//! algorithms are allowed is given, never taken from the header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::{self, Object};
use super::{Algorithm, PublicKey};

/// Header parameters that change how the rest is to be read: none of them is implemented, and a reader that skips one
/// reads something else than was signed (RFC 7515 section 4.1.11, RFC 7797).
const EXTENSIONS: [&str; 3] = ["crit", "b64", "zip"];

/// A well-formed signed message.
pub(crate) struct Compact<'a> {
    header: Object,
    payload: Vec<u8>,
    signing_input: &'a str,
    signature: Vec<u8>,
}

/// What is wrong with a signed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompactError {
    /// Not three parts, one of them empty, or not canonical base64url without padding.
    #[error("it is not three base64url parts")]
    Parts,
    /// Not JSON, no object, or a name twice.
    #[error("its header is not a JSON object with unique names")]
    Header,
    /// `crit`, `b64` or `zip`.
    #[error("its header asks for an extension that is not supported")]
    Extension,
    /// `alg` is missing or no string.
    #[error("its header names no algorithm")]
    NoAlgorithm,
    /// `alg` is none of those allowed; `none` and the symmetric ones never are.
    #[error("its algorithm is not allowed")]
    Algorithm,
}

impl<'a> Compact<'a> {
    /// Exactly three non-empty unpadded base64url parts, the first one a JSON object without repeated names.
    pub(crate) fn parse(text: &'a str) -> Result<Self, CompactError> {
        let (signing_input, signature) = text.rsplit_once('.').ok_or(CompactError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(CompactError::Parts)?;
        let header = json::object(&decode(header)?).ok_or(CompactError::Header)?;
        Ok(Self { header, payload: decode(payload)?, signing_input, signature: decode(signature)? })
    }

    /// The JOSE header. `jwk`, `jku`, `x5u`, `x5c` and `x5t` in it are a stranger's words.
    pub(crate) fn header(&self) -> &Object {
        &self.header
    }

    /// What was signed, decoded.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The algorithm that the header names, if it is one of `allowed` and the header asks for nothing unknown.
    pub(crate) fn algorithm(&self, allowed: &[Algorithm]) -> Result<Algorithm, CompactError> {
        if EXTENSIONS.iter().any(|name| self.header.contains_key(*name)) {
            return Err(CompactError::Extension);
        }
        let name = self.header.get("alg").and_then(|alg| alg.as_str()).ok_or(CompactError::NoAlgorithm)?;
        allowed.iter().copied().find(|algorithm| algorithm.as_str() == name).ok_or(CompactError::Algorithm)
    }

    /// Whether this key made the signature with this algorithm.
    pub(crate) fn is_signed_by(&self, key: &PublicKey, algorithm: Algorithm) -> bool {
        key.verifies(algorithm, self.signing_input.as_bytes(), &self.signature)
    }
}

/// The engine refuses padding, whitespace, the standard alphabet and trailing bits that are not zero.
fn decode(part: &str) -> Result<Vec<u8>, CompactError> {
    match URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(CompactError::Parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(header: &str, payload: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn three_parts_are_read_and_the_payload_may_be_anything() {
        let text = signed(r#"{"alg":"ES256"}"#, "no JSON");
        let compact = Compact::parse(&text).unwrap();
        assert_eq!(compact.header().get("alg").unwrap(), "ES256");
        assert_eq!(compact.payload(), b"no JSON");
    }

    #[test]
    fn what_is_not_exactly_three_base64url_parts_is_refused() {
        let good = signed(r#"{"alg":"RS256"}"#, "{}");
        let (input, _) = good.rsplit_once('.').unwrap();
        let (header, payload) = input.split_once('.').unwrap();
        for (name, text) in [
            ("nothing", String::new()),
            ("dots", "..".into()),
            ("no signature", format!("{input}.")),
            ("no payload", format!("{header}..AAAA")),
            ("no header", format!(".{payload}.AAAA")),
            ("two parts", input.to_owned()),
            ("four parts", format!("{good}.AAAA")),
            ("padding", format!("{input}.AAA=")),
            ("standard alphabet", format!("{input}.A+/A")),
            ("trailing bits", format!("{input}.AB")),
            ("impossible length", format!("{input}.AAAAA")),
            ("whitespace", format!("{input}.AA AA")),
            ("leading whitespace", format!(" {good}")),
            ("line break", format!("{good}\n")),
            ("JSON serialization", r#"{"payload":"e30","signature":"AAAA","protected":"e30"}"#.into()),
        ] {
            assert_eq!(Compact::parse(&text).err(), Some(CompactError::Parts), "{name}");
        }
        for header in ["[]", r#""RS256""#, "alg=RS256", r#"{"alg":"RS256","alg":"RS256"}"#, "{\"alg\":\"\u{0}\"}"] {
            assert_eq!(Compact::parse(&signed(header, "{}")).err(), Some(CompactError::Header), "{header}");
        }
    }

    #[test]
    fn only_an_allowed_algorithm_is_taken_whatever_the_header_wishes() {
        let allowed = [Algorithm::Rs256, Algorithm::EdDsa];
        let algorithm = |header: &str| Compact::parse(&signed(header, "{}")).unwrap().algorithm(&allowed);
        assert_eq!(algorithm(r#"{"alg":"RS256"}"#), Ok(Algorithm::Rs256));
        assert_eq!(algorithm(r#"{"alg":"EdDSA","kid":"k"}"#), Ok(Algorithm::EdDsa));
        for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS512", "PS256", "ES256", "rs256", " RS256"]
        {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(algorithm(&header), Err(CompactError::Algorithm), "{header}");
        }
        for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#, r#"{"alg":256}"#, r#"{"Alg":"RS256"}"#] {
            assert_eq!(algorithm(header), Err(CompactError::NoAlgorithm), "{header}");
        }
        for header in [
            r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"RS256","b64":true}"#,
            r#"{"alg":"RS256","zip":"DEF"}"#,
        ] {
            assert_eq!(algorithm(header), Err(CompactError::Extension), "{header}");
        }
    }
}
