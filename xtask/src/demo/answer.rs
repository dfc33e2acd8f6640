//! An HTTP answer as `curl -i` prints it: shown in short, and checked.

use anyhow::{Context, bail};
use serde_json::Value;

use crate::shell::Shell;

/// So much of a token is shown; it has 700 characters.
const TOKEN_SHOWN: usize = 24;
/// The headers that say something here.
const SHOWN: [&str; 3] = ["www-authenticate:", "retry-after:", "content-type:"];

#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    head: Vec<String>,
    body: String,
}

impl Answer {
    /// Runs a curl line and shows it with the answer.
    pub(super) fn to(shell: &Shell, line: &str) -> anyhow::Result<Self> {
        shell.announce(line);
        let answer = Self::of(&shell.ask(line)?)?;
        shell.show(&answer.in_short());
        Ok(answer)
    }

    /// Reads what `curl -i` printed.
    pub(super) fn of(text: &str) -> anyhow::Result<Self> {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let head: Vec<String> = head.lines().map(str::to_owned).collect();
        let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.with_context(|| format!("curl printed no status: {text:?}"))?;
        Ok(Self { status, head, body: body.to_owned() })
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The body, when it is JSON.
    pub(super) fn body(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(super) fn expect_status(&self, status: u16) -> anyhow::Result<()> {
        if self.status != status {
            bail!("expected the status {status}, got:\n{}\n{}", self.head.join("\n"), self.body);
        }
        Ok(())
    }

    /// Status, and the reason in a problem+json body.
    pub(super) fn expect_refusal(&self, status: u16, reason: &str) -> anyhow::Result<()> {
        self.expect_status(status)?;
        if self.body()["reason"] != reason {
            bail!("expected the reason {reason}, got: {}", self.body);
        }
        Ok(())
    }

    pub(super) fn expect_challenge(&self, part: &str) -> anyhow::Result<()> {
        let challenge = self.head.iter().find(|line| line.to_ascii_lowercase().starts_with("www-authenticate:"));
        if !challenge.is_some_and(|line| line.contains(part)) {
            bail!("expected a challenge with {part}, got: {challenge:?}");
        }
        Ok(())
    }

    fn in_short(&self) -> String {
        let shown = |line: &&String| SHOWN.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
        let head = self.head.iter().take(1).chain(self.head.iter().skip(1).filter(shown));
        let mut body = self.body.clone();
        if let Some(token) = self.body()["access_token"].as_str() {
            let start: String = token.chars().take(TOKEN_SHOWN).collect();
            body = body.replace(token, &format!("{start}..."));
        }
        head.map(String::as_str).chain(body.lines()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: &str = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=\"items\"\r\ndate: today\r\n\r\n\
        {\"reason\":\"missing_token\"}";

    #[test]
    fn a_refusal_is_read_and_checked() {
        let answer = Answer::of(REFUSAL).unwrap();
        answer.expect_refusal(401, "missing_token").unwrap();
        answer.expect_challenge("Bearer realm=").unwrap();
        assert!(answer.expect_refusal(401, "expired").is_err());
        assert!(answer.expect_refusal(403, "missing_token").is_err());
        assert!(answer.expect_challenge("error=").is_err());
    }

    #[test]
    fn the_transcript_has_what_matters() {
        let short = Answer::of(REFUSAL).unwrap().in_short();
        assert_eq!(short.lines().count(), 3, "{short}");
        assert!(!short.contains("date:"));
    }

    #[test]
    fn a_token_is_shown_in_short() {
        let token = "x".repeat(700);
        let answer =
            Answer::of(&format!("HTTP/1.1 200 OK\r\n\r\n{{\"access_token\":\"{token}\",\"scope\":\"items\"}}"));
        let short = answer.unwrap().in_short();
        assert!(short.len() < 120 && short.contains("items"), "{short}");
    }

    #[test]
    fn no_answer_is_an_error() {
        assert!(Answer::of("").is_err());
    }
}
