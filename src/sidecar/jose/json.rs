//! JSON objects in which no member name repeats, at any depth: two readers of the same token must not be able to see
//! different values (RFC 7515 section 4, RFC 7519 section 4). Pure.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// Reads an object; `None` when the bytes are anything else.
pub(crate) fn object(bytes: &[u8]) -> Option<Object> {
    match serde_json::from_slice(bytes) {
        Ok(Strict(Value::Object(object))) => Some(object),
        _ => None,
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated names")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a repeated name"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_is_kept() {
        let text = r#"{"a": [1, -1, 1.5, true, null, "x", {"b": {}}], "c": "\u00e4"}"#;
        let expected = json!({"a": [1, -1, 1.5, true, null, "x", {"b": {}}], "c": "ä"});
        assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), expected);
    }

    #[test]
    fn what_two_readers_might_read_differently_is_refused() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(1_000), "}".repeat(1_000));
        let cases: [&[u8]; 14] = [
            br#"{"a": 1, "a": 1}"#,
            br#"{"a": 1, "\u0061": 2}"#,
            br#"{"a": {"b": 1, "b": 2}}"#,
            br#"{"a": [{"b": 1, "b": 2}]}"#,
            br#"{"a": 1} x"#,
            br#"{"a": 1,}"#,
            br#"{"a": 1e999}"#,
            br#"{"a": NaN}"#,
            br#"{"a": "\ud800"}"#,
            b"{\"a\": \"\xff\"}",
            b"\xef\xbb\xbf{}",
            b"[]",
            b"",
            deep.as_bytes(),
        ];
        for text in cases {
            assert!(object(text).is_none(), "{}", String::from_utf8_lossy(text));
        }
    }
}
