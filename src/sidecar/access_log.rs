//! One JSON line a request on standard output, written by a thread of its own: a request never waits for the reader of
//! the log. It decides which requests leave a line; lines that cannot be written are dropped and counted. No query, no
//! header, no token, no secret. The fields are documented in docs/observability.md.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TraceId;
use prometheus_client::metrics::counter::Counter;
use serde::{Serialize, Serializer};

use crate::grpc;
use crate::metrics::Protocol;

/// Lines waiting for a slow reader; beyond that they are dropped rather than held in memory.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Between two writes: many lines share one system call, and a line is seen soon enough.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// For the last lines when closing: plenty for a reader that reads, and one that does not must not keep us from ending.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A longer path says nothing more.
const MAX_PATH_BYTES: usize = 2048;
/// What nginx logs for a caller that left before the answer.
pub const CALLER_LEFT: u16 = 499;
const SERVER_ERROR: u16 = 500;

/// Where lines go; cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
    /// Of answered requests one in so many leaves a line.
    one_in: u32,
}

/// The writing thread.
#[derive(Debug)]
pub struct AccessLogWriter {
    shared: Arc<Shared>,
}

/// One request.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When the answer was over; named as in the sidecar's own log.
    #[serde(serialize_with = "rfc3339")]
    pub timestamp: SystemTime,
    /// Between caller and sidecar.
    pub protocol: Protocol,
    /// As received.
    pub method: &'a str,
    /// As received, without the query.
    #[serde(serialize_with = "path")]
    pub path: &'a str,
    /// Of the answer; 499 when the caller left before there was one.
    pub status: u16,
    /// What the connection became, for which the line was kept back until its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<&'static str>,
    /// `grpc-status` of an answer to a gRPC call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u16>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The route's name, or `(default)`, `(token)`, `(none)`.
    pub route: &'a str,
    /// Name of the token's issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'a str>,
    /// The client that the token was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// The token passed by local checks alone, because its issuer could not be asked.
    #[serde(skip_serializing_if = "is_false")]
    pub unasked: bool,
    /// From the request's head to the end of the answer.
    pub duration_ms: f64,
    /// From the request's head sent to the answer's head received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
    /// Body bytes from the caller.
    pub bytes_in: u64,
    /// Body bytes to the caller.
    pub bytes_out: u64,
    /// The answer was cut short, by either side.
    #[serde(skip_serializing_if = "is_false")]
    pub aborted: bool,
    /// Also in the answer and at the app.
    pub request_id: &'a str,
    /// Of the trace that the app sees the request in.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hex")]
    pub trace_id: Option<TraceId>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    writer_sleeps: bool,
    closed: bool,
    /// The writing thread has nothing left to do.
    ended: bool,
}

impl AccessLog {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(out: Box<dyn Write + Send>, one_in: u32, dropped: Counter) -> io::Result<(Self, AccessLogWriter)> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), dropped });
        let writer = Arc::clone(&shared);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(out))?;
        Ok((Self { shared: Arc::clone(&shared), one_in }, AccessLogWriter { shared }))
    }

    /// Queues a line, unless it is one of those that may be left out; never waits.
    pub fn write(&self, line: &Line<'_>) {
        if line.is_routine() && !self.keeps() {
            return;
        }
        let mut state = self.shared.lock();
        let before = state.waiting.len();
        let taken = before < MAX_WAITING_BYTES && serde_json::to_writer(&mut state.waiting, line).is_ok();
        if !taken {
            state.waiting.truncate(before);
            self.shared.dropped.inc();
            return;
        }
        state.waiting.push(b'\n');
        if state.writer_sleeps {
            state.writer_sleeps = false;
            self.shared.wake.notify_one();
        }
    }

    /// By lot: every n-th would hide what comes in step.
    fn keeps(&self) -> bool {
        self.one_in <= 1 || rand::random_ratio(1, self.one_in)
    }
}

impl Line<'_> {
    /// Nothing that somebody will look for: not refused, not failed, not let through unasked.
    fn is_routine(&self) -> bool {
        let failed = self.status >= SERVER_ERROR || self.aborted || self.grpc_status.is_some_and(grpc::is_failure);
        self.reason.is_none() && !failed && !self.unasked && self.status != CALLER_LEFT
    }
}

impl AccessLogWriter {
    /// Writes what is waiting and ends the thread. Blocks while it does, for a second at most.
    pub fn close(self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.wake.notify_all();
        // However the wait ends, there is nothing more to do.
        let _ = self.shared.wake.wait_timeout_while(state, CLOSE_TIMEOUT, |state| !state.ended);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The buffer is whole after every step, so a panic elsewhere cannot have left it broken.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut out: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                if state.closed {
                    state.ended = true;
                    self.wake.notify_all();
                    return;
                }
                state.writer_sleeps = true;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut batch, &mut state.waiting);
            let closed = state.closed;
            drop(state);
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                self.dropped.inc_by(batch.iter().filter(|byte| **byte == b'\n').count() as u64);
            }
            batch.clear();
            if !closed {
                std::thread::sleep(BATCH_INTERVAL);
            }
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn path<S: Serializer>(path: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(shortened(path))
}

fn hex<S: Serializer>(id: &Option<TraceId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}

/// As much of a path as is worth keeping.
pub(crate) fn shortened(path: &str) -> &str {
    &path[..path.floor_char_boundary(MAX_PATH_BYTES)]
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands every write to the test and waits for its leave to go on.
    struct Gated(mpsc::Sender<Vec<u8>>, mpsc::Receiver<()>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(path: &str) -> Line<'_> {
        Line {
            timestamp: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            protocol: Protocol::Http1,
            method: "GET",
            path,
            status: 200,
            upgrade: None,
            grpc_status: None,
            reason: None,
            route: "items",
            issuer: Some("okta"),
            client_id: Some("0oa1"),
            unasked: false,
            duration_ms: 1.5,
            upstream_ms: Some(1.25),
            bytes_in: 0,
            bytes_out: 90,
            aborted: false,
            request_id: "abc",
            trace_id: None,
        }
    }

    #[test]
    fn a_line_is_json_with_the_facts_and_nothing_that_a_caller_can_break() {
        let (seen, wrote) = mpsc::channel();
        let (leave, wait) = mpsc::channel();
        let (log, writer) = AccessLog::start(Box::new(Gated(seen, wait)), 1, Counter::default()).unwrap();
        leave.send(()).unwrap();
        log.write(&line("/a\"\n{}"));
        let bytes = wrote.recv_timeout(Duration::from_secs(10)).unwrap();
        writer.close();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "timestamp": "2023-11-14T22:13:20.123Z", "protocol": "h1", "method": "GET", "path": "/a\"\n{}", "status": 200, "route": "items",
                "issuer": "okta", "client_id": "0oa1", "duration_ms": 1.5, "upstream_ms": 1.25, "bytes_in": 0,
                "bytes_out": 90, "request_id": "abc",
            })
        );
    }

    #[test]
    fn only_what_went_well_may_be_left_out() {
        let good = || Line { grpc_status: Some(5), ..line("/a") };
        assert!(good().is_routine(), "not found is an answer");
        for odd in [
            Line { reason: Some("expired"), ..good() },
            Line { status: 503, ..good() },
            Line { status: CALLER_LEFT, ..good() },
            Line { aborted: true, ..good() },
            Line { unasked: true, ..good() },
            Line { grpc_status: Some(14), ..good() },
        ] {
            assert!(!odd.is_routine(), "{odd:?}");
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_never_a_request() {
        let (seen, wrote) = mpsc::channel();
        let (leave, wait) = mpsc::channel();
        let dropped = Counter::default();
        let (log, writer) = AccessLog::start(Box::new(Gated(seen, wait)), 1, dropped.clone()).unwrap();
        log.write(&line("/first"));
        wrote.recv_timeout(Duration::from_secs(10)).unwrap();
        let path = "x".repeat(4_000);
        for _ in 0..1_000 {
            log.write(&line(&path));
        }
        assert!(dropped.get() > 0, "the buffer is bounded");
        drop(wrote);
        drop(leave);
        writer.close();
    }

    #[test]
    fn closing_ends_though_the_reader_stands_still() {
        let (seen, wrote) = mpsc::channel();
        let (_leave, wait) = mpsc::channel();
        let (log, writer) = AccessLog::start(Box::new(Gated(seen, wait)), 1, Counter::default()).unwrap();
        log.write(&line("/a"));
        wrote.recv_timeout(Duration::from_secs(10)).unwrap();
        let (close, closed) = mpsc::channel();
        std::thread::spawn(move || {
            writer.close();
            close.send(())
        });
        closed.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn closing_writes_what_is_waiting() {
        let (seen, wrote) = mpsc::channel();
        let (leave, wait) = mpsc::channel();
        let (log, writer) = AccessLog::start(Box::new(Gated(seen, wait)), 1, Counter::default()).unwrap();
        for _ in 0..3 {
            leave.send(()).unwrap();
            log.write(&line("/a"));
        }
        writer.close();
        assert_eq!(wrote.iter().flatten().filter(|byte| *byte == b'\n').count(), 3);
    }
}
