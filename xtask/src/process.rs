//! Commands in the foreground: run, capture, and errors that show the command and the end of what it said.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};

use crate::interrupt;

/// Lines of a failed command's output that its error repeats.
const ERROR_LINES: usize = 25;

/// Runs a command and returns its standard output; nothing is shown while it runs.
///
/// # Errors
/// When it cannot be started or ends with another code than 0; the message has the end of its output.
pub fn capture(command: &mut Command) -> anyhow::Result<String> {
    capture_as(&shown(command), command)
}

/// [`capture`] with another name for the command in the error.
///
/// # Errors
/// Those of [`capture`].
pub fn capture_as(name: &str, command: &mut Command) -> anyhow::Result<String> {
    let output = finish(command)?;
    if !output.status.success() {
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        bail!("`{name}` failed ({}):\n{}", output.status, tail(&String::from_utf8_lossy(&said)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command can be started and ends with code 0.
pub fn succeeds(command: &mut Command) -> bool {
    finish(command).is_ok_and(|output| output.status.success())
}

/// Runs a command whose output the developer reads as it comes.
///
/// # Errors
/// When it cannot be started or ends with another code than 0.
pub fn show(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    interrupt::check()?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// The command as one would type it, long arguments shortened.
pub fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args().map(OsStr::to_string_lossy) {
        let short: String = argument.chars().take(120).collect();
        let _ = write!(text, " {short}");
    }
    text
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(ERROR_LINES)..].join("\n")
}

fn finish(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    interrupt::check()?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named_with_what_it_said() {
        let error = capture(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("`sh -c") && error.contains("no such thing"), "{error}");
    }

    #[test]
    fn only_the_end_of_a_long_output_is_repeated() {
        let text: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let end = tail(&text);
        assert_eq!(end.lines().count(), ERROR_LINES);
        assert!(end.ends_with("line 99"));
    }
}
