//! One request, top-down: head -> path -> route -> credentials -> headers -> scopes and claims -> forward, or the token
//! endpoint. It orders the decisions that the other modules make, and hands every refusal to `rescue`. The headers are
//! made what the app gets before a rule looks at them, so that both see the same.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::caller::{caller, is_trusted};
use super::crowd::UnderWay;
use super::flight::{Answer, AnswerBody, Flight, Observer};
use super::forward::Admitted;
use super::h2_head;
use super::head::{self, Refusal};
use super::{Drain, Tls};
use crate::auth::{Admission, Authenticator, Presented, strip_subprotocol};
use crate::broker::Broker;
use crate::claim_headers::WrittenClaims;
use crate::cors::{Answers, Preflight};
use crate::intake::Intake;
use crate::limits::Limits;
use crate::metrics::Place;
use crate::path::CleanPath;
use crate::places::Holder;
use crate::policy::Policy;
use crate::protected_resource::ProtectedResource;
use crate::proxy::{self, HeaderRules, Opening, Peer, Proxy, Told};
use crate::reason::Reason;
use crate::rejection::Rejection;
use crate::rescue::{self, Attempt, Context, Form, Rescue};
use crate::route::{Asked, MethodSet, Requirement, Unauthorized, Verdict};

/// A token request is a short form.
const MAX_TOKEN_BODY: usize = 64 * 1024;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) policy: Policy,
    pub(crate) rescue: Rescue,
    pub(crate) headers: HeaderRules,
    pub(crate) resource: ProtectedResource,
    pub(crate) authenticator: Authenticator,
    pub(crate) broker: Option<Broker>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) limits: Limits,
    /// None = plain.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) drain: Drain,
    /// WebSockets, which outlive the connections that they came on.
    pub(crate) tunnels: TaskTracker,
    /// Named to the app when a caller of HTTP/1.0 names no host.
    pub(crate) fallback_host: HeaderValue,
}

/// The way of a request, on one worker thread.
pub(crate) struct Gate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) proxy: Proxy,
}

impl Gate {
    /// Answers a request, whatever becomes of it.
    pub(super) async fn serve(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        mut under_way: UnderWay,
    ) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let body = under_way.take_in(body);
        // Many steps pass it on.
        let mut parts = Box::new(parts);
        h2_head::adapt(&mut parts);
        let request_id = proxy::request_id(&parts.headers);
        let form = Form::of(&parts.headers);
        let from_trusted = || is_trusted(peer.ip, &self.shared.policy.trusted_proxies);
        let mut flight = Flight::new(&self.shared.observer, &parts, &request_id, form, under_way, from_trusted);
        let is_http2 = parts.version == Version::HTTP_2;
        let cors = &self.shared.policy.cors;
        let script = cors.script(&parts.headers);
        let mut response = match self.pass(parts, body, peer, &request_id, &mut flight).await {
            Ok(response) => response,
            Err((rejection, context)) => {
                flight.reason = Some(rejection.reason);
                let mut response = self.shared.rescue.answer(&rejection, context, form).map(AnswerBody::Own);
                proxy::mark(response.headers_mut(), &request_id);
                response
            }
        };
        if let Some(script) = &script {
            let answers = match (response.body(), flight.place) {
                (AnswerBody::Own(_), Place::Token | Place::Metadata) => Answers::Own,
                (AnswerBody::Own(_), _) => Answers::Refusal,
                _ => Answers::Apps,
            };
            cors.mark(response.headers_mut(), script, answers);
        }
        // HTTP/2 says it for the whole connection, by GOAWAY.
        let is_tunnel = matches!(response.body(), AnswerBody::Tunnel(_));
        if self.shared.drain.has_begun() && !is_http2 && !is_tunnel {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        flight.answered(response, &self.shared.tunnels)
    }

    async fn pass(
        &self,
        mut parts: Box<Parts>,
        body: Intake,
        peer: &Peer,
        request_id: &HeaderValue,
        flight: &mut Flight,
    ) -> Result<Response<AnswerBody>, Refusal<'_>> {
        let opening = Opening::take(&mut parts, &body).map_err(|rejection| (rejection, Context::None))?;
        let host = head::check(&parts)?.unwrap_or(&self.shared.fallback_host).clone();
        if self.shared.policy.config.max_body_bytes.is_some_and(|longest| body.size_hint().lower() > longest) {
            return Err((proxy::too_long(), Context::None));
        }
        let path = CleanPath::received(head::path(&parts.uri).unwrap_or_default(), &self.shared.policy.config.paths)
            .map_err(|error| (Rejection::new(Reason::BadPath, error.detail()), Context::None))?;
        let preflight = self.shared.policy.cors.preflight(&parts, !body.is_end_stream());
        match &preflight {
            None => {
                if let Some(metadata) = self.shared.resource.at(path.as_str(), &parts.headers) {
                    flight.place = Place::Metadata;
                    return show(metadata, &parts.method, request_id);
                }
                if let Some(broker) = self.broker_at(&path) {
                    flight.place = Place::Token;
                    return self.token(broker, &parts, body, peer, request_id, flight).await;
                }
            }
            Some(_) => {
                if let Some(mut answer) = self.shared.policy.cors.answer(|| self.methods_at(&path, &parts)) {
                    proxy::mark(answer.headers_mut(), request_id);
                    return Ok(answer.map(AnswerBody::Own));
                }
                Preflight::strip(&mut parts.headers);
            }
        }
        let routes = &self.shared.policy.routes;
        let verdict = match &preflight {
            None => routes.judge(&path, &parts.method),
            Some(announced) => routes.judge(&path, &announced.method).of_preflight(routes.judge(&path, &parts.method)),
        };
        flight.place = Place::Route(verdict.route);
        let may_be_subprotocol =
            opening.is_some() && self.shared.policy.config.streams.web_socket_token.may_be_subprotocol();
        let admission = self.admit(&verdict, &path, &parts, peer, may_be_subprotocol, flight).await?;
        let (identity, dpop_nonce, grant) = match admission {
            Some(Admission { identity, dpop_nonce, grant }) => (Some(identity), dpop_nonce, Some(grant)),
            None => (None, None, None),
        };
        if may_be_subprotocol {
            strip_subprotocol(&mut parts.headers);
        }
        let holder = match &identity {
            Some(identity) => Holder::Subject(identity.whose),
            None => Holder::Stranger(self.caller(&parts, peer)),
        };
        let told = Told { host, peer, request_id, identity: identity.as_ref().map(|identity| &identity.headers) };
        proxy::for_app(&mut parts.headers, told, &self.shared.headers, &routes.headers_read(&verdict));
        if let Some(identity) = &identity {
            let asked = Asked { method: &parts.method, path: &path, headers: &parts.headers };
            routes.authorize(&verdict, identity, asked).map_err(|unauthorized| self.refuse(unauthorized, &parts))?;
        }
        self.shared.headers.strip_credentials(&mut parts.headers);
        let admitted = Admitted { parts, body, opening, grant, holder };
        let mut response = self.forward(admitted, request_id, flight).await?;
        if let Some(nonce) = dpop_nonce {
            response.headers_mut().insert(rescue::DPOP_NONCE, nonce);
        }
        Ok(response)
    }

    fn broker_at(&self, path: &CleanPath<'_>) -> Option<&Broker> {
        self.shared.broker.as_ref().filter(|broker| path.spells(broker.path()))
    }

    /// What a preflight may be told of a path.
    fn methods_at(&self, path: &CleanPath<'_>, parts: &Parts) -> MethodSet {
        if self.shared.resource.at(path.as_str(), &parts.headers).is_some() {
            MethodSet::GET
        } else if self.broker_at(path).is_some() {
            MethodSet::POST
        } else {
            self.shared.policy.routes.methods(path)
        }
    }

    /// For whom the request is made, where its path asks for a token.
    async fn admit(
        &self,
        verdict: &Verdict,
        path: &CleanPath<'_>,
        parts: &Parts,
        peer: &Peer,
        may_be_subprotocol: bool,
        flight: &mut Flight,
    ) -> Result<Option<Admission>, Refusal<'_>> {
        let plain = |reason, detail| (Rejection::new(reason, detail), Context::None);
        match verdict.requirement {
            Requirement::Nothing => return Ok(None),
            Requirement::Impossible => return Err(plain(Reason::RouteDenied, "Nobody may use this path.")),
            Requirement::Token => {}
        }
        let presented = Presented {
            method: &parts.method,
            path: path.as_str(),
            query: parts.uri.query(),
            headers: &parts.headers,
            from: self.caller(parts, peer),
            certificate: peer.certificate(),
            may_be_subprotocol,
        };
        flight.judging();
        let judged = self.shared.authenticator.authenticate(presented, SystemTime::now()).await;
        flight.judged();
        let admission = judged.map_err(|rejection| (rejection, Context::Credentials(self.attempt(parts))))?;
        flight.identified(&admission.identity);
        if let Some(allow) = verdict.method_mismatch {
            let rejection = Rejection::new(Reason::MethodNotAllowed, "No route takes this method on this path.");
            return Err((rejection, Context::Allow(allow)));
        }
        if admission.identity.headers.claims == WrittenClaims::Unwritable {
            return Err(plain(Reason::ClaimsDenied, "A claim that the API gets as a header does not fit into one."));
        }
        Ok(Some(admission))
    }

    /// The refusal of a request whose token is not enough.
    fn refuse<'a>(&'a self, unauthorized: Unauthorized<'a>, parts: &Parts) -> Refusal<'a> {
        let (reason, detail, context) = match unauthorized {
            Unauthorized::Issuer => {
                let detail = "This path takes no tokens of the token's issuer.";
                (Reason::IssuerMismatch, detail, Context::Credentials(self.attempt(parts)))
            }
            Unauthorized::Scopes(scopes) => {
                let detail = "The token lacks a scope that this path needs.";
                (Reason::InsufficientScope, detail, Context::Scope(self.attempt(parts), scopes))
            }
            Unauthorized::Claims(error) => {
                if let Some(error) = error {
                    debug!(%error, "a rule on claims has no answer");
                }
                (Reason::ClaimsDenied, "The token's claims do not allow this request.", Context::None)
            }
        };
        (Rejection::new(reason, detail), context)
    }

    fn caller(&self, parts: &Parts, peer: &Peer) -> IpAddr {
        caller(peer.ip, &parts.headers, &self.shared.policy.trusted_proxies)
    }

    fn attempt(&self, parts: &Parts) -> Attempt<'_> {
        Attempt::of(&parts.headers, &self.shared.policy.external_urls)
    }

    async fn token(
        &self,
        broker: &Broker,
        parts: &Parts,
        body: Intake,
        peer: &Peer,
        request_id: &HeaderValue,
        flight: &mut Flight,
    ) -> Result<Response<AnswerBody>, Refusal<'static>> {
        if parts.method != Method::POST {
            let rejection = Rejection::new(Reason::MethodNotAllowed, "The token endpoint takes POST only.");
            return Err((rejection, Context::Allow(MethodSet::POST)));
        }
        let form =
            read_form(body, self.shared.limits.token_body).await.map_err(|rejection| (rejection, Context::None))?;
        flight.received(form.len());
        let answer = broker.answer(parts, form, self.caller(parts, peer)).await;
        flight.reason = answer.reason;
        let mut response = answer.response.map(AnswerBody::Own);
        proxy::mark(response.headers_mut(), request_id);
        Ok(response)
    }
}

/// Metadata are for everybody, to be read only.
fn show(
    metadata: Response<Full<Bytes>>,
    method: &Method,
    request_id: &HeaderValue,
) -> Result<Response<AnswerBody>, Refusal<'static>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let rejection = Rejection::new(Reason::MethodNotAllowed, "The metadata can be read only.");
        return Err((rejection, Context::Allow(MethodSet::GET)));
    }
    let mut response = metadata.map(AnswerBody::Own);
    proxy::mark(response.headers_mut(), request_id);
    Ok(response)
}

async fn read_form(body: Intake, within: Duration) -> Result<Bytes, Rejection> {
    let too_large = || Rejection::new(Reason::BodyTooLarge, "A token request has at most 64 KiB.");
    if body.size_hint().lower() > MAX_TOKEN_BODY as u64 {
        return Err(too_large());
    }
    match timeout(within, Limited::new(body, MAX_TOKEN_BODY).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Rejection::new(Reason::BadRequest, "The body did not arrive in full.")),
        Err(_) => Err(Rejection::new(Reason::RequestTimeout, "The body did not arrive in time.")),
    }
}
