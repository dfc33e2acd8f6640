//! A gRPC service and its callers, of tonic: methods of every kind whose messages are plain bytes, so that no schema has to
//! be compiled.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, BufMut, Bytes};
use futures::{Stream, StreamExt};
use http_body_util::BodyExt;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use crate::app::{AnyBody, App, Protocol};

/// Messages are bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// The service, which counts calls that were dropped before their end.
struct Service {
    method: String,
    cancelled: Arc<AtomicUsize>,
}

/// Counts itself when it is dropped.
struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl StreamingService<Bytes> for Service {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (method, counts) = (self.method.clone(), Counts(Arc::clone(&self.cancelled)));
        let mut messages = request.into_inner();
        Box::pin(async move {
            let answer: Messages = match method.as_str() {
                "Echo" => Box::pin(messages),
                // So many messages of a megabyte.
                "Many" => {
                    let count = messages.message().await?.map_or(0, |first| first.len());
                    let message = Bytes::from(vec![b'x'; 1 << 20]);
                    Box::pin(futures::stream::iter(std::iter::repeat_n(Ok(message), count)))
                }
                // Listens in a task of its own, which counts when its caller has no more to say or is cut off.
                "Listen" => {
                    tokio::spawn(async move {
                        while let Ok(Some(_)) = messages.message().await {}
                        drop(counts);
                    });
                    let first = futures::stream::once(async { Ok(Bytes::from("first")) });
                    return Ok(Response::new(Box::pin(first.chain(futures::stream::pending())) as Messages));
                }
                // How many bytes came.
                "Sum" => {
                    let mut sum = 0;
                    while let Some(message) = messages.message().await? {
                        sum += message.len();
                    }
                    Box::pin(futures::stream::iter([Ok(sum.to_string().into())]))
                }
                // A message, and then nothing for ever.
                "Wait" => {
                    let first = futures::stream::iter([Ok(Bytes::from("first"))]);
                    let never = futures::stream::pending().inspect(move |_: &Result<Bytes, Status>| {
                        let _ = &counts;
                    });
                    Box::pin(first.chain(never))
                }
                "Hang" => {
                    let _counts = counts;
                    return std::future::pending().await;
                }
                _ => return Err(Status::failed_precondition("not like this")),
            };
            Ok(Response::new(answer))
        })
    }
}

/// An app that serves `/test.Service/{Echo,Many,Sum,Wait,Hang,Fail}`, and how many waiting calls were dropped.
pub async fn service() -> (App, Arc<AtomicUsize>) {
    let cancelled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&cancelled);
    let app = App::start(Protocol::Http2, None, move |request| {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let service = Service { method, cancelled: Arc::clone(&counter) };
        async move {
            let answer = tonic::server::Grpc::new(Plain).streaming(service, request).await;
            answer.map(|body| -> AnyBody { body.map_err(Into::into).boxed_unsync() })
        }
    })
    .await;
    (app, cancelled)
}
