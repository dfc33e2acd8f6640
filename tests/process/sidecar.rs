//! The sidecar as a process: what it says, what it answers to signals, and how it exits. Stands with its own package,
//! because only there does cargo say where the program is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);

fn config() -> Value {
    json!({
        "namespace": "shop",
        "name": "items",
        "issuers": [{
            "name": "okta", "url": "https://127.0.0.1:1/oauth2/default", "audiences": ["api://default"],
            "validation": "Local", "introspection": {"cacheMillis": 0}, "clockSkewSeconds": 0,
        }],
        "defaultAccess": "Authenticated",
        "routes": [],
        "upstream": {"port": 9},
        "logLevel": "info",
    })
}

fn command(folder: &tempfile::TempDir, config: &str) -> anyhow::Result<Command> {
    let file = folder.path().join("config.json");
    std::fs::write(&file, config)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-sidecar"));
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-lead", "0", "--config"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Reads the log up to the line that says that it serves; returns the port of callers and the rest of the log.
fn serving(child: &mut Child) -> anyhow::Result<(String, BufReader<ChildStderr>)> {
    let mut log = BufReader::new(child.stderr.take().context("a log")?);
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line)? > 0, "the log ended before it served");
        let line: Value = serde_json::from_str(&line).context("every line of the log is JSON")?;
        if line["message"] == "serving" {
            return Ok((line["proxy"].as_str().context("an address")?.to_owned(), log));
        }
    }
}

fn get(address: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /items?token=secret HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process id")?;
    Ok(kill_process(pid, signal)?)
}

fn refused(config: &str) -> anyhow::Result<Output> {
    let folder = tempfile::tempdir()?;
    Ok(command(&folder, config)?.output()?)
}

#[test]
fn it_serves_logs_to_stdout_and_exits_0_when_told_to_stop() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut child = command(&folder, &config().to_string())?.spawn()?;
    let (address, _log) = serving(&mut child)?;
    assert!(get(&address)?.starts_with("HTTP/1.1 401"));
    signal(&child, Signal::TERM)?;
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout)?;
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let line: Value = serde_json::from_str(&stdout)?;
    assert_eq!((&line["path"], &line["reason"]), (&json!("/items"), &json!("missing_token")));
    Ok(())
}

#[test]
fn a_low_soft_limit_of_open_files_lets_no_caller_fill_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let sidecar = command(&folder, &config().to_string())?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 64 && exec \"$0\" \"$@\""]).arg(sidecar.get_program()).args(sidecar.get_args());
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let (address, _log) = serving(&mut child)?;
    let idle = (0..100).map(|_| TcpStream::connect(&address)).collect::<Result<Vec<_>, _>>()?;
    assert!(get(&address).context("a caller beside a hundred idle ones")?.starts_with("HTTP/1.1 401"));
    drop(idle);
    signal(&child, Signal::TERM)?;
    assert_eq!(child.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn an_announcement_makes_it_ask_callers_to_leave() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut child = command(&folder, &config().to_string())?.arg("--no-access-log").spawn()?;
    let (address, mut log) = serving(&mut child)?;
    signal(&child, Signal::USR1)?;
    let mut line = String::new();
    while !line.contains("stopping soon") {
        line.clear();
        assert!(log.read_line(&mut line)? > 0, "the log ended");
    }
    assert!(get(&address)?.starts_with("HTTP/1.1 401"), "nobody is refused for it");
    signal(&child, Signal::TERM)?;
    let output = child.wait_with_output()?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    Ok(())
}

#[test]
fn a_policy_that_makes_no_sense_is_one_plain_line_and_exit_2() -> anyhow::Result<()> {
    let mut no_issuer = config();
    no_issuer["issuers"] = json!([]);
    for (config, expected) in [
        (no_issuer.to_string(), "tollgate-sidecar: the policy is refused: 0 issuers; 1 to 8 are needed\n"),
        (
            "{}".to_owned(),
            "tollgate-sidecar: the policy is refused: the configuration is not understood by this version: \
             missing field `namespace` at line 1 column 2\n",
        ),
    ] {
        let output = refused(&config)?;
        assert_eq!(String::from_utf8(output.stderr)?, expected);
        assert_eq!(output.status.code(), Some(2));
    }
    Ok(())
}
