//! The issuers: the only part of the sidecar that talks to them. Finds endpoints, keeps keys and credentials current
//! and carries calls; it does not judge tokens and knows neither `auth` nor `broker`, which both build on it.

mod credentials;
mod digest;
mod discovery;
mod error;
mod health;
mod http;
mod introspection;
mod issued;
mod key_cache;
mod keys;
mod lanes;
mod metrics;
mod okta;
mod own_client;
mod refresh;
mod single_flight;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::HeaderValue;
use arc_swap::ArcSwapOption;
use reqwest::Url;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_contract::{
    ClientAuthMethod, IssuerConfig, IssuerReport, OnOutage, Problem, ProblemCode, SidecarConfig, TokenProfile,
    ValidationMode,
};
use tollgate_runtime::files;
use tracing::{info, warn};

pub use self::metrics::IdpMetrics;

pub(crate) use self::digest::TokenDigest;
pub(crate) use self::error::IdpError;
pub(crate) use self::http::Reply;
pub(crate) use self::issued::{Fate, IssuedTokens};
pub(crate) use self::key_cache::{KeyCache, Missing};
pub(crate) use self::keys::{Key, LONGEST_KID};
pub(crate) use self::lanes::Standing;
pub(crate) use self::okta::is_org_server;
pub(crate) use self::single_flight::SingleFlight;

#[cfg(test)]
pub(crate) use self::keys::KeySet;

use self::credentials::{CaBundle, Mounted};
use self::discovery::{Metadata, Needs};
use self::health::Health;
use self::http::{Http, Lane};
use self::own_client::OwnClient;
use crate::jose::{Algorithm, Object};

/// How often mounted files are compared: a rotation is taken up within this.
const MOUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Why the issuers of a policy cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not a URL with a host.
    #[error("the URL of issuer {issuer} is not valid")]
    BadUrl {
        /// Its name in the resource.
        issuer: String,
    },
    /// `http://` where the operator does not allow it.
    #[error("the URL of issuer {issuer} must start with https://")]
    Insecure {
        /// Its name in the resource.
        issuer: String,
    },
}

/// All issuers of a policy.
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
}

/// One issuer.
pub(crate) struct Issuer {
    config: IssuerConfig,
    url: Url,
    url_header: HeaderValue,
    needs: Needs,
    http: Http,
    metadata: ArcSwapOption<Metadata>,
    keys: KeyCache,
    own_client: ArcSwapOption<OwnClient>,
    ca_missing: AtomicBool,
    credentials_missing: AtomicBool,
    health: Health,
    issued: IssuedTokens,
    /// Set once, when this issuer's tokens can be judged; a later outage does not take it back.
    ready: AtomicBool,
    /// Changed files want an attempt at once.
    nudge: Notify,
    metrics: IdpMetrics,
}

impl Issuers {
    /// Starts the background work of every issuer and returns at once. Needs a tokio runtime; ends with `shutdown`.
    ///
    /// # Errors
    /// An issuer's URL cannot be used.
    pub fn start(
        config: &SidecarConfig,
        metrics: &IdpMetrics,
        shutdown: &CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let broker = config.token_broker.as_ref().map(|broker| broker.issuer.as_str());
        let issuers: Vec<Arc<Issuer>> = config
            .issuers
            .iter()
            .map(|issuer| Issuer::new(issuer, broker == Some(&issuer.name), metrics.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        for issuer in &issuers {
            let settings = issuer.config.clone();
            let mut mounted = files::watch(MOUNT_INTERVAL, shutdown.clone(), move || Mounted::read(&settings));
            let now = mounted.borrow_and_update().clone();
            issuer.mount(&now);
            tokio::spawn(refresh::follow_mounts(Arc::clone(issuer), mounted, shutdown.clone()));
            tokio::spawn(refresh::keep_fresh(Arc::clone(issuer), shutdown.clone()));
        }
        Ok(Arc::new(Self { issuers }))
    }

    /// Whether tokens of every issuer could be judged at some time: keys loaded where they are needed, credentials
    /// there where the issuer is asked. Never takes it back.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.ready.load(Ordering::Acquire))
    }

    /// What is wrong now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let of = |issuer: &Arc<Issuer>| {
            let name = issuer.config.name.clone();
            issuer.problems().into_iter().map(move |code| Problem { code, issuer: name.clone() })
        };
        self.issuers.iter().flat_map(of).collect()
    }

    /// What is known of each issuer.
    #[must_use]
    pub fn reports(&self) -> Vec<IssuerReport> {
        let report = |issuer: &Arc<Issuer>| IssuerReport {
            name: issuer.config.name.clone(),
            key_ids: issuer.keys.current().ids(),
        };
        self.issuers.iter().map(report).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.iter()
    }

    /// The issuer that mints tokens with exactly this `iss`.
    pub(crate) fn of_token(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.config.url == iss)
    }

    /// The issuer of this name in the resource.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.config.name == name)
    }
}

impl Issuer {
    fn new(config: &IssuerConfig, mints_for_broker: bool, metrics: IdpMetrics) -> Result<Self, StartError> {
        let bad = || StartError::BadUrl { issuer: config.name.clone() };
        let url = Url::parse(&config.url).map_err(|_| bad())?;
        let url_header = HeaderValue::from_str(&config.url).map_err(|_| bad())?;
        if !url.has_host() || url.query().is_some() || url.fragment().is_some() {
            return Err(bad());
        }
        if !discovery::speaks_allowed_scheme(&url, config.allow_http) {
            return Err(StartError::Insecure { issuer: config.name.clone() });
        }
        let needs = Needs {
            keys: config.validation.checks_locally(),
            tokens: mints_for_broker,
            introspection: config.validation.introspects(),
        };
        Ok(Self {
            config: config.clone(),
            url,
            url_header,
            needs,
            http: Http::new(),
            metadata: ArcSwapOption::empty(),
            keys: KeyCache::new(Instant::now()),
            own_client: ArcSwapOption::empty(),
            ca_missing: AtomicBool::new(false),
            credentials_missing: AtomicBool::new(false),
            health: Health::default(),
            issued: IssuedTokens::new(),
            ready: AtomicBool::new(false),
            nudge: Notify::new(),
            metrics,
        })
    }

    /// Its name in the resource.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// The exact `iss` of its tokens.
    pub(crate) fn url(&self) -> &str {
        &self.config.url
    }

    /// The same as a header value.
    pub(crate) fn url_header(&self) -> &HeaderValue {
        &self.url_header
    }

    pub(crate) fn mode(&self) -> ValidationMode {
        self.config.validation
    }

    pub(crate) fn audiences(&self) -> &[String] {
        &self.config.audiences
    }

    pub(crate) fn clock_skew(&self) -> Duration {
        Duration::from_secs(self.config.clock_skew_seconds)
    }

    /// The algorithms that its tokens may be signed with.
    pub(crate) fn algorithms(&self) -> &[Algorithm] {
        &self.config.algorithms
    }

    pub(crate) fn token_profile(&self) -> TokenProfile {
        self.config.token_profile
    }

    /// How long its tokens may live.
    pub(crate) fn max_token_lifetime(&self) -> Duration {
        Duration::from_secs(self.config.max_token_lifetime_seconds)
    }

    /// How long an introspection answer is fresh.
    pub(crate) fn introspection_cache(&self) -> Duration {
        Duration::from_millis(self.config.introspection.cache_millis)
    }

    /// How much longer it may serve while the issuer limits our calls.
    pub(crate) fn max_stale(&self) -> Duration {
        Duration::from_millis(self.config.introspection.max_stale_millis)
    }

    /// What holds while the issuer cannot be asked.
    pub(crate) fn on_outage(&self) -> OnOutage {
        self.config.introspection.on_outage
    }

    pub(crate) fn keys(&self) -> &KeyCache {
        &self.keys
    }

    /// Tokens that the broker got from here.
    pub(crate) fn issued(&self) -> &IssuedTokens {
        &self.issued
    }

    /// Whether nothing about its tokens may be judged locally.
    pub(crate) fn is_org_server(&self) -> bool {
        is_org_server(&self.url)
    }

    /// Whether its access tokens carry Okta's `jti` form.
    pub(crate) fn mints_okta_tokens(&self) -> bool {
        okta::mints_okta_tokens(&self.url)
    }

    /// The id of this API's own client, once mounted.
    pub(crate) fn own_client_id(&self) -> Option<String> {
        self.own_client.load().as_ref().map(|client| client.id().to_owned())
    }

    /// When it last gave a good answer: what is taken on trust while it cannot be asked is counted from there.
    pub(crate) fn last_good_answer(&self) -> Option<Instant> {
        self.health.answered_at()
    }

    /// Asks what the token is worth (RFC 7662), as our own client, in the body and never in the URL: the members of an
    /// answer that says `active: true`, else none.
    pub(crate) async fn introspect(&self, token: &str, standing: Standing) -> Result<Option<Object>, IdpError> {
        let outcome = self.introspect_once(token, standing).await.and_then(|reply| introspection::read(&reply));
        if self.health.record_question(outcome.as_ref().map(|_| ()), Instant::now()) {
            match &outcome {
                Ok(_) => info!(issuer = self.name(), "questions about tokens are answered again"),
                Err(error) => warn!(issuer = self.name(), %error, "questions about tokens are not answered"),
            }
        }
        outcome
    }

    async fn introspect_once(&self, token: &str, _standing: Standing) -> Result<Reply, IdpError> {
        let client = self.own_client.load_full().ok_or(IdpError::CredentialsMissing)?;
        let metadata = self.metadata.load_full().ok_or(IdpError::Unreachable)?;
        let endpoint = metadata.introspection_endpoint.as_ref().ok_or(IdpError::BadResponse("there is no endpoint"))?;
        let method = self.config.client.as_ref().map_or(ClientAuthMethod::ClientSecretBasic, |own| own.auth_method);
        let form = [("token", token), ("token_type_hint", "access_token")];
        client.post(&self.http, endpoint, &form, method).await
    }

    /// Sends a token request with a caller's credentials, which stand in `authorization` or in the form; `client_id` is
    /// whose they claim to be.
    pub(crate) async fn request_token(
        &self,
        form: &[(&str, &str)],
        authorization: Option<&SecretString>,
        _client_id: &str,
        _standing: Standing,
    ) -> Result<Reply, IdpError> {
        let metadata = self.metadata.load_full().ok_or(IdpError::Unreachable)?;
        let endpoint = metadata.token_endpoint.as_ref().ok_or(IdpError::BadResponse("there is no token endpoint"))?;
        self.http.post_form(Lane::Tokens, endpoint, form, authorization).await
    }

    /// Takes what is mounted into use. What has gone stays in use, and is reported.
    fn mount(&self, mounted: &Mounted) {
        let trusted = self.http.trust(&mounted.ca);
        self.ca_missing.store(trusted.is_err() && mounted.ca != CaBundle::NotNamed, Ordering::Release);
        self.credentials_missing.store(mounted.credentials.is_none(), Ordering::Release);
        if let Some(credentials) = &mounted.credentials {
            let unchanged = self.own_client.load().as_ref().is_some_and(|client| client.holds(credentials));
            if !unchanged {
                self.own_client.store(Some(Arc::new(OwnClient::new(credentials.clone()))));
                self.health.forget_refusal();
            }
        }
        self.note_readiness();
    }

    fn note_readiness(&self) {
        let keys = !self.mode().checks_locally() || self.keys.is_loaded();
        let credentials = !self.mode().introspects() || self.own_client.load().is_some();
        if keys && credentials && self.metadata.load().is_some() {
            self.ready.store(true, Ordering::Release);
        }
    }

    /// Whether its keys are of any use: on an org server they would judge what must not be judged.
    fn uses_keys(&self) -> bool {
        self.mode().checks_locally() || !self.is_org_server()
    }

    fn problems(&self) -> Vec<ProblemCode> {
        let missing = |flag: &AtomicBool, code| flag.load(Ordering::Acquire).then_some(code);
        let mut problems: Vec<_> = missing(&self.ca_missing, ProblemCode::CaBundleMissing).into_iter().collect();
        if self.mode().introspects() {
            problems.extend(missing(&self.credentials_missing, ProblemCode::CredentialsMissing));
        }
        problems.extend(self.health.problems());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(url: &str, allow_http: bool) -> Result<Issuer, StartError> {
        let config = IssuerConfig { allow_http, ..IssuerConfig::new("okta", url, vec!["api://default".into()]) };
        Issuer::new(&config, false, IdpMetrics::default())
    }

    #[test]
    fn issuers_without_https_or_without_sense_are_refused() {
        assert!(start("https://acme.okta.com/oauth2/default", false).is_ok());
        assert!(matches!(start("http://acme.example", false), Err(StartError::Insecure { .. })));
        assert!(start("http://acme.example", true).is_ok(), "the operator's own decision");
        assert!(matches!(start("ftp://acme.example", true), Err(StartError::Insecure { .. })));
        for url in ["", "acme.okta.com", "https://", "https://acme.example/?x=1", "https://acme.example/#x", "mailto:x"]
        {
            assert!(matches!(start(url, false), Err(StartError::BadUrl { .. })), "{url}");
        }
    }

    #[test]
    fn an_org_servers_keys_judge_nothing_where_it_is_asked() {
        for (url, uses_keys) in [("https://acme.okta.com", false), ("https://acme.okta.com/oauth2/default", true)] {
            let mut config = start(url, false).ok().unwrap().config;
            config.validation = ValidationMode::Introspection;
            let issuer = Issuer::new(&config, false, IdpMetrics::default()).ok().unwrap();
            assert_eq!((issuer.is_org_server(), issuer.uses_keys()), (!uses_keys, uses_keys), "{url}");
        }
    }
}
