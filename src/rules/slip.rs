//! What was meant where the parser stumbled: the operators of other languages, a text or a rule without its end. It only
//! chooses words; what it does not know stays in the parser's.

/// A slip of the pen.
pub(crate) struct Slip {
    /// Where it is.
    pub(crate) byte: usize,
    /// What to write, or what is missing.
    pub(crate) advice: &'static str,
}

/// What is the matter where the parser stumbled, by what stands there and what the parser said of it.
pub(crate) fn at(source: &str, byte: usize, said: &str) -> Option<Slip> {
    let (before, rest) = source.split_at_checked(byte)?;
    let is_no_token = said.starts_with("token recognition error");
    let advice = match rest.chars().next() {
        _ if source.trim().is_empty() => "there is nothing in it",
        _ if said.contains("<EOF>") || rest.trim().is_empty() => {
            return Some(Slip { byte: source.len(), advice: "it ends too early; something is missing here" });
        }
        Some('=') => "compare with ==",
        Some('&') => "write && for and",
        Some('|') => "write || for or",
        Some('>') if before.ends_with('<') => "write != for unequal",
        Some('\'' | '"') if is_no_token => "the text that begins here has no end on its line",
        Some('‘' | '’' | '“' | '”' | '„') => "put text in straight quotes, as in 'a'",
        _ => return word(before, rest),
    };
    Some(Slip { byte, advice })
}

/// An operator that is a word elsewhere: where the parser stumbled, or just before, for it took that for a name.
fn word(before: &str, rest: &str) -> Option<Slip> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let here = rest.split(|c| !is_part(c)).next().unwrap_or_default();
    if let Some(advice) = operator(here) {
        return Some(Slip { byte: before.len(), advice });
    }
    let earlier = before.trim_end();
    let start = earlier.trim_end_matches(is_part);
    let is_member = start.ends_with('.');
    let advice = operator(earlier.get(start.len()..)?).filter(|_| !is_member)?;
    Some(Slip { byte: start.len(), advice })
}

fn operator(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "and" => "write && for and",
        "or" => "write || for or",
        "not" => "write ! for not, as in !(a in b)",
        "is" | "eq" | "equals" => "compare with ==",
        _ => return None,
    })
}
