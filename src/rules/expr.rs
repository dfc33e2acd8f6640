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

impl Expr {
    /// Whether it is known without a request that this is neither true nor false.
    pub(crate) fn is_never_boolean(&self) -> bool {
        match self {
            Self::Literal(value) => !matches!(value, Value::Bool(_)),
            Self::Claims | Self::Method | Self::Path | Self::Client | Self::Header(_) => true,
            Self::Negate(_) | Self::List(_) | Self::MapWhere(..) => true,
            Self::Loop(kind, ..) => matches!(kind, Loop::Map | Loop::Filter),
            Self::Call(function, _) => function.is_never_boolean(),
            Self::Choice(_, then, otherwise) => then.is_never_boolean() && otherwise.is_never_boolean(),
            Self::Binary(operator, ..) => operator.is_arithmetic(),
            Self::Item(_) | Self::Member(..) | Self::Index(..) => false,
            Self::HasClient | Self::HasHeader(_) | Self::Has(..) => false,
            Self::Not(_) | Self::Logic(..) | Self::Matches(..) => false,
        }
    }
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

impl Binary {
    /// Whether it makes a number, a text or a list.
    fn is_arithmetic(self) -> bool {
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Modulo => true,
            Self::Equal | Self::NotEqual | Self::In => false,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => false,
        }
    }
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
