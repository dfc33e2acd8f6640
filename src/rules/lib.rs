//! Decides whether a route's `when:` may be in force and whether it holds for a request. `when:` is a part of the
//! Common Expression Language over two variables, `claims` (the token's) and `request`.
//!
//! Anybody who may write an `OktaProtectedApi` writes rules, and anybody on the network chooses what they are evaluated
//! on, so the work is bounded on both sides: [`Rule::compile`] refuses what is too long, too deep or unknown before the
//! parser or the evaluation could suffer from it, and [`Rule::holds`] counts its steps and gives up beyond a budget. A
//! rule that gives up, fails or yields anything but `true` does not hold.
//!
//! The `cel` crate is the parser. The evaluation is ours: the crate's has no budget, copies operands into its errors
//! (and claims must not reach a log), and compiles a regular expression anew at each call. Tests hold both to the same
//! results.

mod compile;
mod eval;
mod expr;
mod functions;
mod parse;
mod pattern;
mod slip;
mod source;
mod value;

use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use crate::expr::Expr;

/// What one evaluation may cost. A step is one node of the expression, one element looked at, one halving of a map that
/// is searched, or 64 bytes read or copied; a fraction read or written as text is 500. The worst that is accepted ends
/// in under 5 ms in a release build (`the_worst_rules_are_ended_by_the_budget` prints its times). An ordinary rule takes
/// a few steps, one over a hundred groups a few hundred.
pub const MAX_STEPS: u64 = 50_000;

/// A rule that may be in force.
#[derive(Debug)]
pub struct Rule {
    expr: Expr,
    headers: Vec<HeaderName>,
}

/// Why an expression may not be in force: the position, counted from 1 (characters, not bytes), and what to do about
/// it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct CompileError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
    /// A sentence without its full stop.
    pub message: String,
}

/// What a rule is evaluated on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `claims`: the token's, or the members of the introspection answer that spoke for it.
    pub claims: &'a Map<String, Value>,
    /// `request.method`.
    pub method: &'a str,
    /// `request.path`, percent-decoded, without the query.
    pub path: &'a str,
    /// `request.headers`, as the app gets them; no rule can name those that carry credentials.
    pub headers: &'a HeaderMap,
    /// `request.client`: whom the token was given to (`cid`, else `client_id`, else `azp`); absent where no claim says.
    pub client: Option<&'a str>,
}

/// Why a rule has no answer; the request is denied. Names nothing that a claim or a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A claim, member, header or list element that is not there.
    #[error("the rule asks for a member or element that is not there")]
    Missing,
    /// Such as `1 < 'a'` or `size(1)`.
    #[error("the rule applies an operator or function to values that it does not take")]
    WrongType,
    /// Overflow, division by zero, or text that is no number.
    #[error("the rule's arithmetic has no result")]
    Arithmetic,
    /// Neither true nor false.
    #[error("the rule's result is neither true nor false")]
    NotBoolean,
    /// More than [`MAX_STEPS`].
    #[error("the rule takes too much work on this request")]
    TooMuchWork,
}

impl Rule {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is no CEL, uses what is not offered, or is larger than a rule may be.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        source::check(source)?;
        compile::compile(source)
    }

    /// The headers that it looks at.
    #[must_use]
    pub fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// It has no answer: the request is to be denied.
    pub fn holds(&self, inputs: &Inputs<'_>) -> Result<bool, EvaluationError> {
        eval::evaluate(&self.expr, inputs, MAX_STEPS).0
    }
}

#[cfg(test)]
mod tests;
