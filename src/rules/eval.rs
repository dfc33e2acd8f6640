//! Evaluates a rule on a request, a bounded number of steps. `&&`, `||`, `all` and `exists` are CEL's: an operand that
//! decides the result does so even beside one that fails. Pure; allocates only what the rule itself makes.

use http::HeaderName;

use crate::expr::{Binary, Expr, Loop};
use crate::value::{List, Text, Value, member};
use crate::{EvaluationError, Inputs};

type Outcome<'v> = Result<Value<'v>, EvaluationError>;

/// Bytes that are compared or copied in the time of one step.
const BYTES_PER_STEP: usize = 64;

/// Whether the expression is true, and the steps that it took to say so.
pub(crate) fn evaluate(expr: &Expr, inputs: &Inputs<'_>, budget: u64) -> (Result<bool, EvaluationError>, u64) {
    let mut evaluation = Evaluation { inputs, meter: Meter { left: budget } };
    let outcome = match evaluation.value(expr, None) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(_) => Err(EvaluationError::NotBoolean),
        Err(error) => Err(error),
    };
    (outcome, budget - evaluation.meter.left)
}

/// Counts the steps of one evaluation down.
pub(crate) struct Meter {
    left: u64,
}

impl Meter {
    pub(crate) fn charge(&mut self, steps: usize) -> Result<(), EvaluationError> {
        let left = u64::try_from(steps).ok().and_then(|steps| self.left.checked_sub(steps));
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(EvaluationError::TooMuchWork)
    }

    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.charge(bytes / BYTES_PER_STEP)
    }
}

/// The elements that the loops around an expression are at.
#[derive(Clone, Copy)]
struct Scope<'s, 'v> {
    item: &'s Value<'v>,
    outer: Option<&'s Scope<'s, 'v>>,
}

struct Evaluation<'v> {
    inputs: &'v Inputs<'v>,
    meter: Meter,
}

impl<'v> Evaluation<'v> {
    fn value(&mut self, expr: &'v Expr, scope: Option<&Scope<'_, 'v>>) -> Outcome<'v> {
        self.meter.charge(1)?;
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Claims => Ok(Value::Map(self.inputs.claims)),
            Expr::Method => Ok(Value::text(self.inputs.method)),
            Expr::Path => Ok(Value::text(self.inputs.path)),
            Expr::Client => self.inputs.client.map(Value::text).ok_or(EvaluationError::Missing),
            Expr::HasClient => Ok(Value::Bool(self.inputs.client.is_some())),
            Expr::Header(name) => self.header(name)?.ok_or(EvaluationError::Missing),
            Expr::HasHeader(name) => Ok(Value::Bool(self.header(name)?.is_some())),
            Expr::Item(level) => {
                let at = std::iter::successors(scope, |scope| scope.outer).nth(*level);
                at.map(|scope| scope.item.clone()).ok_or(EvaluationError::Missing)
            }
            Expr::Member(of, name) => self.member(of, name, scope)?.ok_or(EvaluationError::Missing),
            Expr::Has(of, name) => Ok(Value::Bool(self.member(of, name, scope)?.is_some())),
            Expr::Index(of, at) => {
                let of = self.value(of, scope)?;
                let at = self.value(at, scope)?;
                index(&of, &at, &mut self.meter)
            }
            Expr::Not(of) => Ok(Value::Bool(!self.condition(of, scope)?)),
            Expr::Negate(of) => negate(&self.value(of, scope)?),
            Expr::Logic(neutral, a, b) => self.logic(*neutral, [a, b], scope),
            Expr::Choice(condition, then, otherwise) => {
                let chosen = if self.condition(condition, scope)? { then } else { otherwise };
                self.value(chosen, scope)
            }
            Expr::Binary(operator, a, b) => {
                let a = self.value(a, scope)?;
                let b = self.value(b, scope)?;
                self.binary(*operator, &a, &b)
            }
            Expr::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.value(item, scope)).collect();
                Ok(Value::List(List::Made(items?.into())))
            }
            Expr::Call(function, values) => {
                let values: Result<Vec<_>, _> = values.iter().map(|value| self.value(value, scope)).collect();
                function.apply(&values?, &mut self.meter)
            }
            Expr::Matches(text, pattern) => {
                let text = self.text(text, scope)?;
                // A look-up for each byte, often outside the processor's cache.
                self.meter.charge_bytes(4 * text.len())?;
                Ok(Value::Bool(pattern.is_in(&text)))
            }
            Expr::Loop(kind, range, body) => self.run(*kind, range, body, scope),
            Expr::MapWhere(range, condition, body) => {
                let mut made = Vec::new();
                for item in elements(self.value(range, scope)?)? {
                    let within = Some(&Scope { item: &item, outer: scope });
                    if self.condition(condition, within)? {
                        made.push(self.value(body, within)?);
                    }
                }
                Ok(Value::List(List::Made(made.into())))
            }
        }
    }

    fn condition(&mut self, expr: &'v Expr, scope: Option<&Scope<'_, 'v>>) -> Result<bool, EvaluationError> {
        match self.value(expr, scope)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(EvaluationError::WrongType),
        }
    }

    fn text(&mut self, expr: &'v Expr, scope: Option<&Scope<'_, 'v>>) -> Result<Text<'v>, EvaluationError> {
        match self.value(expr, scope)? {
            Value::Text(text) => Ok(text),
            _ => Err(EvaluationError::WrongType),
        }
    }

    fn logic(&mut self, neutral: bool, operands: [&'v Expr; 2], scope: Option<&Scope<'_, 'v>>) -> Outcome<'v> {
        let mut failed = None;
        for operand in operands {
            if self.decides(neutral, operand, scope, &mut failed)? {
                return Ok(Value::Bool(!neutral));
            }
        }
        failed.map_or(Ok(Value::Bool(neutral)), Err)
    }

    /// Whether an operand of `&&` or `||` decides the result. An error is kept, in case no other operand does.
    fn decides(
        &mut self,
        neutral: bool,
        operand: &'v Expr,
        scope: Option<&Scope<'_, 'v>>,
        failed: &mut Option<EvaluationError>,
    ) -> Result<bool, EvaluationError> {
        match self.condition(operand, scope) {
            Ok(holds) => Ok(holds != neutral),
            Err(EvaluationError::TooMuchWork) => Err(EvaluationError::TooMuchWork),
            Err(error) => {
                failed.get_or_insert(error);
                Ok(false)
            }
        }
    }

    fn run(&mut self, kind: Loop, range: &'v Expr, body: &'v Expr, scope: Option<&Scope<'_, 'v>>) -> Outcome<'v> {
        let (mut failed, mut found, mut made) = (None, 0u32, Vec::new());
        for item in elements(self.value(range, scope)?)? {
            let within = Some(&Scope { item: &item, outer: scope });
            match kind {
                Loop::All | Loop::Exists => {
                    let neutral = kind == Loop::All;
                    if self.decides(neutral, body, within, &mut failed)? {
                        return Ok(Value::Bool(!neutral));
                    }
                }
                Loop::ExistsOne => found += u32::from(self.condition(body, within)?),
                Loop::Map => made.push(self.value(body, within)?),
                Loop::Filter => {
                    if self.condition(body, within)? {
                        made.push(item);
                    }
                }
            }
        }
        match kind {
            Loop::All | Loop::Exists => failed.map_or(Ok(Value::Bool(kind == Loop::All)), Err),
            Loop::ExistsOne => Ok(Value::Bool(found == 1)),
            Loop::Map | Loop::Filter => Ok(Value::List(List::Made(made.into()))),
        }
    }

    fn binary(&mut self, operator: Binary, a: &Value<'v>, b: &Value<'v>) -> Outcome<'v> {
        let meter = &mut self.meter;
        Ok(Value::Bool(match operator {
            Binary::Equal => a.equals(b, meter)?,
            Binary::NotEqual => !a.equals(b, meter)?,
            Binary::Less => a.order(b, meter)?.is_lt(),
            Binary::LessOrEqual => a.order(b, meter)?.is_le(),
            Binary::Greater => a.order(b, meter)?.is_gt(),
            Binary::GreaterOrEqual => a.order(b, meter)?.is_ge(),
            Binary::In => contains(b, a, meter)?,
            Binary::Add => return add(a, b, meter),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => return arithmetic(operator, a, b),
        }))
    }

    fn member(
        &mut self,
        of: &'v Expr,
        name: &str,
        scope: Option<&Scope<'_, 'v>>,
    ) -> Result<Option<Value<'v>>, EvaluationError> {
        match self.value(of, scope)? {
            Value::Map(members) => member(members, name, &mut self.meter),
            _ => Err(EvaluationError::WrongType),
        }
    }

    /// A header; several of one name are joined as RFC 9110 section 5.2 says.
    fn header(&mut self, name: &'v HeaderName) -> Result<Option<Value<'v>>, EvaluationError> {
        self.meter.charge_bytes(name.as_str().len())?;
        let mut joined: Option<Text<'v>> = None;
        for value in self.inputs.headers.get_all(name) {
            let before = joined.as_deref().map_or(0, str::len);
            self.meter.charge(1)?;
            self.meter.charge_bytes(before + value.len())?;
            // Bytes outside UTF-8 have no value in CEL.
            let value = std::str::from_utf8(value.as_bytes()).map_err(|_| EvaluationError::WrongType)?;
            joined = Some(match joined {
                None => Text::Lent(value),
                Some(before) => Text::Made([&*before, ", ", value].concat().into()),
            });
        }
        Ok(joined.map(Value::Text))
    }
}

/// A list's elements, a map's keys.
fn elements(of: Value<'_>) -> Result<impl Iterator<Item = Value<'_>>, EvaluationError> {
    let (list, members) = match of {
        Value::List(list) => (Some(list), None),
        Value::Map(members) => (None, Some(members)),
        _ => return Err(EvaluationError::WrongType),
    };
    let len = list.as_ref().map_or(0, List::len);
    let items = (0..len).filter_map(move |at| list.as_ref()?.get(at));
    let names = members.into_iter().flat_map(|members| members.keys().map(|name| Value::text(name)));
    Ok(items.chain(names))
}

fn index<'v>(of: &Value<'v>, at: &Value<'v>, meter: &mut Meter) -> Outcome<'v> {
    let found = match (of, at) {
        (Value::Map(members), Value::Text(name)) => member(members, name, meter)?,
        (Value::List(list), Value::Int(at)) => usize::try_from(*at).ok().and_then(|at| list.get(at)),
        (Value::List(list), Value::Uint(at)) => usize::try_from(*at).ok().and_then(|at| list.get(at)),
        (Value::List(list), Value::Double(at)) if *at >= 0.0 && at.fract() == 0.0 => list.get(*at as usize),
        _ => return Err(EvaluationError::WrongType),
    };
    found.ok_or(EvaluationError::Missing)
}

/// `value in of`.
fn contains<'v>(of: &Value<'v>, value: &Value<'v>, meter: &mut Meter) -> Result<bool, EvaluationError> {
    match (of, value) {
        (Value::List(list), _) => {
            for item in list.iter() {
                if item.equals(value, meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Map(members), Value::Text(name)) => Ok(member(members, name, meter)?.is_some()),
        // What could be a key of some map is not one of this.
        (Value::Map(_), other) if other.is_scalar() => Ok(false),
        _ => Err(EvaluationError::WrongType),
    }
}

fn negate<'v>(of: &Value<'v>) -> Outcome<'v> {
    match of {
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or(EvaluationError::Arithmetic),
        Value::Double(double) => Ok(Value::Double(-double)),
        _ => Err(EvaluationError::WrongType),
    }
}

fn add<'v>(a: &Value<'v>, b: &Value<'v>, meter: &mut Meter) -> Outcome<'v> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            meter.charge_bytes(a.len() + b.len())?;
            Ok(Value::made([&**a, &**b].concat()))
        }
        (Value::List(a), Value::List(b)) => {
            meter.charge(a.len() + b.len())?;
            Ok(Value::List(List::Made(a.iter().chain(b.iter()).collect())))
        }
        _ => arithmetic(Binary::Add, a, b),
    }
}

/// Numbers of one kind, as CEL has it: a mixture must be converted by the rule.
fn arithmetic<'v>(operator: Binary, a: &Value<'v>, b: &Value<'v>) -> Outcome<'v> {
    let whole = match (a, b) {
        (Value::Int(a), Value::Int(b)) => match operator {
            Binary::Add => a.checked_add(*b),
            Binary::Subtract => a.checked_sub(*b),
            Binary::Multiply => a.checked_mul(*b),
            Binary::Divide => a.checked_div(*b),
            _ => a.checked_rem(*b),
        }
        .map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => match operator {
            Binary::Add => a.checked_add(*b),
            Binary::Subtract => a.checked_sub(*b),
            Binary::Multiply => a.checked_mul(*b),
            Binary::Divide => a.checked_div(*b),
            _ => a.checked_rem(*b),
        }
        .map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => {
            return match operator {
                Binary::Add => Ok(Value::Double(a + b)),
                Binary::Subtract => Ok(Value::Double(a - b)),
                Binary::Multiply => Ok(Value::Double(a * b)),
                Binary::Divide => Ok(Value::Double(a / b)),
                _ => Err(EvaluationError::WrongType),
            };
        }
        _ => return Err(EvaluationError::WrongType),
    };
    whole.ok_or(EvaluationError::Arithmetic)
}

#[cfg(test)]
mod tests;
