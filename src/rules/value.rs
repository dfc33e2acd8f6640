//! CEL values, lent from the inputs wherever they can be. Numbers compare across their kinds, values of different kinds
//! are never equal, and what has no order has none here. Pure; the meter is charged by those who loop.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::EvaluationError;
use crate::eval::Meter;

#[derive(Debug, Clone)]
pub(crate) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'v>),
    List(List<'v>),
    Map(&'v Map<String, Json>),
}

/// Text of the inputs, or some that the rule made. Cloning copies none of it.
#[derive(Debug, Clone)]
pub(crate) enum Text<'v> {
    Lent(&'v str),
    Made(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// A list of the inputs, or one that the rule made. Cloning copies no element.
#[derive(Debug, Clone)]
pub(crate) enum List<'v> {
    Lent(&'v [Json]),
    Made(Arc<[Value<'v>]>),
}

/// A member by its name. Looking it up reads the name once for each halving of the map at most.
pub(crate) fn member<'v>(
    of: &'v Map<String, Json>,
    name: &str,
    meter: &mut Meter,
) -> Result<Option<Value<'v>>, EvaluationError> {
    let halvings = of.len().checked_ilog2().map_or(0, |halvings| halvings as usize);
    meter.charge(halvings)?;
    meter.charge_bytes((1 + halvings) * name.len())?;
    Ok(of.get(name).map(Value::of))
}

impl<'v> List<'v> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Lent(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<Value<'v>> {
        match self {
            Self::Lent(items) => items.get(at).map(Value::of),
            Self::Made(items) => items.get(at).cloned(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Value<'v>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'v> Value<'v> {
    /// A value of the inputs. Whole numbers stay whole.
    pub(crate) fn of(json: &'v Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(int), ..) => Self::Int(int),
                (None, Some(uint), _) => Self::Uint(uint),
                (None, None, double) => Self::Double(double.unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::List(List::Lent(items)),
            Json::Object(members) => Self::Map(members),
        }
    }

    pub(crate) fn text(text: &'v str) -> Self {
        Self::Text(Text::Lent(text))
    }

    /// Text of our own.
    pub(crate) fn made(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    /// Whether it is true, false or a number.
    pub(crate) fn is_scalar(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Int(_) | Self::Uint(_) | Self::Double(_))
    }

    /// CEL's `==`.
    pub(crate) fn equals(&self, other: &Self, meter: &mut Meter) -> Result<bool, EvaluationError> {
        meter.charge(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => {
                // Texts of different lengths are told apart at once.
                if a.len() == b.len() {
                    meter.charge_bytes(a.len())?;
                }
                **a == **b
            }
            (Self::List(a), Self::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !a.equals(&b, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (name, a) in *a {
                    match member(b, name, meter)? {
                        Some(b) if Value::of(a).equals(&b, meter)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            _ => self.numeric_order(other) == Some(Ordering::Equal),
        })
    }

    /// CEL's `<` and its like.
    pub(crate) fn order(&self, other: &Self, meter: &mut Meter) -> Result<Ordering, EvaluationError> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => {
                meter.charge_bytes(a.len().min(b.len()))?;
                Ok((**a).cmp(b))
            }
            _ => self.numeric_order(other).ok_or(EvaluationError::WrongType),
        }
    }

    /// `None` unless both are numbers and neither is NaN.
    fn numeric_order(&self, other: &Self) -> Option<Ordering> {
        let whole = |value: &Self| match value {
            Self::Int(int) => Some(i128::from(*int)),
            Self::Uint(uint) => Some(i128::from(*uint)),
            _ => None,
        };
        let double = |value: &Self| match value {
            Self::Double(double) => Some(*double),
            other => whole(other).map(|whole| whole as f64),
        };
        match (whole(self), whole(other)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => double(self)?.partial_cmp(&double(other)?),
        }
    }
}
