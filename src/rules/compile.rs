//! From CEL's syntax to a rule that can only do what is offered, or one error with its position. Variables, functions
//! and their arguments are checked here, so that a slip of the pen is seen when the policy is written and not as
//! refusals of requests.

use cel::common::ast::{CallExpr, Expr as Syntax, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};

use http::HeaderName;

use crate::expr::{Binary, Expr, Loop};
use crate::functions::{Function, OFFERED};
use crate::parse::with_syntax;
use crate::pattern::{MAX_AUTOMATA, Pattern};
use crate::source::error_at;
use crate::value::{List, Value};
use crate::{CompileError, Rule};

/// Most nodes: the memory of a rule, and what an element costs in a loop.
const MAX_NODES: usize = 256;
/// Deepest nesting; the evaluation is recursive and runs on a worker's stack.
const MAX_DEPTH: usize = 32;
/// Headers that carry credentials: nothing may turn on them.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "dpop", "proxy-authorization"];
/// Headers that the sidecar alone sets, from claims that a rule sees too.
const OURS: &str = "x-tollgate-";
/// `claims.roles.exists(r, r.rights.exists(x, …))` and no further.
const MAX_LOOPS: usize = 2;
/// How much of a name a message repeats.
const SHOWN: usize = 64;

type Compiled<T> = Result<T, CompileError>;

pub(crate) fn compile(source: &str) -> Compiled<Rule> {
    with_syntax(source, |syntax, info| {
        let mut compiler = Compiler { source, info, nodes: 0, automata: 0, items: Vec::new(), headers: Vec::new() };
        let expr = compiler.condition(syntax, 0)?;
        Ok(Rule { expr, headers: compiler.headers })
    })
}

struct Compiler<'a> {
    source: &'a str,
    info: SourceInfo,
    nodes: usize,
    /// Memory of the patterns so far.
    automata: usize,
    /// Names of the elements of the loops around, the innermost last.
    items: Vec<String>,
    /// Those named so far.
    headers: Vec<HeaderName>,
}

impl Compiler<'_> {
    fn expr(&mut self, at: &IdedExpr, depth: usize) -> Compiled<Expr> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self
                .refuse(at, format!("a rule has at most {MAX_NODES} parts; split the route or simplify the rule"));
        }
        if depth > MAX_DEPTH {
            return self.refuse(at, format!("a rule is nested at most {MAX_DEPTH} deep; simplify it"));
        }
        let depth = depth + 1;
        match &at.expr {
            Syntax::Literal(literal) => self.literal(at, literal),
            Syntax::Ident(name) => self.variable(at, name),
            Syntax::Select(select) => self.member(at, select, depth),
            Syntax::Call(call) => self.call(at, call, depth),
            Syntax::List(list) => {
                let items = list.elements.iter().map(|item| self.expr(item, depth)).collect::<Compiled<Vec<_>>>()?;
                Ok(list_of(items))
            }
            Syntax::Map(_) | Syntax::Struct(_) => self.refuse(at, "maps and messages cannot be written in a rule"),
            Syntax::Comprehension(_) | Syntax::Unspecified => self.refuse(at, "this cannot be written in a rule"),
        }
    }

    /// What must be true or false. What can be neither is a slip, such as `claims.a == 'x' || 'y'`.
    fn condition(&mut self, at: &IdedExpr, depth: usize) -> Compiled<Expr> {
        let expr = self.expr(at, depth)?;
        if expr.is_never_boolean() {
            return self.refuse(at, "this is neither true nor false; write a condition, as in claims.dept == 'x'");
        }
        Ok(expr)
    }

    fn boxed_condition(&mut self, at: &IdedExpr, depth: usize) -> Compiled<Box<Expr>> {
        self.condition(at, depth).map(Box::new)
    }

    fn boxed(&mut self, at: &IdedExpr, depth: usize) -> Compiled<Box<Expr>> {
        self.expr(at, depth).map(Box::new)
    }

    fn literal(&self, at: &IdedExpr, literal: &LiteralValue) -> Compiled<Expr> {
        Ok(Expr::Literal(match literal {
            LiteralValue::Null => Value::Null,
            LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
            LiteralValue::Int(int) => Value::Int(*int.inner()),
            LiteralValue::UInt(uint) => Value::Uint(*uint.inner()),
            LiteralValue::Double(double) => Value::Double(*double.inner()),
            LiteralValue::String(text) => Value::made(text.inner()),
            LiteralValue::Bytes(_) => {
                return self.refuse(at, "bytes cannot be written in a rule; write text without the b");
            }
        }))
    }

    fn variable(&self, at: &IdedExpr, name: &str) -> Compiled<Expr> {
        if let Some(level) = self.items.iter().rev().position(|item| item == name) {
            return Ok(Expr::Item(level));
        }
        match name {
            "claims" => Ok(Expr::Claims),
            "request" => self.refuse(at, "request is not a value; use its method, path, headers or client"),
            _ => self.refuse(at, format!("there is no variable {name:?}; a rule sees claims and request")),
        }
    }

    fn member(&mut self, at: &IdedExpr, select: &SelectExpr, depth: usize) -> Compiled<Expr> {
        let SelectExpr { operand, field, .. } = select;
        if is_request(operand) {
            return match field.as_str() {
                "method" => Ok(Expr::Method),
                "path" => Ok(Expr::Path),
                "client" => Ok(Expr::Client),
                "headers" => self
                    .refuse(at, "name the header, as in request.headers['x-tenant'] or 'x-tenant' in request.headers"),
                _ => self.refuse(at, format!("request has no {field:?}; it has method, path, headers and client")),
            };
        }
        if is_headers(operand) {
            return self.header(at, field).map(Expr::Header);
        }
        Ok(Expr::Member(self.boxed(operand, depth)?, field.as_str().into()))
    }

    fn has(&mut self, at: &IdedExpr, arguments: &[IdedExpr], depth: usize) -> Compiled<Expr> {
        let [IdedExpr { expr: Syntax::Select(select), .. }] = arguments else {
            return self.refuse(at, "has() takes a member, as in has(claims.groups)");
        };
        let SelectExpr { operand, field, .. } = select;
        if is_headers(operand) {
            return self.header(at, field).map(Expr::HasHeader);
        }
        if is_request(operand) {
            return match field.as_str() {
                "client" => Ok(Expr::HasClient),
                "method" | "path" | "headers" => Ok(Expr::Literal(Value::Bool(true))),
                _ => self.member(at, select, depth),
            };
        }
        Ok(Expr::Has(self.boxed(operand, depth)?, field.as_str().into()))
    }

    fn call(&mut self, at: &IdedExpr, call: &CallExpr, depth: usize) -> Compiled<Expr> {
        let CallExpr { func_name: name, target, args } = call;
        match (name.as_str(), target.as_deref(), args.as_slice()) {
            (operators::HAS, None, arguments) => self.has(at, arguments, depth),
            (operators::INDEX, None, [of, name]) if is_headers(of) => {
                let written = self.written(name, "the name of a header")?;
                self.header(name, written).map(Expr::Header)
            }
            (operators::IN, None, [name, of]) if is_headers(of) => {
                let written = self.written(name, "the name of a header")?;
                self.header(name, written).map(Expr::HasHeader)
            }
            (operators::INDEX, None, [of, key]) => Ok(Expr::Index(self.boxed(of, depth)?, self.boxed(key, depth)?)),
            (operators::LOGICAL_NOT, None, [of]) => Ok(Expr::Not(self.boxed_condition(of, depth)?)),
            (operators::NEGATE, None, [of]) => Ok(Expr::Negate(self.boxed(of, depth)?)),
            (operators::LOGICAL_AND, None, [a, b]) => {
                Ok(Expr::Logic(true, self.boxed_condition(a, depth)?, self.boxed_condition(b, depth)?))
            }
            (operators::LOGICAL_OR, None, [a, b]) => {
                Ok(Expr::Logic(false, self.boxed_condition(a, depth)?, self.boxed_condition(b, depth)?))
            }
            (operators::CONDITIONAL, None, [condition, then, otherwise]) => {
                let condition = self.boxed_condition(condition, depth)?;
                Ok(Expr::Choice(condition, self.boxed(then, depth)?, self.boxed(otherwise, depth)?))
            }
            ("matches", Some(text), [pattern]) => {
                Ok(Expr::Matches(self.boxed(text, depth)?, Box::new(self.pattern(pattern)?)))
            }
            (_, None, [a, b]) if let Some(operator) = binary_named(name) => {
                Ok(Expr::Binary(operator, self.boxed(a, depth)?, self.boxed(b, depth)?))
            }
            (_, Some(range), [item, body @ ..]) if let Some(kind) = loop_named(name) => {
                self.looped(at, kind, range, item, body, depth)
            }
            (_, target, args) => {
                let values: Vec<&IdedExpr> = target.into_iter().chain(args).collect();
                let Some(function) = Function::named(name, target.is_some(), values.len()) else {
                    let message = format!("there is no function {name:?} of this form; a rule may call {OFFERED}");
                    return self.refuse(at, message);
                };
                let values = values.into_iter().map(|value| self.expr(value, depth)).collect::<Compiled<_>>()?;
                Ok(Expr::Call(function, values))
            }
        }
    }

    fn looped(
        &mut self,
        at: &IdedExpr,
        kind: Loop,
        range: &IdedExpr,
        item: &IdedExpr,
        body: &[IdedExpr],
        depth: usize,
    ) -> Compiled<Expr> {
        let range = self.boxed(range, depth)?;
        let Syntax::Ident(name) = &item.expr else {
            return self.refuse(item, "the first argument names the element, as in claims.groups.exists(g, g == 'a')");
        };
        if ["claims", "request"].contains(&name.as_str()) {
            return self.refuse(item, format!("{name:?} is taken; give the element another name"));
        }
        if self.items.len() == MAX_LOOPS {
            return self.refuse(at, "a loop stands within one other loop at most; simplify the rule");
        }
        self.items.push(name.clone());
        let compiled = match (kind, body) {
            (Loop::Map, [body]) => self.boxed(body, depth).map(|body| Expr::Loop(kind, range, body)),
            (_, [body]) => self.boxed_condition(body, depth).map(|body| Expr::Loop(kind, range, body)),
            (Loop::Map, [condition, body]) => {
                let condition = self.boxed_condition(condition, depth)?;
                self.boxed(body, depth).map(|body| Expr::MapWhere(range, condition, body))
            }
            _ => self.refuse(at, "all, exists, exists_one and filter take two arguments, map two or three"),
        };
        self.items.pop();
        compiled
    }

    /// A regular expression is compiled with the rule, so it must stand in it.
    fn pattern(&mut self, at: &IdedExpr) -> Compiled<Pattern> {
        let pattern = self.written(at, "the pattern of matches()")?;
        let pattern = Pattern::compile(pattern, MAX_AUTOMATA - self.automata);
        let pattern = pattern.or_else(|message| self.refuse(at, message))?;
        self.automata += pattern.size();
        Ok(pattern)
    }

    /// What a rule looks at is known before there is a request: the proxy lets no other spelling of it through.
    fn header(&mut self, at: &IdedExpr, name: &str) -> Compiled<HeaderName> {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            return self.refuse(at, "this is no name of a header");
        };
        if name != header.as_str() {
            let shown: String = header.as_str().chars().take(SHOWN).collect();
            return self.refuse(at, format!("header names are written in lower case here: {shown:?}"));
        }
        if CREDENTIALS.contains(&name) {
            return self.refuse(at, format!("the header {name:?} carries credentials and is not shown to rules"));
        }
        if name.starts_with(OURS) {
            return self.refuse(at, format!("headers {OURS}* are made from the token; use claims or request.client"));
        }
        self.headers.push(header.clone());
        Ok(header)
    }

    /// Text that must stand in the rule.
    fn written<'s>(&self, at: &'s IdedExpr, what: &str) -> Compiled<&'s str> {
        match &at.expr {
            Syntax::Literal(LiteralValue::String(text)) => Ok(text.inner()),
            _ => self.refuse(at, format!("{what} must be written in the rule as text")),
        }
    }

    fn refuse<T>(&self, at: &IdedExpr, message: impl Into<String>) -> Compiled<T> {
        let start = self.info.offset_for(at.id).map_or(0, |(start, _)| start as usize);
        Err(error_at(self.source, start, message))
    }
}

fn is_request(at: &IdedExpr) -> bool {
    matches!(&at.expr, Syntax::Ident(name) if name == "request")
}

fn is_headers(at: &IdedExpr) -> bool {
    matches!(&at.expr, Syntax::Select(select) if select.field == "headers" && is_request(&select.operand))
}

/// A list of literals is one itself, made once.
fn list_of(items: Vec<Expr>) -> Expr {
    if !items.iter().all(|item| matches!(item, Expr::Literal(_))) {
        return Expr::List(items);
    }
    let values = items.into_iter().filter_map(|item| match item {
        Expr::Literal(value) => Some(value),
        _ => None,
    });
    Expr::Literal(Value::List(List::Made(values.collect())))
}

fn binary_named(name: &str) -> Option<Binary> {
    Some(match name {
        operators::EQUALS => Binary::Equal,
        operators::NOT_EQUALS => Binary::NotEqual,
        operators::LESS => Binary::Less,
        operators::LESS_EQUALS => Binary::LessOrEqual,
        operators::GREATER => Binary::Greater,
        operators::GREATER_EQUALS => Binary::GreaterOrEqual,
        operators::IN => Binary::In,
        operators::ADD => Binary::Add,
        operators::SUBSTRACT => Binary::Subtract,
        operators::MULTIPLY => Binary::Multiply,
        operators::DIVIDE => Binary::Divide,
        operators::MODULO => Binary::Modulo,
        _ => return None,
    })
}

fn loop_named(name: &str) -> Option<Loop> {
    Some(match name {
        operators::ALL => Loop::All,
        operators::EXISTS => Loop::Exists,
        operators::EXISTS_ONE => Loop::ExistsOne,
        operators::MAP => Loop::Map,
        operators::FILTER => Loop::Filter,
        _ => return None,
    })
}
