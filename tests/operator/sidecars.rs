//! A sidecar's report endpoint, played: it says what the test tells it to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tollgate_contract::{IssuerReport, PolicyHash, Problem, ProblemCode, SidecarReport};

/// One sidecar, at an address of loopback; ends with the value.
pub(crate) struct Sidecar {
    pub(crate) address: IpAddr,
    report: Arc<Mutex<SidecarReport>>,
    task: JoinHandle<()>,
}

impl Sidecar {
    /// Starts one at `127.0.0.<number>`, for a pod and a policy.
    pub(crate) async fn start(number: u8, port: u16, pod_uid: &str, policy: &str) -> Self {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, number));
        let listener = TcpListener::bind(SocketAddr::new(address, port)).await.expect("a port of loopback");
        let report = Arc::new(Mutex::new(SidecarReport {
            pod_uid: pod_uid.to_owned(),
            policy_hash: hash(policy),
            version: "1".to_owned(),
            problems: Vec::new(),
            issuers: vec![IssuerReport { name: "okta".to_owned(), key_ids: vec!["key-1".to_owned()] }],
            app_listens: Some(true),
        }));
        let said = Arc::clone(&report);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let body = serde_json::to_string(&*said.lock().expect("no panic")).expect("JSON");
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, report, task }
    }

    /// From now on it has these problems with the issuer `okta`.
    pub(crate) fn has(&self, problems: &[ProblemCode]) {
        let problems = problems.iter().map(|code| Problem { code: *code, issuer: "okta".to_owned() }).collect();
        self.report.lock().expect("no panic").problems = problems;
    }

    /// From now on it says so of the app beside it.
    pub(crate) fn says_that_the_app_listens(&self, listens: bool) {
        self.report.lock().expect("no panic").app_listens = Some(listens);
    }

    /// From now on it answers for this pod.
    pub(crate) fn answers_for(&self, pod_uid: &str) {
        pod_uid.clone_into(&mut self.report.lock().expect("no panic").pod_uid);
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn hash(text: &str) -> PolicyHash {
    serde_json::from_value(text.into()).expect("a hash")
}
