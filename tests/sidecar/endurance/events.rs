//! A stream of server-sent events that is open for long: every event arrives, soon, and nothing ends it.

use std::time::{Duration, Instant};

use futures::StreamExt;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tests::app::{App, Protocol};
use tests::endurance::length;
use tests::issuer::FakeIssuer;
use tests::mint::epoch_seconds;
use tests::raw::Raw;

use crate::scene::{Scene, items, request};

const PAUSE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_event_stream_stays_open_and_its_last_event_is_its_end() {
    let lasts = length(Duration::from_secs(5), Duration::from_secs(600));
    let issuer = FakeIssuer::start().await;
    let app = App::start(Protocol::Http1, None, |_| async {
        let ticks = futures::stream::unfold(tokio::time::interval(PAUSE), |mut ticks| async {
            ticks.tick().await;
            Some((Ok(Frame::data("data: tick\n\n".into())), ticks))
        });
        let mut answer = Response::new(StreamBody::new(ticks.boxed()).boxed_unsync());
        answer.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        answer
    })
    .await;
    let scene = Scene::ready(&items(app.port(), &issuer)).await;
    let expiry = epoch_seconds() + lasts.as_secs();
    let token = issuer.token().claim("exp", json!(expiry)).signed();
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(request("GET", "/items", &[&format!("authorization: Bearer {token}")], "")).await;
    assert_eq!(caller.head().await.expect("an answer").status(), 200);
    let began = Instant::now();
    let mut events = 0;
    while caller.chunk().await.bytes == b"data: tick\n\n" {
        events += 1;
    }
    println!("{events} events in {:?}, then an orderly end", began.elapsed());
    let expected = lasts.as_secs();
    assert!((expected - 2..=expected + 15).contains(&events), "{events} events");
    assert!(epoch_seconds() >= expiry, "not before the token expires");
}
