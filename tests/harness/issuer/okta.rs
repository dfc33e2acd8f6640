//! What Okta would answer: its forms, its errors, its tokens. It knows no faults.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Endpoint, State};
use crate::mint::{Token, epoch_seconds};

impl State {
    pub(super) fn work(
        &self,
        endpoint: Endpoint,
        method: &Method,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Response<Full<Bytes>> {
        match endpoint {
            Endpoint::Metadata | Endpoint::LegacyMetadata | Endpoint::OpenIdMetadata => {
                respond(200, self.metadata.to_string())
            }
            Endpoint::Keys => {
                let mut response = respond(200, self.keys.to_string());
                let value = self.cache_control.parse().expect("a header");
                response.headers_mut().insert("cache-control", value);
                response
            }
            Endpoint::Elsewhere => respond(200, json!({"active": true}).to_string()),
            Endpoint::Token | Endpoint::Introspect if method != Method::POST => respond(405, String::new()),
            Endpoint::Token | Endpoint::Introspect => match self.authenticate(headers, form) {
                Err(refusal) => *refusal,
                Ok(client) if endpoint == Endpoint::Token => self.mint(&client, form),
                Ok(_) => self.introspect(form),
            },
        }
    }

    fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<String, Box<Response<Full<Bytes>>>> {
        let refuse = |text: &str| Box::new(oauth_error(401, "invalid_client", text));
        if headers.contains_key("authorization") && form.contains_key("client_secret") {
            return Err(Box::new(oauth_error(400, "invalid_request", "Two credential forms.")));
        }
        let Some((id, secret)) = client_of(headers, form) else {
            return Err(refuse("No client credentials found."));
        };
        match self.clients.get(&id) {
            None => Err(refuse("Invalid value for 'client_id' parameter.")),
            Some(secrets) if secrets.contains(&secret) => Ok(id),
            Some(_) => Err(refuse("The client secret supplied for a confidential client is invalid.")),
        }
    }

    fn mint(&self, client: &str, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return oauth_error(400, "unsupported_grant_type", "The authorization grant type is not supported.");
        }
        let Some(scope) = form.get("scope") else {
            return oauth_error(
                400,
                "invalid_scope",
                "The authorization server resource does not have any default scopes.",
            );
        };
        let token = Token::of(&self.base)
            .claim("cid", json!(client))
            .claim("sub", json!(client))
            .claim("exp", json!(epoch_seconds() + self.lifetime))
            .claim("scp", json!(scope.split(' ').collect::<Vec<_>>()))
            .signed();
        let mut body = json!({
            "token_type": "Bearer", "expires_in": self.lifetime, "access_token": token, "scope": scope,
        });
        if let (Value::Object(body), Value::Object(extras)) = (&mut body, &self.token_extras) {
            body.extend(extras.clone());
        }
        respond(200, body.to_string())
    }

    fn introspect(&self, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        let Some(token) = form.get("token") else {
            return oauth_error(400, "invalid_request", "The request is missing the required parameter 'token'.");
        };
        let answer = self.answers.get(token).filter(|_| !self.revoked.contains(token));
        respond(200, answer.cloned().unwrap_or_else(|| json!({"active": false})).to_string())
    }
}

/// The client that a request claims to come from, and its secret.
pub(super) fn client_of(headers: &HeaderMap, form: &HashMap<String, String>) -> Option<(String, String)> {
    let Some(value) = headers.get("authorization").and_then(|value| value.to_str().ok()) else {
        return form.get("client_id").cloned().zip(form.get("client_secret").cloned());
    };
    let decoded = value.strip_prefix("Basic ").and_then(|coded| STANDARD.decode(coded).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let (id, secret) = decoded.split_once(':').unwrap_or_default();
    Some((decode(id), decode(secret)))
}

fn oauth_error(status: u16, error: &str, description: &str) -> Response<Full<Bytes>> {
    respond(status, json!({"error": error, "error_description": description}).to_string())
}

pub(super) fn not_found() -> Response<Full<Bytes>> {
    let body = json!({
        "errorCode": "E0000007", "errorSummary": "Not found: Resource not found", "errorLink": "E0000007",
        "errorId": "oaeTest", "errorCauses": [],
    });
    respond(404, body.to_string())
}

/// Okta's 429: the body has no `error` member, and there is no Retry-After.
pub(super) fn limited(limit: &str, seconds: u64) -> Response<Full<Bytes>> {
    let body = json!({
        "errorCode": "E0000047", "errorSummary": "API call exceeded rate limit due to too many requests.",
        "errorLink": "E0000047", "errorId": "oaeTest", "errorCauses": [],
    });
    let mut response = respond(429, body.to_string());
    let reset = (epoch_seconds() + seconds).to_string();
    for (name, value) in
        [("x-rate-limit-limit", limit), ("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", &reset)]
    {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}

pub(super) fn respond(status: u16, body: String) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).expect("a status");
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(Bytes::from(body))).expect("a response")
}

pub(super) fn url_decode(body: &[u8]) -> HashMap<String, String> {
    let pairs = reqwest::Url::parse(&format!("x:?{}", String::from_utf8_lossy(body))).expect("a URL");
    pairs.query_pairs().into_owned().collect()
}

fn decode(text: &str) -> String {
    url_decode(format!("x={text}").as_bytes()).remove("x").unwrap_or_default()
}
