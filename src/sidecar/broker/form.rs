//! Reads `application/x-www-form-urlencoded` bodies strictly (RFC 6749 appendix B): UTF-8, no parameter twice. Pure.

use std::collections::HashMap;

use percent_encoding::percent_decode;

/// A token request has six parameters at most; extensions add a few.
const MOST_PARAMETERS: usize = 32;

/// Why a body is no form that can be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormError {
    NotUtf8,
    Repeated,
    TooMany,
}

/// The parameters of a form. Values may be secrets: there is no `Debug`.
pub(super) struct Form(HashMap<String, String>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut parameters = HashMap::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            let value = value.strip_prefix(b"=").unwrap_or(value);
            if parameters.len() == MOST_PARAMETERS {
                return Err(FormError::TooMany);
            }
            if parameters.insert(decode(name)?, decode(value)?).is_some() {
                return Err(FormError::Repeated);
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's value; a parameter without a value counts as omitted (RFC 6749 section 3.2).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Undoes the form encoding of one name or value.
pub(super) fn decode(text: &[u8]) -> Result<String, FormError> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    String::from_utf8(percent_decode(&spaced).collect()).map_err(|_| FormError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_empty_values_count_as_omitted() {
        let form = Form::parse(b"grant_type=client_credentials&scope=a+b%20c&empty=&bare&&%C3%A4=1%3D2").ok().unwrap();
        assert_eq!(form.get("grant_type"), Some("client_credentials"));
        assert_eq!(form.get("scope"), Some("a b c"));
        assert_eq!(form.get("ä"), Some("1=2"));
        for absent in ["empty", "bare", "missing"] {
            assert_eq!(form.get(absent), None, "{absent}");
        }
        assert!(Form::parse(b"").is_ok());
    }

    #[test]
    fn a_form_that_two_readers_might_read_differently_is_refused() {
        let many = (0..=MOST_PARAMETERS).map(|nth| format!("p{nth}=1")).collect::<Vec<_>>().join("&");
        let cases: [(&[u8], FormError); 5] = [
            (b"scope=a&scope=b", FormError::Repeated),
            (b"scope=a&scope=", FormError::Repeated),
            (b"scope=a&s%63ope=a", FormError::Repeated),
            (b"scope=%ff", FormError::NotUtf8),
            (many.as_bytes(), FormError::TooMany),
        ];
        for (body, error) in cases {
            assert_eq!(Form::parse(body).err(), Some(error), "{}", String::from_utf8_lossy(body));
        }
    }
}
