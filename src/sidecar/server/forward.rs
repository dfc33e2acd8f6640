//! The last step of a request: to the app, and what kind of an exchange its answer begins. A plain one ends by itself; a
//! stream, in either direction, ends when its right ends; a WebSocket becomes a tunnel.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Response};
use hyper::body::Body;

use super::Gate;
use super::flight::{AnswerBody, Flight};
use super::head::Refusal;
use super::lasting::{Kind, Lasting};
use super::streams::Held;
use super::tenure::{Ending, Lapse, lapse};
use super::tunnel::Tunnel;
use crate::auth::Grant;
use crate::intake::Intake;
use crate::places::Holder;
use crate::proxy::{self, Download, Opened, Opening, Progress};
use crate::rejection::Rejection;
use crate::rescue::{self, Context, Form};

/// A request that the app may see.
pub(super) struct Admitted {
    /// With the headers as the app may see them.
    pub(super) parts: Box<Parts>,
    pub(super) body: Intake,
    /// The wish for a WebSocket.
    pub(super) opening: Option<Opening>,
    /// None where no token is asked for: nothing of it ends then.
    pub(super) grant: Option<Grant>,
    /// Whom it counts for at the app.
    pub(super) holder: Holder,
}

impl Gate {
    pub(super) async fn forward(
        &self,
        admitted: Admitted,
        request_id: &HeaderValue,
        flight: &mut Flight,
    ) -> Result<Response<AnswerBody>, Refusal<'_>> {
        let Admitted { mut parts, body, opening, grant, holder } = admitted;
        flight.calling(&mut parts.headers);
        let plain = |rejection| (rejection, Context::None);
        if let Some(opening) = opening {
            return Box::pin(self.open(parts, opening, grant, holder, request_id, flight)).await.map_err(plain);
        }
        let form = Form::of(&parts.headers);
        let outgoing = self.proxy.outgoing(parts, body, form == Form::Grpc);
        flight.upload = outgoing.progress();
        // The app of a gRPC stream may be silent for as long as it likes, also before the head of its answer; an upload
        // that names no length may go on for as long.
        let is_watched = form == Form::Grpc || (grant.is_some() && outgoing.is_open_ended());
        let mut sending = pin!(self.proxy.send(outgoing, holder));
        let (answer, right) = if is_watched {
            let mut lapse = lapse(&self.shared, grant);
            let ending = tokio::select! {
                biased;
                // First: what has no time left is not sent.
                ending = lapse.as_mut() => Err(ending),
                answer = sending.as_mut() => Ok(answer),
            };
            match ending {
                Ok(answer) => (answer, Right::Watched(lapse)),
                // The app has the whole of it and may have acted: what it says of that is worth hearing.
                Err(ending)
                    if form == Form::Problem && flight.upload.as_ref().is_none_or(|upload| upload.is_over()) =>
                {
                    (sending.await, Right::Watched(Box::pin(ready(ending))))
                }
                Err(ending) => {
                    flight.upload.iter().for_each(|upload| upload.end());
                    return Err(plain(match ending {
                        Ending::For(reason) => Rejection::new(reason, "The token's time ended before the answer."),
                        Ending::Drain => rescue::stops(),
                    }));
                }
            }
        } else {
            (sending.await, Right::Unwatched(grant))
        };
        flight.called();
        let mut response = answer.map_err(plain)?;
        proxy::finish(&mut response, request_id);
        Ok(self.lasting(response, right, form, flight.upload.as_ref()))
    }

    /// An answer that goes on ends with its right, and so does one whose request goes on. What kind of answer it is, its
    /// own head says, however it was asked for.
    fn lasting(
        &self,
        response: Response<Download>,
        right: Right,
        form: Form,
        upload: Option<&Arc<Progress>>,
    ) -> Response<AnswerBody> {
        // A length is a promise to end.
        let is_open_ended = response.body().size_hint().exact().is_none();
        let kind = if is_open_ended { Kind::of(response.headers()) } else { Kind::Plain };
        let upload = upload.filter(|upload| !upload.has_ended());
        let lapse = match right {
            Right::Watched(lapse) => (kind.goes_on() || form == Form::Grpc || upload.is_some()).then_some(lapse),
            Right::Unwatched(grant) => {
                // With a length it would end by itself; not so what answers it meanwhile.
                let both_go_on = upload.is_some() && is_open_ended && grant.is_some();
                (kind.goes_on() || both_go_on).then(|| lapse(&self.shared, grant))
            }
        };
        response.map(|body| {
            if body.is_end_stream() || (lapse.is_none() && form == Form::Problem) {
                AnswerBody::App(body)
            } else {
                AnswerBody::Lasting(Box::new(Lasting::new(body, lapse, form, kind, upload.cloned())))
            }
        })
    }

    async fn open(
        &self,
        mut parts: Box<Parts>,
        opening: Opening,
        grant: Option<Grant>,
        holder: Holder,
        request_id: &HeaderValue,
        flight: &mut Flight,
    ) -> Result<Response<AnswerBody>, Rejection> {
        let held = parts.extensions.remove::<Arc<Held>>();
        let answer = self.proxy.open(parts, &opening, holder).await;
        flight.called();
        match answer? {
            Opened::No(mut response) => {
                proxy::finish(&mut response, request_id);
                Ok(self.lasting(response, Right::Unwatched(grant), Form::Problem, None))
            }
            Opened::Yes(mut response, app) => {
                proxy::finish(&mut response, request_id);
                let (mut head, ()) = response.into_parts();
                opening.accept(&mut head.status, &mut head.headers);
                let (lapse, drain) = (lapse(&self.shared, grant), self.shared.drain.clone());
                let tunnel = Tunnel { caller: opening.caller, app, lapse, drain, held };
                Ok(Response::from_parts(head, AnswerBody::Tunnel(Box::new(tunnel))))
            }
        }
    }
}

/// What is known of a stream's right when its answer begins.
enum Right {
    Watched(Lapse),
    Unwatched(Option<Grant>),
}
