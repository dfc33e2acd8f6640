//! Asks every pod what it enforces, and makes the kubelet look at the mounts of pods that lack a file. What pods say is
//! untrusted: the uid is checked, the answer's size and time are bounded.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use rand::seq::SliceRandom;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpStream;
use tollgate_contract::SidecarReport;
use tollgate_contract::names::CONFIG_PATH;

use super::context::{Context, Key};
use crate::plan::names::{FIELD_MANAGER, REFRESH_ANNOTATION};
use crate::plan::pods::{PodView, SidecarState, view};
use crate::plan::reports::{Poll, PolledPod};

/// A sidecar answers from memory, in well under a millisecond; a pod that takes longer is asked again later.
const POLL_TIMEOUT: Duration = Duration::from_millis(1500);

/// Pods whose turn has not come by then are not asked this time: a repair waits for the end of a look, and must not wait
/// for hundreds of pods that do not answer. With the last answers that is 3.5 s of the 5 s that a repair may take.
const POLLING: Duration = Duration::from_secs(2);

/// Pods of one resource that are asked at a time.
const POLLS_AT_A_TIME: usize = 16;

/// Eight issuers with 32 keys each fit many times.
const REPORT_LIMIT: usize = 64 * 1024;

/// Why a pod gave no report.
#[derive(Debug, Error)]
enum AskError {
    #[error("connecting")]
    Connect(#[source] std::io::Error),
    #[error("exchanging HTTP messages")]
    Http(#[source] hyper::Error),
    #[error("building the request")]
    Request(#[source] http::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("reading the body")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the body is no report")]
    NoReport(#[source] serde_json::Error),
    #[error("no answer within {POLL_TIMEOUT:?}")]
    Timeout,
}

/// The resource's pods that have not ended, and what they say.
pub(super) async fn poll(context: &Context, key: &Key) -> Vec<PolledPod> {
    let mut pods: Vec<PodView> = context.stores.pods(key).iter().filter_map(|pod| view(pod)).collect();
    // Where the time is not enough for all, each has its turn in the end.
    pods.shuffle(&mut rand::rng());
    let end = Instant::now() + POLLING;
    let polls = stream::iter(pods)
        .map(|pod| async move {
            let poll = match (pod.sidecar, pod.address) {
                (SidecarState::Down, _) => None,
                (_, None) => Some(Poll::Silent),
                (_, Some(address)) => poll_one(context, &pod, address, end).await,
            };
            (pod, poll)
        })
        .buffer_unordered(POLLS_AT_A_TIME)
        .collect()
        .await;
    let mut pods = context.memory.learn(key, polls);
    pods.sort_by(|a, b| a.view.name.cmp(&b.view.name));
    for pod in pods.iter().filter(|pod| pod.lacks_a_file() && !pod.view.terminating) {
        if context.memory.may_refresh(key, &pod.view.uid, Instant::now()) {
            refresh(context, key, &pod.view).await;
        }
    }
    pods
}

/// `None` when its turn has not come in time.
async fn poll_one(context: &Context, pod: &PodView, address: IpAddr, end: Instant) -> Option<Poll> {
    // The semaphore is never closed; were it, an unbounded poll would still be right.
    let slot = tokio::time::timeout_at(end.into(), context.shared.polls.acquire()).await;
    let slot = slot.ok().filter(|_| Instant::now() < end)?;
    let at = SocketAddr::new(address, context.shared.settings.poll_port);
    let answer = tokio::time::timeout(POLL_TIMEOUT, ask(at)).await.unwrap_or(Err(AskError::Timeout));
    drop(slot);
    let poll = match answer {
        Ok(report) if report.pod_uid == pod.uid => Poll::Report(report),
        Ok(_) => Poll::OtherPod,
        Err(error) => {
            tracing::debug!(pod = pod.name, error = &error as &dyn std::error::Error, "a pod gave no report");
            Poll::Silent
        }
    };
    context.shared.metrics.polled(match poll {
        Poll::Report(_) => "report",
        Poll::OtherPod => "other_pod",
        Poll::Silent => "silent",
    });
    Some(poll)
}

/// One request on a connection of its own: no proxy, no redirect, no name to resolve.
async fn ask(at: SocketAddr) -> Result<SidecarReport, AskError> {
    let stream = TcpStream::connect(at).await.map_err(AskError::Connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(AskError::Http)?;
    let exchange = async move {
        let request = Request::get(CONFIG_PATH)
            .header(header::HOST, at.to_string())
            .body(Empty::<Bytes>::new())
            .map_err(AskError::Request)?;
        let response = sender.send_request(request).await.map_err(AskError::Http)?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), REPORT_LIMIT).collect().await.map_err(AskError::Body)?;
        serde_json::from_slice(&body.to_bytes()).map_err(AskError::NoReport)
    };
    // The connection ends when the exchange drops its sender; its own error shows in the exchange.
    let (report, _) = futures::future::join(exchange, connection).await;
    report
}

/// Changes an annotation of the pod, which makes the kubelet refresh its mounts at once. A failure is only a delay.
async fn refresh(context: &Context, key: &Key, pod: &PodView) {
    let api: Api<Pod> = Api::namespaced(context.shared.client.clone(), &key.namespace);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let patch = json!({"metadata": {"uid": pod.uid, "annotations": {REFRESH_ANNOTATION: now.to_string()}}});
    context.shared.metrics.wrote("Pod", "refresh");
    if let Err(error) = api.patch_status(&pod.name, &PatchParams::apply(FIELD_MANAGER), &Patch::Merge(patch)).await {
        tracing::warn!(
            namespace = key.namespace,
            pod = pod.name,
            error = &error as &dyn std::error::Error,
            "a pod's mounts could not be refreshed"
        );
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that answers every connection with these bytes.
    async fn asked(answer: String) -> Result<SidecarReport, AskError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let report = ask(at).await;
        let request = server.await.expect("the server");
        assert!(request.starts_with("GET /config HTTP/1.1\r\n"), "{request}");
        report
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_report_is_read() {
        let report = asked(ok(r#"{"podUid":"u","policyHash":"aa","version":"1","later":"ignored"}"#)).await;
        assert_eq!(report.expect("a report").pod_uid, "u");
    }

    #[tokio::test]
    async fn anything_but_a_report_is_refused() {
        assert!(matches!(asked(ok("<html>")).await, Err(AskError::NoReport(_))));
        let redirect = "HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n".to_owned();
        assert!(matches!(asked(redirect).await, Err(AskError::Status(StatusCode::FOUND))));
        assert!(matches!(asked("SSH-2.0\r\n".to_owned()).await, Err(AskError::Http(_))));
    }

    #[tokio::test]
    async fn an_endless_report_is_cut() {
        let endless = ok(&" ".repeat(REPORT_LIMIT + 1));
        assert!(matches!(asked(endless).await, Err(AskError::Body(_))));
    }
}
