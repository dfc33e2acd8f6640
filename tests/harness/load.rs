//! A steady load over keep-alive connections: requests leave on a schedule whether or not earlier ones are back, and an
//! answer's time counts from when its request was due. It counts what came back and judges nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How long one answer may take before its connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Heads and problems are small.
const LARGEST_ANSWER: usize = 64 * 1024;

/// What to send, how often, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Where.
    pub address: SocketAddr,
    /// Requests a second, over all connections.
    pub rate: u32,
    /// Connections that share the rate; one that waits for an answer is late for its next request.
    pub connections: u32,
    /// How long.
    pub duration: Duration,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers by status; the reason of a problem stands beside it.
    pub answers: BTreeMap<(u16, String), u64>,
    /// Connections that broke, with a request under way.
    pub broken: u64,
    /// From when a request was due to the end of its answer.
    latencies: Vec<Duration>,
    /// From the start of the load to the last answer that was neither 200 nor 401, if there was one.
    pub last_trouble: Option<Duration>,
    /// The longest `Retry-After` of a 503; `None` where some 503 had none.
    pub longest_retry_after: Option<u64>,
    /// 503 answers without `Retry-After`.
    pub unexplained_503: u64,
}

struct Answer {
    status: u16,
    reason: String,
    retry_after: Option<u64>,
}

impl Load {
    /// Sends what `request` makes for each number from 0 on, in no particular order across connections.
    pub async fn run(self, request: impl Fn(u64) -> String + Send + Sync + 'static) -> Outcome {
        let request = Arc::new(request);
        let start = Instant::now() + Duration::from_millis(20);
        let mut connections = JoinSet::new();
        for lane in 0..self.connections {
            let request = Arc::clone(&request);
            connections.spawn(self.one(lane, start, move |nth| request(nth)));
        }
        let mut whole = Outcome::default();
        while let Some(part) = connections.join_next().await {
            whole.add(part.expect("a lane does not panic"));
        }
        whole
    }

    async fn one(self, lane: u32, start: Instant, request: impl Fn(u64) -> String) -> Outcome {
        let mut outcome = Outcome::default();
        let period = Duration::from_secs(1) * self.connections / self.rate;
        let mut due = interval_at(start + Duration::from_secs(1) * lane / self.rate, period);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut connection = None;
        let mut nth = u64::from(lane);
        loop {
            let due = due.tick().await;
            if due >= start + self.duration {
                return outcome;
            }
            let text = request(nth);
            nth += u64::from(self.connections);
            match tokio::time::timeout(PATIENCE, exchange(&mut connection, self.address, text.as_bytes())).await {
                Ok(Ok(answer)) => outcome.note(answer, due, start),
                Ok(Err(_)) | Err(_) => {
                    connection = None;
                    outcome.broken += 1;
                }
            }
        }
    }
}

impl Outcome {
    /// Answers with this status, whatever the reason.
    #[must_use]
    pub fn with_status(&self, status: u16) -> u64 {
        self.answers.iter().filter(|((held, _), _)| *held == status).map(|(_, count)| count).sum()
    }

    /// All answers.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answers.values().sum()
    }

    /// The latency that this part of the answers (0..1) did not exceed.
    #[must_use]
    pub fn percentile(&mut self, part: f64) -> Duration {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let at = u32::try_from(last).map_or(0.0, f64::from) * part;
        self.latencies.get(at.round() as usize).copied().unwrap_or_default()
    }

    fn note(&mut self, answer: Answer, due: Instant, start: Instant) {
        self.latencies.push(due.elapsed());
        if answer.status == 503 {
            match answer.retry_after {
                Some(after) => self.longest_retry_after = self.longest_retry_after.max(Some(after)),
                None => self.unexplained_503 += 1,
            }
        }
        if answer.status != 200 && answer.status != 401 {
            self.last_trouble = Some(start.elapsed());
        }
        *self.answers.entry((answer.status, answer.reason)).or_default() += 1;
    }

    fn add(&mut self, part: Self) {
        for (key, count) in part.answers {
            *self.answers.entry(key).or_default() += count;
        }
        self.broken += part.broken;
        self.latencies.extend(part.latencies);
        self.last_trouble = self.last_trouble.max(part.last_trouble);
        self.longest_retry_after = self.longest_retry_after.max(part.longest_retry_after);
        self.unexplained_503 += part.unexplained_503;
    }
}

/// A `GET` of `/items` with this bearer token.
#[must_use]
pub fn get_items(token: &str) -> String {
    format!("GET /items HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {token}\r\n\r\n")
}

async fn exchange(connection: &mut Option<TcpStream>, address: SocketAddr, request: &[u8]) -> std::io::Result<Answer> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            connection.insert(stream)
        }
    };
    stream.write_all(request).await?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > LARGEST_ANSWER {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((answer, closes)) = whole(&bytes) {
            if closes {
                *connection = None;
            }
            return Ok(answer);
        }
    }
}

/// The answer, once its body has arrived by `content-length`, and whether the connection ends with it.
fn whole(bytes: &[u8]) -> Option<(Answer, bool)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let header = |name: &str| {
        let of = |line: &str| {
            let (held, value) = line.split_once(':')?;
            held.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        head.lines().skip(1).find_map(of)
    };
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if body.len() < length {
        return None;
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let reason = problem.and_then(|problem| Some(problem.get("reason")?.as_str()?.to_owned())).unwrap_or_default();
    let retry_after = header("retry-after").and_then(|after| after.parse().ok());
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Some((Answer { status, reason, retry_after }, closes))
}
