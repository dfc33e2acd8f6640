//! The admin endpoints' server: probes, metrics, reports, in clear text for the cluster's own eyes. It takes GET and
//! HEAD, bounds what a client can hold, and leaves every answer to the handler. Nothing here is secret, nothing here
//! changes anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Enough for the kubelet, a scraper or two and the operator; more would only be somebody's mistake.
const MAX_CONNECTIONS: usize = 64;
/// A probe's whole head fits in one packet; this is for a peer that vanished.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left): long enough not to spin, short enough for the next probe.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the handler says to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Media type of `body`.
    pub content_type: &'static str,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// JSON, already serialized, with status 200.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: body.into() }
    }

    /// Metrics in the OpenMetrics text format, with status 200.
    pub fn metrics(registry: &prometheus_client::registry::Registry) -> Self {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, registry) {
            Ok(()) => Self {
                status: StatusCode::OK,
                content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
                body: text.into(),
            },
            Err(_) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be encoded\n"),
        }
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "not found\n")
    }
}

/// Serves until `shutdown`; connections then end with their current answer. `handler` gets the path and must not block.
pub async fn serve<F>(listener: TcpListener, shutdown: CancellationToken, handler: F)
where
    F: Fn(&str) -> Answer + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let handler = Arc::clone(&handler);
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            connection(stream, shutdown, handler).await;
            drop(slot);
        });
    }
}

async fn connection<F>(stream: TcpStream, shutdown: CancellationToken, handler: Arc<F>)
where
    F: Fn(&str) -> Answer + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = respond(&request, &*handler);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    // A broken admin connection concerns nobody but its peer.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn respond<F: Fn(&str) -> Answer>(request: &Request<Incoming>, handler: &F) -> Response<Full<Bytes>> {
    let answer = if request.method() == Method::GET || request.method() == Method::HEAD {
        handler(request.uri().path())
    } else {
        Answer::text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n")
    };
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, shutdown.clone(), |path| match path {
            "/livez" => Answer::text(StatusCode::OK, "ok\n"),
            _ => Answer::not_found(),
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        shutdown.cancel();
        server.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_handler_answers_by_path_without_the_query() {
        let answer = ask("GET /livez?verbose").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        assert!(ask("GET /other").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn other_methods_are_refused() {
        assert!(ask("POST /livez").await.starts_with("HTTP/1.1 405"));
        assert!(ask("DELETE /livez").await.contains("allow: GET, HEAD"));
    }
}
