//! The functions that rules may call, and what they do. Pure.

use crate::EvaluationError;
use crate::eval::Meter;
use crate::value::Value;

/// Steps to read a fraction from text or to write one: the exact digits of some take 40 µs, however short they are.
const FRACTION: usize = 500;

/// A function by its meaning; the ones of two values are called on the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Double,
    String,
}

/// What a message offers when a function is unknown.
pub(crate) const OFFERED: &str = "size, contains, startsWith, endsWith, matches, int, double, string, has, all, \
                                  exists, exists_one, map and filter";

impl Function {
    /// The function that `name` is with this many values, the one it is called on included.
    pub(crate) fn named(name: &str, is_called_on: bool, values: usize) -> Option<Self> {
        Some(match (name, is_called_on, values) {
            ("size", _, 1) => Self::Size,
            ("contains", true, 2) => Self::Contains,
            ("startsWith", true, 2) => Self::StartsWith,
            ("endsWith", true, 2) => Self::EndsWith,
            ("int", false, 1) => Self::Int,
            ("double", false, 1) => Self::Double,
            ("string", false, 1) => Self::String,
            _ => return None,
        })
    }

    /// Whether it makes a number or a text.
    pub(crate) fn is_never_boolean(self) -> bool {
        match self {
            Self::Size | Self::Int | Self::Double | Self::String => true,
            Self::Contains | Self::StartsWith | Self::EndsWith => false,
        }
    }

    /// Applies it.
    pub(crate) fn apply<'v>(self, values: &[Value<'v>], meter: &mut Meter) -> Result<Value<'v>, EvaluationError> {
        for value in values {
            if let Value::Text(text) = value {
                meter.charge_bytes(text.len())?;
            }
        }
        match (self, values) {
            (Self::Size, [of]) => size(of),
            (Self::Contains, [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.contains(&**part))),
            (Self::StartsWith, [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.starts_with(&**part))),
            (Self::EndsWith, [Value::Text(text), Value::Text(part)]) => Ok(Value::Bool(text.ends_with(&**part))),
            (Self::Int, [of]) => int(of),
            (Self::Double, [of]) => double(of, meter),
            (Self::String, [of]) => string(of, meter),
            _ => Err(EvaluationError::WrongType),
        }
    }
}

/// Characters of a text, elements of a list, members of a map.
fn size<'v>(of: &Value<'_>) -> Result<Value<'v>, EvaluationError> {
    let size = match of {
        Value::Text(text) => text.chars().count(),
        Value::List(list) => list.len(),
        Value::Map(members) => members.len(),
        _ => return Err(EvaluationError::WrongType),
    };
    i64::try_from(size).map(Value::Int).map_err(|_| EvaluationError::Arithmetic)
}

fn int<'v>(of: &Value<'_>) -> Result<Value<'v>, EvaluationError> {
    // Beyond it a double no longer says which whole number is meant.
    const BOUND: f64 = i64::MAX as f64;
    let int = match of {
        Value::Int(int) => Some(*int),
        Value::Uint(uint) => i64::try_from(*uint).ok(),
        Value::Double(double) => (-BOUND < *double && *double < BOUND).then_some(*double as i64),
        Value::Text(text) => text.parse().ok(),
        _ => return Err(EvaluationError::WrongType),
    };
    int.map(Value::Int).ok_or(EvaluationError::Arithmetic)
}

fn double<'v>(of: &Value<'_>, meter: &mut Meter) -> Result<Value<'v>, EvaluationError> {
    let double = match of {
        Value::Int(int) => Some(*int as f64),
        Value::Uint(uint) => Some(*uint as f64),
        Value::Double(double) => Some(*double),
        Value::Text(text) => {
            meter.charge(FRACTION)?;
            text.parse().ok()
        }
        _ => return Err(EvaluationError::WrongType),
    };
    double.map(Value::Double).ok_or(EvaluationError::Arithmetic)
}

fn string<'v>(of: &Value<'v>, meter: &mut Meter) -> Result<Value<'v>, EvaluationError> {
    let text = match of {
        Value::Bool(value) => value.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Uint(uint) => uint.to_string(),
        Value::Double(double) => {
            meter.charge(FRACTION)?;
            double.to_string()
        }
        Value::Text(_) => return Ok(of.clone()),
        _ => return Err(EvaluationError::WrongType),
    };
    Ok(Value::made(text))
}
