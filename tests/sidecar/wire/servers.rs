//! Servers that are not ours, behind the sidecar, and what each of them says it got.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tests::upstream::{Arrived, Upstream, ok};
use tests::wait::eventually;
use tokio::net::{TcpListener, TcpStream};
use xtask::real_servers::RealServers;

use crate::scene::PATIENCE;

/// A request as a server understood it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    /// As it came.
    pub(super) target: String,
    /// The path that the server serves for it.
    pub(super) meant: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// A running server; ends when dropped.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) port: u16,
    record: Record,
    process: Child,
    _folder: TempDir,
}

enum Record {
    /// Lines that it prints.
    Printed(Arc<Mutex<Vec<Seen>>>),
    /// What it passes on.
    Passed(Upstream),
}

impl Server {
    pub(super) async fn uvicorn(servers: &RealServers, parser: &'static str) -> Self {
        let port = free_port().await;
        let mut process = start(servers.uvicorn(parser, port).stdout(Stdio::piped()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (lines, record) = (process.stdout.take().expect("a pipe"), Arc::clone(&seen));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                record.lock().expect("no panic before").push(printed(&line));
            }
        });
        Self { name: parser, port, record: Record::Printed(seen), process, _folder: folder() }.into_listening().await
    }

    pub(super) async fn nginx(servers: &RealServers) -> Self {
        let (port, behind, folder) = (free_port().await, Upstream::start(|_| ok("ok")).await, folder());
        let mut command = servers.nginx(port, behind.port(), folder.path()).expect("its configuration");
        let process = start(&mut command);
        Self { name: "nginx", port, record: Record::Passed(behind), process, _folder: folder }.into_listening().await
    }

    /// Everything so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        match &self.record {
            Record::Printed(seen) => seen.lock().expect("no panic before").clone(),
            Record::Passed(upstream) => upstream.arrived().iter().map(passed).collect(),
        }
    }

    /// Everything after so many; waits until there are at least `least`.
    pub(super) async fn seen_after(&self, before: usize, least: usize) -> Vec<Seen> {
        eventually("the server has said what it got", PATIENCE, || async {
            let seen = self.seen();
            if seen.len() >= before + least { Ok(seen[before..].to_vec()) } else { Err(seen.len()) }
        })
        .await
    }

    async fn into_listening(self) -> Self {
        eventually("the server listens", PATIENCE, || async { TcpStream::connect(("127.0.0.1", self.port)).await })
            .await;
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).spawn().expect("the server starts")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

fn printed(line: &str) -> Seen {
    let record: Value = serde_json::from_str(line).expect("a line is JSON");
    let text = |name: &str| record[name].as_str().expect("a text").to_owned();
    let pairs = record["headers"].as_array().expect("a list").iter();
    let pair = |pair: &Value| (text_of(&pair[0]).to_lowercase(), text_of(&pair[1]));
    Seen {
        method: text("method"),
        target: text("target"),
        meant: text("meant"),
        headers: pairs.map(pair).collect(),
        body: text("body").chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn passed(request: &Arrived) -> Seen {
    let lines = request.head.as_str().split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let headers = lines.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Seen {
        method: request.head.start_line().split(' ').next().unwrap_or_default().to_owned(),
        target: request.head.target().to_owned(),
        meant: request.head.header("x-meant").unwrap_or_default().to_owned(),
        headers: headers.filter(|(name, _)| name != "x-meant").collect(),
        body: request.body.bytes.clone(),
    }
}
