//! Calls made with this API's own client, while its secret may be rotating: two secrets can be active at the issuer, so
//! when one is refused the other is tried once.

use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tollgate_contract::ClientAuthMethod;

use super::credentials::{Credentials, basic};
use super::error::IdpError;
use super::http::{Http, Reply};
use super::line::Turn;

/// The own client, as mounted now.
pub(super) struct OwnClient {
    credentials: Credentials,
    /// Which of the two secrets the issuer took last.
    previous_is_active: AtomicBool,
}

impl OwnClient {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, previous_is_active: AtomicBool::new(false) }
    }

    pub(super) fn id(&self) -> &str {
        &self.credentials.client_id
    }

    pub(super) fn holds(&self, credentials: &Credentials) -> bool {
        self.credentials == *credentials
    }

    /// Posts a form with client authentication; `ClientRefused` when no secret is accepted.
    pub(super) async fn post(
        &self,
        http: &Http,
        turn: &Turn<'_>,
        url: &reqwest::Url,
        form: &[(&str, &str)],
        method: ClientAuthMethod,
    ) -> Result<Reply, IdpError> {
        let started_with_previous = self.previous_is_active.load(Ordering::Relaxed);
        let reply = self.post_once(http, turn, url, form, method, started_with_previous).await?;
        if !refuses_client(&reply) {
            return Ok(reply);
        }
        if self.credentials.previous_secret.is_some() {
            let reply = self.post_once(http, turn, url, form, method, !started_with_previous).await?;
            if !refuses_client(&reply) {
                self.previous_is_active.store(!started_with_previous, Ordering::Relaxed);
                return Ok(reply);
            }
        }
        Err(IdpError::ClientRefused)
    }

    async fn post_once(
        &self,
        http: &Http,
        turn: &Turn<'_>,
        url: &reqwest::Url,
        form: &[(&str, &str)],
        method: ClientAuthMethod,
        with_previous: bool,
    ) -> Result<Reply, IdpError> {
        let Credentials { client_id, secret, previous_secret } = &self.credentials;
        let secret = previous_secret.as_ref().filter(|_| with_previous).unwrap_or(secret);
        match method {
            ClientAuthMethod::ClientSecretBasic => {
                http.post_form(turn, url, form, Some(&basic(client_id, secret))).await
            }
            ClientAuthMethod::ClientSecretPost => {
                let mut form = form.to_vec();
                form.extend([("client_id", client_id.as_str()), ("client_secret", secret.expose_secret())]);
                http.post_form(turn, url, &form, None).await
            }
        }
    }
}

/// `invalid_client` (RFC 6749 section 5.2), or any 401: on these endpoints it can mean nothing else.
fn refuses_client(reply: &Reply) -> bool {
    #[derive(Deserialize)]
    struct OAuthError {
        error: String,
    }
    reply.status == StatusCode::UNAUTHORIZED
        || (reply.status.is_client_error()
            && serde_json::from_slice::<OAuthError>(&reply.body).is_ok_and(|body| body.error == "invalid_client"))
}
