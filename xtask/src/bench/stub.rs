//! The authorization server of the introspection rows: says of every token that it is active, 20 ms after it was asked,
//! as a near one does. A thread a connection: it must cost nothing but the wait. It judges nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// How long an answer takes.
const ANSWERS_AFTER: Duration = Duration::from_millis(20);

/// The threads hold one short line and one small body.
const STACK_BYTES: usize = 128 * 1024;

/// Answers every `POST` on this port of loopback with the file's content, until the process ends.
///
/// # Errors
/// When the file cannot be read, the port not be bound, or a thread not be started.
pub fn serve(port: u16, answer: &Path) -> anyhow::Result<()> {
    let answer = std::fs::read(answer).with_context(|| format!("reading {}", answer.display()))?;
    let mut response =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len())
            .into_bytes();
    response.extend_from_slice(&answer);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("binding the stub's port")?;
    for connection in listener.incoming() {
        let (connection, response) = (connection.context("accepting")?, response.clone());
        let work = move || {
            // A caller that leaves ends its thread; there is nobody to tell.
            let _ = talk(connection, &response);
        };
        thread::Builder::new().stack_size(STACK_BYTES).spawn(work).context("starting a thread")?;
    }
    Ok(())
}

fn talk(connection: TcpStream, response: &[u8]) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        thread::sleep(ANSWERS_AFTER);
        writer.write_all(response)?;
    }
}
