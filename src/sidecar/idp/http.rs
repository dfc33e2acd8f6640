//! The HTTP client of one issuer: TLS verified, no redirects, time and size bounded, failures sorted into [`IdpError`].
//! Nothing of a request or an answer reaches a log.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, DATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, RequestBuilder, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::credentials::CaBundle;
use super::error::IdpError;
use super::tls;

/// Connections are made within a cluster or to a near edge; more than this is an outage.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A caller waits for the answer, so it must end before the caller's own patience does.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Okta allows 75 simultaneous calls for a whole org (35 on the free plan); a lane never asks for more.
const CALLS_IN_FLIGHT: usize = 64;

/// How long a call may queue for its turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// Key sets and metadata take a few KiB, introspection answers rarely more than the token itself.
const LARGEST_BODY: usize = 256 * 1024;

/// Used when a 429 does not say when the window starts again; Okta's windows last 60 s.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_RATE_LIMIT_PAUSE: Duration = Duration::from_secs(120);

/// Calls one issuer.
pub(super) struct Http {
    /// Absent while the CA bundle is missing.
    client: ArcSwapOption<Client>,
    questions: Semaphore,
    tokens: Semaphore,
}

/// Calls that callers cause, in lanes of their own: token requests cannot crowd out questions about tokens, and neither
/// delays metadata and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What is this token worth?
    Questions,
    /// A token for a caller.
    Tokens,
}

/// An answer below 500 that is not 429. Its body may hold a token: there is no `Debug`.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) cache_control: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl Http {
    pub(super) fn new() -> Self {
        Self {
            client: ArcSwapOption::empty(),
            questions: Semaphore::new(CALLS_IN_FLIGHT),
            tokens: Semaphore::new(CALLS_IN_FLIGHT),
        }
    }

    /// Takes another CA bundle into use. A bundle that is missing or broken leaves the client as it is.
    pub(super) fn trust(&self, ca: &CaBundle) -> Result<(), IdpError> {
        let pem = match ca {
            CaBundle::NotNamed => None,
            CaBundle::Present(pem) => Some(pem.as_slice()),
            CaBundle::Missing => return Err(IdpError::CaBundleMissing),
        };
        let tls = tls::client_config(pem).map_err(|_| IdpError::CaBundleMissing)?;
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

    pub(super) async fn get(&self, url: &Url) -> Result<Reply, IdpError> {
        self.send(|client| client.get(url.clone())).await
    }

    pub(super) async fn post_form(
        &self,
        lane: Lane,
        url: &Url,
        form: &[(&str, &str)],
        authorization: Option<&SecretString>,
    ) -> Result<Reply, IdpError> {
        let authorization = authorization.map(sensitive).transpose()?;
        let lane = match lane {
            Lane::Questions => &self.questions,
            Lane::Tokens => &self.tokens,
        };
        let turn = timeout(QUEUE_TIMEOUT, lane.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(IdpError::Busy) };
        self.send(|client| {
            let request = client.post(url.clone()).form(form);
            match &authorization {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            }
        })
        .await
    }

    async fn send(&self, request: impl FnOnce(&Client) -> RequestBuilder) -> Result<Reply, IdpError> {
        let client = self.client.load_full().ok_or(IdpError::CaBundleMissing)?;
        let request = request(&client).header(ACCEPT, HeaderValue::from_static("application/json"));
        let mut response = request.send().await.map_err(|error| sort(&error))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let retry_after = rate_limit_pause(response.headers(), SystemTime::now());
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

/// How long a 429 lasts: the earliest `X-Rate-Limit-Reset` (epoch seconds), seen from the answer's own clock, plus a
/// second for rounding. Okta may send the header several times, and documents no `Retry-After`.
fn rate_limit_pause(headers: &HeaderMap, now: SystemTime) -> Duration {
    let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok()).unwrap_or(now);
    let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    let resets = headers.get_all("x-rate-limit-reset").iter();
    let reset = resets.filter_map(|reset| reset.to_str().ok()?.trim().parse::<u64>().ok()).min();
    match reset {
        Some(reset) => (Duration::from_secs(reset).saturating_sub(date) + Duration::from_secs(1))
            .clamp(Duration::from_secs(1), LONGEST_RATE_LIMIT_PAUSE),
        None => RATE_LIMIT_PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lasts_until_the_earliest_reset_on_the_issuers_clock() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let mut headers = HeaderMap::new();
        assert_eq!(rate_limit_pause(&headers, now), RATE_LIMIT_PAUSE);
        headers.append("x-rate-limit-reset", HeaderValue::from_static("1040"));
        assert_eq!(rate_limit_pause(&headers, now), Duration::from_secs(41));
        headers.append("x-rate-limit-reset", HeaderValue::from_static("1010"));
        assert_eq!(rate_limit_pause(&headers, now), Duration::from_secs(11));
        headers.insert(DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:16:48 GMT"));
        assert_eq!(rate_limit_pause(&headers, now), Duration::from_secs(3), "1008 by the issuer's own clock");
        headers.append("x-rate-limit-reset", HeaderValue::from_static("soon"));
        assert_eq!(rate_limit_pause(&headers, now), Duration::from_secs(3));
        headers.insert("x-rate-limit-reset", HeaderValue::from_static("99999999999"));
        assert_eq!(rate_limit_pause(&headers, now), LONGEST_RATE_LIMIT_PAUSE);
    }
}
