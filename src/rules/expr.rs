//! A rule after compilation: only what is offered can be expressed. Its depth and size are `compile`'s bounds.

use http::HeaderName;

use crate::functions::Function;
use crate::pattern::Pattern;
use crate::value::Value;

/// One node.
#[derive(Debug)]
pub(crate) enum Expr {
    /// A number, text, `true`, `false`, `null`, or a list of such.
    Literal(Value<'static>),
    /// `claims`.
    Claims,
    /// `request.method`.
    Method,
    /// `request.path`.
    Path,
    /// `request.client`.
    Client,
    /// `has(request.client)`.
    HasClient,
    /// `request.headers['name']`.
    Header(HeaderName),
    /// `'name' in request.headers`.
    HasHeader(HeaderName),
    /// The element that a loop is at; 0 is the innermost loop.
    Item(usize),
    /// `of.name`.
    Member(Box<Expr>, Box<str>),
    /// `has(of.name)`.
    Has(Box<Expr>, Box<str>),
    /// `of[at]`.
    Index(Box<Expr>, Box<Expr>),
    /// `!of`.
    Not(Box<Expr>),
    /// `-of`.
    Negate(Box<Expr>),
    /// `a && b` (`true`) or `a || b` (`false`): what does not decide it.
    Logic(bool, Box<Expr>, Box<Expr>),
    /// `if ? then : otherwise`.
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    /// A comparison, `in`, or arithmetic.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `[a, b]` of which not all are literals.
    List(Vec<Expr>),
    /// A function of one or two values.
    Call(Function, Vec<Expr>),
    /// `text.matches('pattern')`.
    Matches(Box<Expr>, Box<Pattern>),
    /// `range.kind(item, body)`.
    Loop(Loop, Box<Expr>, Box<Expr>),
    /// `range.map(item, condition, body)`.
    MapWhere(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// Operators whose operands are both always evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// Macros over a list's elements or a map's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loop {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}
