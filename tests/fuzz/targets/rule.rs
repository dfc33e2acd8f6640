//! Any rule on any claims: up to the first NUL byte the source, then the claims as JSON. What compiles takes no more than
//! its budget of steps, says the same each time, and says what the `cel` crate says.

#![no_main]

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tollgate_rules::{EvaluationError, Inputs, Rule};

const METHOD: &str = "GET";
const PATH: &str = "/items/ada";
const CLIENT: &str = "cli-1";
const HEADER: (&str, &str) = ("x-tenant", "blue");

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (source, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(source) = std::str::from_utf8(source) else { return };
    let claims: Map<String, Value> = serde_json::from_slice(claims).unwrap_or_default();
    match Rule::compile(source) {
        Ok(rule) => evaluate(source, &rule, &claims),
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1, "{error}");
            assert!((1..500).contains(&error.message.len()), "{error}");
        }
    }
});

fn evaluate(source: &str, rule: &Rule, claims: &Map<String, Value>) {
    let headers = HeaderMap::from_iter([(HeaderName::from_static(HEADER.0), HeaderValue::from_static(HEADER.1))]);
    let inputs = Inputs { claims, method: METHOD, path: PATH, headers: &headers, client: Some(CLIENT) };
    let outcome = rule.holds(&inputs);
    assert_eq!(outcome, rule.holds(&inputs), "another answer to the same question");
    // The crate has no budget, and no regular expressions as it is built here.
    if outcome == Err(EvaluationError::TooMuchWork) || source.contains("matches") {
        return;
    }
    let Ok(program) = cel::Program::compile(source) else { return };
    let mut context = cel::Context::default();
    context.add_variable_from_value("claims", for_the_crate(&Value::Object(claims.clone())));
    let request =
        serde_json::json!({"method": METHOD, "path": PATH, "client": CLIENT, "headers": {HEADER.0: HEADER.1}});
    context.add_variable_from_value("request", for_the_crate(&request));
    let expected = match program.execute(&context) {
        Ok(cel::Value::Bool(holds)) => Some(holds),
        _ => None,
    };
    assert_eq!(outcome.ok(), expected, "not as CEL has it: {source:?}");
}

/// The crate's own conversion makes every whole number that is not negative an unsigned one.
fn for_the_crate(json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => cel::Value::Int(int),
            (None, Some(uint)) => cel::Value::UInt(uint),
            _ => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::from(text.as_str()),
        Value::Array(items) => cel::Value::from(items.iter().map(for_the_crate).collect::<Vec<_>>()),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.as_str(), for_the_crate(value)));
            cel::Value::from(members.collect::<HashMap<_, _>>())
        }
    }
}
