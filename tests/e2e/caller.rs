//! A caller of the items API with its own Okta client, over a forwarded port of the Service.

use std::time::Duration;

use anyhow::Context;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tests::forward::Forward;
use tests::kubernetes::Namespace;

/// The caller's client at the Okta-like server (tests/okta-like/okta.json).
pub(crate) const CLIENT: (&str, &str) = ("0oa1itemscaller00001", "items-caller-secret-of-the-test-server");

/// What the items API answers.
pub(crate) const ITEMS: [&str; 3] = ["red ball", "blue square", "purple ellipse"];

/// An open way to the API.
pub(crate) struct Caller {
    forward: Forward,
    http: reqwest::Client,
}

impl Caller {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        let forward = Forward::to(&namespace.name, "service/items", 80).expect("the Service leads to a pod");
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client can be built");
        Self { forward, http }
    }

    /// `POST /token` with Basic credentials.
    pub(crate) async fn ask_for_token(&self, secret: &str, scope: &str) -> anyhow::Result<Response> {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let request = self.http.post(self.forward.url("/token")).basic_auth(CLIENT.0, Some(secret));
        Ok(request.form(&form).send().await?)
    }

    pub(crate) async fn token(&self, scope: &str) -> String {
        let answer = self.ask_for_token(CLIENT.1, scope).await.expect("the broker answers");
        assert_eq!(answer.status(), StatusCode::OK);
        let body = json(answer).await;
        body["access_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) fn items(&self) -> RequestBuilder {
        self.http.get(self.forward.url("/items"))
    }

    pub(crate) async fn items_with(&self, token: &str) -> anyhow::Result<Response> {
        self.items().bearer_auth(token).send().await.context("GET /items")
    }

    pub(crate) async fn assert_gets_the_items(&self, token: &str) {
        let answer = self.items_with(token).await.expect("the API answers");
        assert_eq!(answer.status(), StatusCode::OK);
        let body = json(answer).await;
        let names: Vec<_> = body.as_array().expect("a list").iter().map(|item| item["name"].clone()).collect();
        assert_eq!(names, ITEMS);
    }
}

/// An answer's JSON.
pub(crate) async fn json(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.expect("the body arrives")).expect("the body is JSON")
}

/// A refusal: status, `WWW-Authenticate`, and the reason of its problem+json body.
pub(crate) async fn refusal(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().expect("ASCII").to_owned());
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let reason = json(answer).await["reason"].as_str().expect("a reason").to_owned();
    (status, challenge.unwrap_or_default(), reason)
}
