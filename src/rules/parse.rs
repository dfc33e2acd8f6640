//! Has the `cel` crate read a source, where its recursion and its panics can do no harm, and tells its errors in one
//! line. What the usual slips are, `slip` knows.

use std::thread;

use cel::Env;
use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::ParseErrors;

use crate::CompileError;
use crate::slip;
use crate::source::{PARSER_STACK, error_at};

/// How much of the parser's own words is shown.
const LONGEST_QUOTE: usize = 120;

/// Hands the syntax of a source that passed `source::check` to `then`, on the parser's own thread: its frames are
/// large, the tree it makes may be deep, and a panic of it becomes an error.
pub(crate) fn with_syntax<T: Send>(
    source: &str,
    then: impl FnOnce(&IdedExpr, SourceInfo) -> Result<T, CompileError> + Send,
) -> Result<T, CompileError> {
    let work = || {
        // Without macros `has`, `all` and the like stay the calls that they are written as.
        let parser = Env::default().with_optional_support(false).parser().error_recovery_limit(1);
        let (syntax, info) = parser.parse_with_source_info(source).map_err(|errors| unreadable(source, &errors))?;
        then(&syntax, info)
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("rule-parser".into()).stack_size(PARSER_STACK);
        match thread.spawn_scoped(scope, work).map(thread::ScopedJoinHandle::join) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(error_at(source, 0, "the parser fails on this rule; write it more simply")),
            Err(_) => Err(error_at(source, 0, "no thread can be had to read the rule; try again")),
        }
    })
}

fn unreadable(source: &str, errors: &ParseErrors) -> CompileError {
    let first = errors.errors.iter().find(|error| !error.msg.contains("recovery")).or(errors.errors.first());
    let Some(first) = first else { return error_at(source, 0, "this is no CEL expression") };
    let said = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let said = said.split(" expecting ").next().unwrap_or(said);
    let position = |n: isize| usize::try_from(n).unwrap_or(1).max(1);
    let (line, column) = (position(first.pos.0), position(first.pos.1));
    if let Some(slip) = slip::at(source, byte_of(source, line, column), said) {
        return error_at(source, slip.byte, format!("this is no CEL expression: {}", slip.advice));
    }
    let said: String = said.chars().filter(|c| !c.is_control()).take(LONGEST_QUOTE).collect();
    CompileError { line, column, message: format!("this is no CEL expression: {said}") }
}

/// Where in the source a position is; its end where it has no such.
fn byte_of(source: &str, line: usize, column: usize) -> usize {
    let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let within = source.get(before..).unwrap_or_default();
    before + within.char_indices().nth(column - 1).map_or(within.len(), |(at, _)| at)
}
