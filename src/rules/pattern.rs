//! Regular expressions of a rule, each one a whole automaton: a text is matched with one look-up for each of its bytes,
//! whatever the pattern. A pattern whose automaton would be too large is refused, where a backtracking or simulated one
//! would make a request wait for seconds.

use regex_automata::Input;
use regex_automata::dfa::dense::{BuildError, Builder, Config, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

/// Longest pattern in bytes.
const MAX_PATTERN: usize = 256;
/// Deepest nesting of groups and repetitions.
const MAX_NESTING: u32 = 16;
/// Memory of all automata of a rule in bytes, and what building one may take. Three hundred literal characters take
/// 16 KiB, `\w` alone 160 KiB.
pub(crate) const MAX_AUTOMATA: usize = 256 << 10;

/// A pattern.
#[derive(Debug)]
pub(crate) struct Pattern(DFA<Vec<u32>>);

impl Pattern {
    /// Reads a pattern that may take so much memory; an error is a sentence for whoever wrote it.
    pub(crate) fn compile(pattern: &str, room: usize) -> Result<Self, String> {
        if pattern.len() > MAX_PATTERN {
            return Err(format!("the pattern of matches() has at most {MAX_PATTERN} bytes"));
        }
        let bounds = Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(room))
            .determinize_size_limit(Some(MAX_AUTOMATA));
        let built = Builder::new()
            .configure(bounds)
            .syntax(syntax::Config::new().nest_limit(MAX_NESTING))
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_AUTOMATA)))
            .build(pattern);
        built.map(Self).map_err(|error| complaint(&error))
    }

    /// Its memory in bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.memory_usage()
    }

    /// Whether it matches anywhere in a text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        // It cannot fail: only automata that may give up do, and this one may not. If it did, nothing would match.
        self.0.try_search_fwd(&Input::new(text).earliest(true)).is_ok_and(|found| found.is_some())
    }
}

fn complaint(error: &BuildError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let said = cause.to_string();
    if said.contains("exceeded") {
        return "the patterns of matches() have too many states; use smaller counts, and [a-z0-9] for \\w".into();
    }
    if said.contains("word boundar") {
        return "the pattern of matches() cannot have \\b; write (?-u:\\b)".into();
    }
    // The last line says what is wrong; those before it draw an arrow.
    let said = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
    format!("the pattern of matches() cannot be used: {said}")
}
