//! The token broker for callers: trades a caller's own client credentials for a token at the issuer (RFC 6749 section
//! 4.4), and says the issuer's word unchanged. It keeps no secret, asks the issuer once for equal requests, and knows
//! nothing of `auth` but what `idp` tells both.

mod answer;
mod cache;
mod form;
mod metrics;
mod proven;
mod request;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use secrecy::ExposeSecret;
use tokio::time::Instant;
use tollgate_contract::BrokerConfig;

pub use self::answer::BrokerAnswer;
pub use self::metrics::BrokerMetrics;

use self::answer::{Refusal, read};
use self::cache::{Issued, RequestDigest, TokenCache};
use self::proven::Proven;
use self::request::{Credentials, TokenRequest};
use crate::idp::{IdpError, Issuer, Issuers, Reply, SingleFlight, Standing};

/// Why a broker cannot be made of a policy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy's own mistake.
    #[error("the token broker names issuer {issuer}, which the policy does not have")]
    NoSuchIssuer {
        /// The name.
        issuer: String,
    },
    /// The system's.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// Answers token requests.
pub struct Broker {
    config: BrokerConfig,
    issuer: Arc<Issuer>,
    tokens: Arc<TokenCache>,
    proven: Arc<Proven>,
    flights: SingleFlight<RequestDigest, Result<Arc<Issued>, Refusal>>,
    metrics: BrokerMetrics,
}

impl Broker {
    /// A broker for the issuer that the settings name.
    ///
    /// # Errors
    /// There is no such issuer.
    pub fn new(config: &BrokerConfig, issuers: &Issuers, metrics: BrokerMetrics) -> Result<Self, StartError> {
        let issuer = issuers.named(&config.issuer);
        let issuer = issuer.ok_or_else(|| StartError::NoSuchIssuer { issuer: config.issuer.clone() })?;
        Ok(Self {
            config: config.clone(),
            issuer: Arc::clone(issuer),
            tokens: Arc::new(TokenCache::new().ok_or(StartError::NoRandomness)?),
            proven: Arc::new(Proven::new()),
            flights: SingleFlight::default(),
            metrics,
        })
    }

    /// The exact path that takes token requests.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.config.path
    }

    /// Answers a `POST` to the path; `body` is the whole body, `from` who is asking as far as the network says.
    pub async fn answer(&self, parts: &Parts, body: Bytes, from: IpAddr) -> BrokerAnswer {
        match self.token(parts, &body, from).await {
            Ok((issued, outcome)) => {
                self.metrics.answered(outcome);
                BrokerAnswer::token(&issued.token, issued.expires_in(Instant::now()))
            }
            Err(refusal) => {
                self.metrics.answered(refusal.reason().as_str());
                BrokerAnswer::refusal(&refusal, &parts.headers)
            }
        }
    }

    async fn token(&self, parts: &Parts, body: &[u8], from: IpAddr) -> Result<(Arc<Issued>, &'static str), Refusal> {
        let request = TokenRequest::parse(parts, body, &self.config)?;
        let digest = self.tokens.digest(&request);
        if let Some(answer) = self.tokens.find(&digest, Instant::now()) {
            return Ok((answer?, "cached"));
        }
        let work = || {
            let (issuer, tokens, proven) =
                (Arc::clone(&self.issuer), Arc::clone(&self.tokens), Arc::clone(&self.proven));
            async move {
                let asked_at = Instant::now();
                let credentials = tokens.credentials(&request.credentials);
                let known = proven.holds(&credentials, asked_at);
                let standing = if known { Standing::Known } else { Standing::Stranger(from) };
                let answer = read(ask(&issuer, &request, standing).await);
                match &answer {
                    Ok(_) => proven.remember(credentials, asked_at),
                    Err(refusal) if refusal.refuses_credentials() => proven.forget(&credentials),
                    Err(_) => {}
                }
                let answer = answer.map(|mut token| {
                    // RFC 6749 section 5.1: an issuer may leave out a scope that is the one asked for.
                    if token.scope.is_none() && !request.scope.is_empty() {
                        token.scope = Some(request.scope);
                    }
                    let fate = issuer.issued().register(token.access_token.expose_secret());
                    Arc::new(Issued { token, asked_at, fate })
                });
                tokens.remember(digest, &answer, Instant::now());
                answer
            }
        };
        Ok((self.flights.run(digest, work).await?, "issued"))
    }
}

async fn ask(issuer: &Issuer, request: &TokenRequest, standing: Standing) -> Result<Reply, IdpError> {
    let mut form = vec![("grant_type", "client_credentials")];
    if !request.scope.is_empty() {
        form.push(("scope", &request.scope));
    }
    let client_id = request.credentials.client_id();
    match &request.credentials {
        Credentials::Basic { authorization, .. } => {
            issuer.request_token(&form, Some(authorization), client_id, standing).await
        }
        Credentials::Body { client_secret, .. } => {
            form.extend([("client_id", client_id), ("client_secret", client_secret.expose_secret())]);
            issuer.request_token(&form, None, client_id, standing).await
        }
    }
}
