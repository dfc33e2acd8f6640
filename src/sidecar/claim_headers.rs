//! Decides how a token's claims are written into headers for the app, once a token. Pure. The app sees exactly what the
//! issuer said, or the request is refused: nothing is cut, replaced or left out, for who can choose a claim's value could
//! else choose not to be seen.

use http::{HeaderName, HeaderValue};
use serde_json::{Number, Value};
use tollgate_contract::{ArrayForm, ClaimHeader};

use crate::header_names::{check_claim_header, resembles};
use crate::jose::Object;

/// More would make a request's head too long for most apps.
const MAX_HEADERS: usize = 32;
/// As long as a token may be: an app that takes tokens takes this.
const LONGEST_VALUE: usize = 16 * 1024;
/// Integers beyond are not exact where numbers are doubles, ours included (RFC 8259 section 6).
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// The claims that a policy hands to the app.
#[derive(Debug, Default)]
pub(crate) struct ClaimHeaders(Box<[Rule]>);

#[derive(Debug)]
struct Rule {
    claim: Box<[String]>,
    header: HeaderName,
    arrays: ArrayForm,
}

/// What a token's claims are as headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenClaims {
    /// Those that the token has.
    Headers(Box<[(HeaderName, HeaderValue)]>),
    /// One of them cannot stand in a header.
    Unwritable,
}

impl Default for WrittenClaims {
    fn default() -> Self {
        Self::Headers(Box::default())
    }
}

impl WrittenClaims {
    /// About what they take in memory.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Headers(headers) => {
                headers.iter().map(|(_, value)| (size_of::<(HeaderName, HeaderValue)>() + value.len()) as u64).sum()
            }
            Self::Unwritable => 0,
        }
    }
}

impl ClaimHeaders {
    /// Reads a policy's rules.
    ///
    /// # Errors
    /// The name of the header that cannot be, and why, as the end of a sentence.
    pub(crate) fn new(rules: &[ClaimHeader]) -> Result<Self, (String, &'static str)> {
        let compile = |(at, rule): (usize, &ClaimHeader)| {
            let problem = |problem| (rule.header.clone(), problem);
            check_claim_header(&rule.header).map_err(problem)?;
            if at == MAX_HEADERS {
                return Err(problem("is one too many; 32 fit"));
            }
            if rules[..at].iter().any(|other| resembles(&other.header, &rule.header)) {
                return Err(problem("is there twice"));
            }
            if rule.claim.is_empty() || rule.claim.iter().any(String::is_empty) {
                return Err(problem("has no claim"));
            }
            let header = HeaderName::try_from(&rule.header).map_err(|_| problem("is no name of a header"))?;
            Ok(Rule { claim: rule.claim.clone().into(), header, arrays: rule.arrays })
        };
        rules.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// The headers' names; nobody else may set them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> + Clone {
        self.0.iter().map(|rule| &rule.header)
    }

    /// Writes what these claims hold. A claim that is not there, or null, has no header.
    pub(crate) fn write(&self, claims: &Object) -> WrittenClaims {
        let written = self.0.iter().filter_map(|rule| {
            let value = rule.find(claims)?;
            Some(text(value, rule.arrays).and_then(|text| header(&text)).map(|value| (rule.header.clone(), value)))
        });
        written.collect::<Option<_>>().map_or(WrittenClaims::Unwritable, WrittenClaims::Headers)
    }
}

impl Rule {
    fn find<'a>(&self, claims: &'a Object) -> Option<&'a Value> {
        let (first, inner) = self.claim.split_first()?;
        let value = inner.iter().try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))?;
        (!value.is_null()).then_some(value)
    }
}

/// A claim's text; `None` where it has none that a reader takes for this value alone.
fn text(value: &Value, arrays: ArrayForm) -> Option<String> {
    match (value, arrays) {
        (Value::Array(items), ArrayForm::Comma) => {
            // An empty element, or one with a comma, would make another list.
            let element =
                |item| scalar(item).filter(|text| !text.is_empty() && !text.contains(',') && is_trimmed(text));
            items.iter().map(element).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        (Value::Array(_), ArrayForm::Json) => json(value),
        _ => scalar(value),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => is_exact(number).then(|| number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// JSON in ASCII: what is beyond is escaped in UTF-16 (RFC 8259 section 7).
fn json(value: &Value) -> Option<String> {
    use std::fmt::Write;

    if !has_exact_numbers(value) {
        return None;
    }
    let mut ascii = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && c != '\u{7f}' {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    Some(ascii)
}

fn has_exact_numbers(value: &Value) -> bool {
    match value {
        Value::Number(number) => is_exact(number),
        Value::Array(items) => items.iter().all(has_exact_numbers),
        Value::Object(members) => members.values().all(has_exact_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Whether it is still what the issuer wrote.
fn is_exact(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|value| value.abs() < LARGEST_EXACT)
}

/// Readers of headers trim blanks.
fn is_trimmed(text: &str) -> bool {
    text.trim() == text
}

/// Printable ASCII alone: no line break, no NUL, nothing that the app would have to guess the encoding of.
fn header(text: &str) -> Option<HeaderValue> {
    let safe =
        text.len() <= LONGEST_VALUE && is_trimmed(text) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if safe { HeaderValue::from_str(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(claim: &[&str], arrays: ArrayForm) -> ClaimHeader {
        let claim = claim.iter().map(|name| (*name).to_owned()).collect();
        ClaimHeader { claim, header: "x-claim".into(), arrays }
    }

    /// The header's value; `None` where there is none.
    fn written(value: &Value, arrays: ArrayForm) -> Result<Option<String>, ()> {
        let headers = ClaimHeaders::new(&[rule(&["c"], arrays)]).unwrap();
        match headers.write(json!({"c": value, "d": 1}).as_object().unwrap()) {
            WrittenClaims::Headers(headers) => Ok(headers.first().map(|(_, value)| value.to_str().unwrap().to_owned())),
            WrittenClaims::Unwritable => Err(()),
        }
    }

    #[test]
    fn values_are_written_as_the_issuer_said_them() {
        for (value, expected) in [
            (json!("ada@example.test"), "ada@example.test"),
            (json!("a, b; \"c\" \\ ~"), "a, b; \"c\" \\ ~"),
            (json!(""), ""),
            (json!(true), "true"),
            (json!(false), "false"),
            (json!(0), "0"),
            (json!(-7), "-7"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(1.5), "1.5"),
        ] {
            assert_eq!(written(&value, ArrayForm::Json), Ok(Some(expected.into())));
        }
        assert_eq!(written(&json!(null), ArrayForm::Json), Ok(None));
    }

    #[test]
    fn arrays_are_json_in_ascii_or_joined_by_commas() {
        for (value, as_json, as_comma) in [
            (json!(["admins", "ops"]), Ok(r#"["admins","ops"]"#), Ok("admins,ops")),
            (json!([]), Ok("[]"), Ok("")),
            (json!([1, true, "x"]), Ok(r#"[1,true,"x"]"#), Ok("1,true,x")),
            (json!(["a,b"]), Ok(r#"["a,b"]"#), Err(())),
            (json!(["a", ""]), Ok(r#"["a",""]"#), Err(())),
            (json!([" a"]), Ok(r#"[" a"]"#), Err(())),
            (json!(["a", null]), Ok(r#"["a",null]"#), Err(())),
            (json!([["a"]]), Ok(r#"[["a"]]"#), Err(())),
            (json!([{"a": 1}]), Ok(r#"[{"a":1}]"#), Err(())),
            (json!(["J\u{f6}rg", "\u{1f600}"]), Ok(r#"["J\u00f6rg","\ud83d\ude00"]"#), Err(())),
            (json!(["a\r\nx-admin: 1", "\u{0}\u{7f}"]), Ok(r#"["a\r\nx-admin: 1","\u0000\u007f"]"#), Err(())),
            (json!([1e300]), Err(()), Err(())),
        ] {
            assert_eq!(written(&value, ArrayForm::Json), as_json.map(|text| Some(text.to_owned())), "{value}");
            assert_eq!(written(&value, ArrayForm::Comma), as_comma.map(|text| Some(text.to_owned())), "{value}");
            if let Ok(text) = as_json {
                assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value, "nothing is lost");
            }
        }
    }

    #[test]
    fn what_no_header_can_carry_unchanged_is_not_written() {
        for value in [
            json!("a\r\nx-admin: 1"),
            json!("a\nb"),
            json!("a\rb"),
            json!("a\u{0}b"),
            json!("a\tb"),
            json!("\u{7f}"),
            json!("J\u{f6}rg"),
            json!("\u{2028}"),
            json!(" a"),
            json!("a "),
            json!({"a": 1}),
            json!(1e20),
            json!("x".repeat(LONGEST_VALUE + 1)),
            json!(["\u{f6}".repeat(LONGEST_VALUE / 6 + 1)]),
        ] {
            assert_eq!(written(&value, ArrayForm::Json), Err(()), "{value}");
        }
    }

    #[test]
    fn a_path_leads_through_members_and_nowhere_else() {
        let claims = json!({"a": {"b": {"c": "deep"}, "n": null}, "a.b": "flat", "s": "text", "l": [{"x": 1}]});
        let find = |claim: &[&str]| {
            let headers = ClaimHeaders::new(&[rule(claim, ArrayForm::Json)]).unwrap();
            match headers.write(claims.as_object().unwrap()) {
                WrittenClaims::Headers(headers) => headers.first().map(|(_, value)| value.clone()),
                WrittenClaims::Unwritable => panic!("unwritable"),
            }
        };
        assert_eq!(find(&["a", "b", "c"]).unwrap(), "deep");
        assert_eq!(find(&["a.b"]).unwrap(), "flat");
        for nowhere in [&["x"][..], &["a", "x"], &["s", "t"], &["a", "n"], &["a", "n", "x"], &["l", "0"]] {
            assert_eq!(find(nowhere), None, "{nowhere:?}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let refused = |rules: &[ClaimHeader]| ClaimHeaders::new(rules).unwrap_err().1;
        let named = |header: &str| ClaimHeader { header: header.into(), ..rule(&["c"], ArrayForm::Json) };
        assert_eq!(refused(&[named("x-a"), named("x-b"), named("x-a")]), "is there twice");
        assert_eq!(refused(&[rule(&[], ArrayForm::Json)]), "has no claim");
        assert_eq!(refused(&[rule(&["a", ""], ArrayForm::Json)]), "has no claim");
        assert_eq!(refused(&[named("x-tollgate-subject")]), "starts with x-tollgate-, which is the sidecar's own");
        let many: Vec<_> = (0..=MAX_HEADERS).map(|n| named(&format!("x-{n}"))).collect();
        assert_eq!(refused(&many), "is one too many; 32 fit");
    }
}
