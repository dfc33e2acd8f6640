//! The body of an answer that may outlive its token (server-sent events, gRPC, JSON texts in a row, or one to a request that
//! goes on), or whose caller wants failures told in trailers (gRPC): ended in the way that its protocol has for that, and
//! passed on as it is until then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};

use super::tenure::{Ending, Lapse};
use crate::grpc::Messages;
use crate::proxy::{BodyError, Download, Progress};
use crate::reason::Reason;
use crate::rescue::{self, Form};

/// Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), gRPC as browsers have it (gRPC-Web,
/// Connect), and pictures that replace each other.
const FRAMED: [(&str, &[u8]); 5] = [
    ("text/event-stream", b"; "),
    ("application/grpc-web", b"+-; "),
    ("application/connect+proto", b"; "),
    ("application/connect+json", b"; "),
    ("multipart/x-mixed-replace", b"; "),
];
/// JSON texts in a row (RFC 7464 and what is common beside it), and gRPC where the caller did not ask for it.
const RECORDS: [(&str, &[u8]); 11] = [
    ("application/x-ndjson", b"; "),
    ("application/ndjson", b"; "),
    ("text/x-ndjson", b"; "),
    ("application/jsonl", b"; "),
    ("application/x-jsonl", b"; "),
    ("application/jsonlines", b"; "),
    ("application/x-jsonlines", b"; "),
    ("application/json-seq", b"; "),
    ("application/stream+json", b"; "),
    ("application/json;stream=watch", b"; "),
    ("application/grpc", b"+; "),
];

/// What an answer is, as far as its end goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It ends by itself.
    Plain,
    /// It may go on for ever, and its reader tells where a part of it ends: it may end anywhere.
    Framed,
    /// It may go on for ever, and its reader takes its end for the end of all there is: it has to break off.
    Records,
}

/// An answer that may have to end.
pub(crate) struct Lasting {
    /// None once it has ended.
    body: Option<Download>,
    lapse: Option<Lapse>,
    form: Form,
    kind: Kind,
    /// The request's, where it goes on while the answer comes.
    upload: Option<Arc<Progress>>,
    /// Of gRPC, as they have been passed on.
    messages: Messages,
    /// Why we ended it.
    ended: Option<Ending>,
}

impl Lasting {
    pub(super) fn new(
        body: Download,
        lapse: Option<Lapse>,
        form: Form,
        kind: Kind,
        upload: Option<Arc<Progress>>,
    ) -> Self {
        Self { body: Some(body), lapse, form, kind, upload, messages: Messages::default(), ended: None }
    }

    /// Whether it has become one that ends by itself: its request has come to its end meanwhile.
    fn is_plain(&self) -> bool {
        let goes_on = self.form == Form::Grpc || self.kind.goes_on();
        !goes_on && self.upload.as_ref().is_none_or(|upload| upload.has_ended())
    }

    /// Why it was ended before its end, if it was.
    pub(super) fn ended(&self) -> Option<Ending> {
        self.ended
    }

    /// What comes last: the app's end goes, so that its connection does not wait. gRPC has its status behind a whole
    /// message only; within one, and where the end would be taken for that of the whole, `broken` says that it is none.
    fn end(&mut self, ending: Ending, broken: impl FnOnce() -> BodyError) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.body = None;
        self.ended = Some(ending);
        match self.form {
            Form::Problem if self.kind == Kind::Framed => None,
            Form::Problem => Some(Err(broken())),
            Form::Grpc if !self.messages.are_whole() => Some(Err(broken())),
            Form::Grpc => Some(Ok(Frame::trailers(match ending {
                Ending::For(reason) => rescue::grpc_trailers(reason),
                Ending::Drain => rescue::grpc_trailers_of_drain(),
            }))),
        }
    }
}

impl Body for Lasting {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // First, as a stream that always has something to say would never end.
        if self.body.is_some()
            && let Some(Poll::Ready(ending)) = self.lapse.as_mut().map(|lapse| lapse.as_mut().poll(cx))
        {
            if !self.is_plain() {
                return Poll::Ready(self.end(ending, BodyError::ended));
            }
            self.lapse = None;
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match (frame, self.form) {
            (Some(Err(error)), Form::Grpc) => {
                let reason = match error {
                    BodyError::Idle => Reason::UpstreamTimeout,
                    BodyError::App(_) | BodyError::Ended(_) => Reason::UpstreamUnreachable,
                };
                Poll::Ready(self.end(Ending::For(reason), || error))
            }
            (None, _) => {
                self.body = None;
                Poll::Ready(None)
            }
            (Some(Ok(frame)), Form::Grpc) => {
                self.messages.advance(frame.data_ref().map_or(&[], |data| data));
                Poll::Ready(Some(Ok(frame)))
            }
            (frame, _) => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // Where it may end early, no length is promised.
        SizeHint::default()
    }
}

impl Kind {
    /// By its content type.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return Self::Plain };
        let is = |kinds: &[(&str, &[u8])]| kinds.iter().any(|(kind, with)| begins(content_type, kind, with));
        match () {
            () if is(&FRAMED) => Self::Framed,
            () if is(&RECORDS) => Self::Records,
            () => Self::Plain,
        }
    }

    pub(super) fn goes_on(self) -> bool {
        self != Self::Plain
    }
}

/// Whether a content type is of a kind, which one of the bytes `with` may follow.
fn begins(content_type: &HeaderValue, kind: &str, with: &[u8]) -> bool {
    let (front, rest) = content_type.as_bytes().split_at(content_type.len().min(kind.len()));
    front.eq_ignore_ascii_case(kind.as_bytes()) && rest.first().is_none_or(|next| with.contains(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_by_its_content_type() {
        use Kind::{Framed, Plain, Records};
        for (content_type, expected) in [
            ("text/event-stream", Framed),
            ("Text/Event-Stream; charset=utf-8", Framed),
            ("text/event-stream ;charset=utf-8", Framed),
            ("application/grpc-web", Framed),
            ("application/grpc-web+proto", Framed),
            ("application/grpc-web-text", Framed),
            ("application/connect+json", Framed),
            ("application/connect+proto; charset=utf-8", Framed),
            ("multipart/x-mixed-replace; boundary=frame", Framed),
            ("application/x-ndjson", Records),
            ("application/NDJSON; charset=utf-8", Records),
            ("application/jsonl", Records),
            ("application/x-jsonlines", Records),
            ("application/json-seq", Records),
            ("application/json;stream=watch", Records),
            ("text/x-ndjson", Records),
            ("application/x-jsonl", Records),
            ("application/stream+json", Records),
            ("application/grpc", Records),
            ("application/grpc+proto", Records),
            ("application/grpc-webs", Plain),
            ("application/connect", Plain),
            ("application/json", Plain),
            ("application/jsonlines", Records),
            ("application/json;stream=watched", Plain),
            ("application/json; charset=utf-8", Plain),
            ("multipart/mixed", Plain),
            ("text/event-streams", Plain),
            ("text/event", Plain),
            ("text/plain; text/event-stream", Plain),
            ("", Plain),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            assert_eq!(Kind::of(&headers), expected, "{content_type}");
        }
        assert_eq!(Kind::of(&HeaderMap::new()), Plain);
    }
}
