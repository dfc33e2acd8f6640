//! The HTTP client of one issuer: TLS verified, no redirects, time and size bounded, failures sorted into [`IdpError`].
//! Nothing of a request or an answer reaches a log.

use std::error::Error;
use std::io;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderValue, StatusCode};
use reqwest::{Client, RequestBuilder, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use tollgate_runtime::trust;

use super::credentials::CaBundle;
use super::error::IdpError;
use super::line::{Endpoint, Turn};

/// Connections are made within a cluster or to a near edge; more than this is an outage.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A caller waits for the answer, so it must end before the caller's own patience does.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Key sets and metadata take a few KiB, introspection answers rarely more than the token itself.
const LARGEST_BODY: usize = 256 * 1024;

/// Calls one issuer.
pub(super) struct Http {
    /// Absent until there is a CA bundle that can be used, where one is named.
    client: ArcSwapOption<Client>,
}

/// An answer below 500 that is not 429. Its body may hold a token: there is no `Debug`.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) cache_control: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl Http {
    pub(super) fn new() -> Self {
        Self { client: ArcSwapOption::empty() }
    }

    /// Takes another CA bundle into use. A bundle that is missing or broken leaves the client as it is.
    pub(super) fn trust(&self, ca: &CaBundle) -> Result<(), IdpError> {
        let pem = match ca {
            CaBundle::NotNamed => None,
            CaBundle::Present(pem) => Some(pem.as_slice()),
            CaBundle::Missing => return Err(IdpError::CaBundleMissing),
        };
        let tls = trust::client_config(pem).map_err(|_| IdpError::CaBundleUnusable)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| IdpError::BadTls)?;
        self.client.store(Some(client.into()));
        Ok(())
    }

    pub(super) async fn get(&self, from: &Endpoint) -> Result<Reply, IdpError> {
        self.send(&from.turn(), |client| client.get(from.url.clone())).await
    }

    pub(super) async fn post_form(
        &self,
        turn: &Turn<'_>,
        url: &Url,
        form: &[(&str, &str)],
        authorization: Option<&SecretString>,
    ) -> Result<Reply, IdpError> {
        let authorization = authorization.map(sensitive).transpose()?;
        self.send(turn, |client| {
            let request = client.post(url.clone()).form(form);
            match &authorization {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            }
        })
        .await
    }

    async fn send(&self, turn: &Turn<'_>, request: impl FnOnce(&Client) -> RequestBuilder) -> Result<Reply, IdpError> {
        let client = self.client.load_full().ok_or(IdpError::CaBundleMissing)?;
        let request = request(&client).header(ACCEPT, HeaderValue::from_static("application/json"));
        // Held until the whole answer is there.
        let mut permit = turn.take().await?;
        let mut response = request.send().await.map_err(|error| {
            if error.is_connect() {
                permit.never_arrived();
            }
            sort(&error)
        })?;
        let status = response.status();
        if let Some(retry_after) = permit.answered(status, response.headers()) {
            return Err(IdpError::RateLimited { retry_after });
        }
        if status.is_server_error() {
            return Err(IdpError::Down(status.as_u16()));
        }
        let cache_control = response.headers().get(CACHE_CONTROL).cloned();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| sort(&error))? {
            if body.len() + chunk.len() > LARGEST_BODY {
                return Err(IdpError::BadResponse("it is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, cache_control, body: body.freeze() })
    }
}

fn sensitive(value: &SecretString) -> Result<HeaderValue, IdpError> {
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| IdpError::CredentialsMissing)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sorts a failed call. Only the kind is kept: the texts may name addresses.
fn sort(error: &reqwest::Error) -> IdpError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return IdpError::BadTls;
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_parse() || error.is_parse_too_large()) {
            return IdpError::Garbled("it is no HTTP");
        }
        // An io::Error reports its inner error's source, not the inner error: step into it.
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    IdpError::Unreachable
}
