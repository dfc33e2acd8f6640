//! What an app of HTTP/2 turns away is sent again where it has not been touched, and only there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::http2::{self, Frames, encode, frame};

use crate::scene::{Scene, reason, request};
use crate::upstream::over_http2;

/// An app of HTTP/2, frame by frame, that turns requests away as long as `turns_away` has frames for them, by their number
/// and stream, and answers the others; and how many came.
async fn picky(turns_away: impl Fn(usize, u32) -> Option<Vec<u8>> + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (came, turns_away) = (Arc::new(AtomicUsize::new(0)), Arc::new(turns_away));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (count, turns_away) = (Arc::clone(&count), Arc::clone(&turns_away));
            tokio::spawn(async move {
                let mut frames = Frames::accept(stream).await;
                while let Some(http2::Frame { kind, flags, stream, .. }) = frames.next().await {
                    let answer = match kind {
                        frame::SETTINGS if flags & frame::END_STREAM == 0 => {
                            encode(frame::SETTINGS, frame::END_STREAM, 0, &[])
                        }
                        frame::HEADERS => {
                            let number = count.fetch_add(1, Ordering::SeqCst);
                            // :status 200
                            let good =
                                || encode(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, &[0x88]);
                            turns_away(number, stream).unwrap_or_else(good)
                        }
                        _ => continue,
                    };
                    if frames.write(&answer).await.is_err() {
                        return;
                    }
                    // Whoever says that it has begun with a request and leaves has left.
                    if answer.ends_with(LEAVES) {
                        return;
                    }
                }
            });
        }
    });
    (port, came)
}

/// Debug data of a GOAWAY after which the app hangs up.
const LEAVES: &[u8] = b"leaves";
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

fn goaway(last: u32, more: &[u8]) -> Vec<u8> {
    encode(frame::GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &[0; 4], more].concat())
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    encode(frame::RST_STREAM, 0, stream, &code.to_be_bytes())
}

#[tokio::test]
async fn what_an_app_of_http2_has_not_touched_is_sent_again_whatever_it_asks_for() {
    let untouched: [fn(u32) -> Vec<u8>; 2] = [|stream| goaway(stream - 1, &[]), |stream| reset(stream, REFUSED_STREAM)];
    for refusal in untouched {
        for warm in [0, 1] {
            for method in ["POST", "DELETE", "PATCH", "GET", "BREW"] {
                let (port, came) = picky(move |number, stream| (number == warm).then(|| refusal(stream))).await;
                let scene = Scene::with(&over_http2(port), |options| options.workers = 1.try_into().ok()).await;
                for _ in 0..warm {
                    assert_eq!(scene.get("/", &[]).await.0.status(), 200);
                }
                let (head, _) = scene.raw(request(method, "/", &[], "")).await;
                assert_eq!((head.status(), came.load(Ordering::SeqCst)), (200, warm + 2), "{method} after {warm}");
                scene.await_metric("tollgate_upstream_retries_total 1").await;
            }
        }
    }
}

#[tokio::test]
async fn what_an_app_of_http2_may_have_touched_is_not_sent_again_nor_anything_twice_more() {
    let touched: [fn(u32) -> Vec<u8>; 3] = [
        |stream| goaway(stream, LEAVES),
        |stream| reset(stream, INTERNAL_ERROR),
        // It is for another stream that it says so.
        |stream| [goaway(stream, &[]), reset(stream, INTERNAL_ERROR)].concat(),
    ];
    for end in touched {
        let (port, came) = picky(move |_, stream| Some(end(stream))).await;
        let scene = Scene::start(&over_http2(port)).await;
        let (head, body) = scene.raw(request("DELETE", "/", &[], "")).await;
        assert_eq!((head.status(), reason(&body).as_str()), (502, "upstream_unreachable"));
        assert_eq!(came.load(Ordering::SeqCst), 1);
    }
    // It lives and has ended the request alone: not even what is safe is sent again on the way that was used before.
    for code in [INTERNAL_ERROR, CANCEL] {
        let (port, came) = picky(move |number, stream| (number == 1).then(|| reset(stream, code))).await;
        let scene = Scene::with(&over_http2(port), |options| options.workers = 1.try_into().ok()).await;
        assert_eq!(scene.get("/", &[]).await.0.status(), 200);
        let (head, _) = scene.get("/", &[]).await;
        assert_eq!((head.status(), came.load(Ordering::SeqCst)), (502, 2), "{code}");
    }
    // One second chance, and none for what cannot be said again.
    for (body, expected) in [("", 2), ("pay", 1)] {
        let (port, came) = picky(|_, stream| Some(reset(stream, REFUSED_STREAM))).await;
        let scene = Scene::start(&over_http2(port)).await;
        let (head, _) = scene.raw(request("POST", "/", &[], body)).await;
        assert_eq!((head.status(), came.load(Ordering::SeqCst)), (502, expected), "{body:?}");
    }
}
