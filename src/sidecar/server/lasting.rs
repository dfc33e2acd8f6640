//! The body of an answer that may outlive its token (server-sent events, gRPC), or whose caller wants failures told in
//! trailers (gRPC): ended in the way that its protocol has for that, and passed on as it is until then.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

use super::tenure::{Ending, Lapse};
use crate::grpc::Messages;
use crate::proxy::{BodyError, Download};
use crate::reason::Reason;
use crate::rescue::{self, Form};

/// An answer that may have to end.
pub(crate) struct Lasting {
    /// None once it has ended.
    body: Option<Download>,
    lapse: Option<Lapse>,
    form: Form,
    /// Of gRPC, as they have been passed on.
    messages: Messages,
    /// Why we ended it.
    ended: Option<Ending>,
}

impl Lasting {
    pub(super) fn new(body: Download, lapse: Option<Lapse>, form: Form) -> Self {
        Self { body: Some(body), lapse, form, messages: Messages::default(), ended: None }
    }

    /// Why it was ended before its end, if it was.
    pub(super) fn ended(&self) -> Option<Ending> {
        self.ended
    }

    /// What comes last: the app's end goes, so that its connection does not wait. gRPC has its status behind a whole
    /// message only; within one, `broken` says that it is none.
    fn end(&mut self, ending: Ending, broken: impl FnOnce() -> BodyError) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.body = None;
        self.ended = Some(ending);
        match self.form {
            Form::Problem => None,
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
            return Poll::Ready(self.end(ending, BodyError::ended));
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

/// Answers that may go on for ever and whose end is the end of the body: server-sent events
/// (https://html.spec.whatwg.org/multipage/server-sent-events.html), and gRPC as browsers have it (gRPC-Web, Connect).
pub(super) fn goes_on(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return false };
    let begins = |kind: &[u8], with: &[u8]| {
        let (front, rest) = content_type.as_bytes().split_at(content_type.len().min(kind.len()));
        front.eq_ignore_ascii_case(kind) && rest.first().is_none_or(|next| with.contains(next))
    };
    begins(b"text/event-stream", b"; ")
        || begins(b"application/grpc-web", b"+-; ")
        || begins(b"application/connect+proto", b"; ")
        || begins(b"application/connect+json", b"; ")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_goes_on_is_told_by_its_content_type() {
        for (content_type, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream ;charset=utf-8", true),
            ("application/grpc-web", true),
            ("application/grpc-web+proto", true),
            ("application/grpc-web-text", true),
            ("application/connect+json", true),
            ("application/connect+proto; charset=utf-8", true),
            ("application/grpc-webs", false),
            ("application/connect", false),
            ("application/json", false),
            ("text/event-streams", false),
            ("text/event", false),
            ("text/plain; text/event-stream", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            assert_eq!(goes_on(&headers), expected, "{content_type}");
        }
        assert!(!goes_on(&HeaderMap::new()));
    }
}
