//! Refuses sources that the parser must not see. Pure; knows no grammar, so nothing in a source can mislead it.

use crate::CompileError;

/// Longest source in bytes. A rule is a sentence, not a program.
pub(crate) const MAX_SOURCE: usize = 2_048;

/// Most characters that open something the parser descends into. They are counted wherever they stand, strings
/// included, and no closing one is subtracted: depth can then not be hidden behind quotes, and the parser's stack
/// ([`PARSER_STACK`]) is enough for this many.
pub(crate) const MAX_OPENINGS: usize = 64;

/// A debug build needs up to 12 MiB for [`MAX_OPENINGS`] nested parentheses, a release build under 2.
pub(crate) const PARSER_STACK: usize = 32 << 20;

pub(crate) fn check(source: &str) -> Result<(), CompileError> {
    if source.len() > MAX_SOURCE {
        let message = format!("a rule has at most {MAX_SOURCE} bytes and this one {}", source.len());
        return Err(error_at(source, 0, message));
    }
    match source.char_indices().filter(|(_, c)| matches!(c, '(' | '[' | '{' | '?')).nth(MAX_OPENINGS) {
        None => Ok(()),
        Some((at, _)) => {
            let message = format!("a rule has at most {MAX_OPENINGS} of ( [ {{ and ?, those in strings included");
            Err(error_at(source, at, message))
        }
    }
}

/// An error at a byte of the source.
pub(crate) fn error_at(source: &str, byte: usize, message: impl Into<String>) -> CompileError {
    let before = source.char_indices().take_while(|(at, _)| *at < byte);
    let (line, column) =
        before.fold((1, 1), |(line, column), (_, c)| if c == '\n' { (line + 1, 1) } else { (line, column + 1) });
    CompileError { line, column, message: message.into() }
}
