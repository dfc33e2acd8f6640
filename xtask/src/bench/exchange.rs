//! One request and its answer on a plain connection, for what wrk cannot measure: paced load, idle connections, a token
//! once each. It judges nothing.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// An answer that takes longer is an error of the run.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a port of loopback.
pub(super) fn connect(port: u16) -> io::Result<TcpStream> {
    let connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// A `GET` with this bearer token.
pub(super) fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// Sends a request and waits for an answer of status 200 with `Content-Length`; `buffer` only saves allocations.
pub(super) fn exchange(connection: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
    connection.write_all(request)?;
    buffer.clear();
    let mut piece = [0; 4096];
    loop {
        let read = connection.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&piece[..read]);
        if let Some(length) = whole_length(buffer)
            && buffer.len() >= length
        {
            let good = buffer.starts_with(b"HTTP/1.1 200 ");
            return if good { Ok(()) } else { Err(io::Error::other("an answer other than 200")) };
        }
    }
}

/// Length of head and body, once the head is there.
fn whole_length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + length.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_body() {
        assert_eq!(whole_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"), None);
        assert_eq!(whole_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), Some(40));
        assert_eq!(whole_length(b"HTTP/1.1 200 OK\r\n\r\n"), Some(19));
    }
}
