//! The benchmark's anchor: the least that a proxy on hyper does. It forwards what comes to a port of loopback to another
//! one and judges nothing.

use anyhow::Context;
use http::{Request, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>());
    let (own, app) = ports.next().zip(ports.next()).context("usage: bare-hyper <port> <port of the app>")?;
    let (own, app) = (own?, app?);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind(("127.0.0.1", own)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        let forward = service_fn(move |mut request: Request<Incoming>| {
            let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
            let uri = Uri::try_from(format!("http://127.0.0.1:{app}{target}"));
            let client = client.clone();
            async move {
                *request.uri_mut() = uri?;
                anyhow::Ok(client.request(request).await?)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), forward));
    }
}
