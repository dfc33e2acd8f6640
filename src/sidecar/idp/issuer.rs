//! One issuer: its settings, where it is reached, what is known of it now, and the calls to it. It judges no token.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use http::{HeaderValue, StatusCode};
use reqwest::Url;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::time::Instant;
use tollgate_contract::{
    ClientAuthMethod, IssuerConfig, IssuerHints, OnOutage, ProblemCode, SeededKeys, TokenProfile, ValidationMode,
};
use tracing::{info, warn};

use super::credentials::Mounted;
use super::discovery::{Metadata, Needs, speaks_allowed_scheme};
use super::doubts::Doubts;
use super::governor::{Bucket, Governor};
use super::health::Health;
use super::http::Http;
use super::lanes::Payer;
use super::line::{Endpoint, Line, Turn};
use super::own_client::OwnClient;
use super::pace::{LONGEST_LIFE, SHORTEST_LIFE};
use super::reach::Reach;
use super::readiness::Outlook;
use super::{IdpError, IdpMetrics, IssuedTokens, KeyCache, KeySet, Reply, Standing, StartError};
use super::{hints, introspection, okta};
use crate::jose::{Algorithm, Object};

/// One issuer.
pub(crate) struct Issuer {
    config: IssuerConfig,
    shared_name: Arc<str>,
    url: Url,
    url_header: HeaderValue,
    needs: Needs,
    /// Endpoints that the policy gives, and whether any other is needed.
    given: Metadata,
    discovers: bool,
    http: Http,
    governor: Arc<Governor>,
    documents: Arc<Bucket>,
    questions: Line,
    tokens: Line,
    reach: ArcSwapOption<Reach>,
    /// How many sidecars share its limits, when somebody says.
    sharers: Mutex<Option<u32>>,
    keys: KeyCache,
    own_client: ArcSwapOption<OwnClient>,
    /// What is the matter with the CA bundle that is mounted now.
    ca_problem: ArcSwapOption<ProblemCode>,
    credentials_missing: AtomicBool,
    health: Health,
    issued: IssuedTokens,
    /// Set once, when this issuer's tokens can be judged; a later outage does not take it back.
    ready: AtomicBool,
    /// Whether the hints have keys of it.
    told: AtomicBool,
    /// Changed files want an attempt at once.
    nudge: Notify,
    doubts: Doubts,
    metrics: IdpMetrics,
}

impl Issuer {
    pub(super) fn new(
        config: &IssuerConfig,
        mints_for_broker: bool,
        governor: Arc<Governor>,
        metrics: IdpMetrics,
    ) -> Result<Self, StartError> {
        let bad = || StartError::BadUrl { issuer: config.name.clone() };
        let url = Url::parse(&config.url).map_err(|_| bad())?;
        let url_header = HeaderValue::from_str(&config.url).map_err(|_| bad())?;
        if !url.has_host() || url.query().is_some() || url.fragment().is_some() {
            return Err(bad());
        }
        if !speaks_allowed_scheme(&url, config.allow_http) {
            return Err(StartError::Insecure { issuer: config.name.clone() });
        }
        let needs = Needs {
            keys: config.validation.checks_locally(),
            tokens: mints_for_broker,
            introspection: config.validation.introspects(),
        };
        let given = Metadata::given(&config.endpoints, config.allow_http)
            .map_err(|problem| StartError::BadEndpoint { issuer: config.name.clone(), problem })?;
        let discovers = !given.answers(needs);
        let issuer = Self {
            shared_name: config.name.as_str().into(),
            config: config.clone(),
            url_header,
            needs,
            given,
            discovers,
            http: Http::new(),
            documents: governor.documents(&url),
            url,
            governor,
            questions: Line::new(&config.name, "introspection", metrics.clone()),
            tokens: Line::new(&config.name, "token", metrics.clone()),
            reach: ArcSwapOption::empty(),
            sharers: Mutex::new(None),
            keys: KeyCache::new(Instant::now()),
            own_client: ArcSwapOption::empty(),
            ca_problem: ArcSwapOption::empty(),
            credentials_missing: AtomicBool::new(false),
            health: Health::default(),
            issued: IssuedTokens::new(),
            ready: AtomicBool::new(false),
            told: AtomicBool::new(false),
            nudge: Notify::new(),
            doubts: Doubts::default(),
            metrics,
        };
        let lines = [(&issuer.questions, needs.introspection), (&issuer.tokens, needs.tokens)];
        let calls: Vec<_> = lines.iter().filter(|(_, needed)| *needed).map(|(line, _)| line.calls()).collect();
        issuer.metrics.begin(issuer.name(), &calls);
        if !issuer.discovers {
            issuer.adopt(issuer.given.clone());
        }
        Ok(issuer)
    }

    /// Its name in the resource.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// The same, to be held by many.
    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.shared_name
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
        okta::is_org_server(&self.url) || self.asked_server() == okta::Server::Org
    }

    /// Whether its access tokens carry Okta's `jti` form.
    pub(crate) fn mints_okta_tokens(&self) -> bool {
        okta::mints_okta_tokens(&self.url) || self.asked_server() != okta::Server::Any
    }

    /// What it is by the endpoint that is asked about its tokens: a custom domain hides the rest.
    fn asked_server(&self) -> okta::Server {
        let reach = self.reach.load();
        let endpoint = reach.as_ref().and_then(|reach| reach.introspection.as_ref());
        endpoint.map_or(okta::Server::Any, |endpoint| okta::server(&endpoint.url))
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
        let outcome = self.introspect_once(token, standing).await;
        if self.health.record_question(outcome.as_ref().map(|_| ()), Instant::now()) {
            match &outcome {
                Ok(_) => info!(issuer = self.name(), "questions about tokens are answered again"),
                Err(error) => warn!(issuer = self.name(), %error, "questions about tokens are not answered"),
            }
        }
        outcome
    }

    async fn introspect_once(&self, token: &str, standing: Standing) -> Result<Option<Object>, IdpError> {
        let client = self.own_client.load_full().ok_or(IdpError::CredentialsMissing)?;
        let reach = self.reach.load_full().ok_or(IdpError::Unreachable)?;
        let endpoint = reach.introspection.as_ref().ok_or(IdpError::BadResponse("there is no endpoint"))?;
        let method = self.config.client.as_ref().map_or(ClientAuthMethod::ClientSecretBasic, |own| own.auth_method);
        let form = [("token", token), ("token_type_hint", "access_token")];
        let question = async |turn: &Turn<'_>| {
            let reply = client.post(&self.http, turn, &endpoint.url, &form, method).await?;
            if has_moved(reply.status) {
                self.doubt();
            }
            introspection::read(&reply)
        };
        self.questions.run(endpoint, standing, Payer::Own, question).await
    }

    /// Sends a token request with a caller's credentials, which stand in `authorization` or in the form; `client_id` is
    /// whose they claim to be.
    pub(crate) async fn request_token(
        &self,
        form: &[(&str, &str)],
        authorization: Option<&SecretString>,
        client_id: &str,
        standing: Standing,
    ) -> Result<Reply, IdpError> {
        let reach = self.reach.load_full().ok_or(IdpError::Unreachable)?;
        let endpoint = reach.token.as_ref().ok_or(IdpError::BadResponse("there is no token endpoint"))?;
        let request = async |turn: &Turn<'_>| {
            let reply = self.http.post_form(turn, &endpoint.url, form, authorization).await?;
            if has_moved(reply.status) {
                self.doubt();
            }
            Ok(reply)
        };
        self.tokens.run(endpoint, standing, Payer::claiming(client_id, standing), request).await
    }

    /// Takes what is mounted into use. What has gone stays in use, and is reported.
    pub(super) fn mount(&self, mounted: &Mounted) {
        let problem = self.http.trust(&mounted.ca).err().and_then(|error| error.problem());
        self.ca_problem.store(problem.map(Arc::new));
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

    pub(super) fn note_readiness(&self) {
        let keys = !self.mode().checks_locally() || self.keys.is_loaded();
        let credentials = !self.mode().introspects() || self.own_client.load().is_some();
        // With keys, the rest is asked for when it is needed: a pod may start while the issuer is down.
        let reach = self.mode().checks_locally() || self.reach.load().is_some();
        if keys && credentials && reach {
            self.ready.store(true, Ordering::Release);
        }
    }

    /// Whether its tokens could be judged at some time.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// What it means to this pod's readiness.
    pub(super) fn outlook(&self, now: Instant) -> Outlook {
        let could_ask = !self.mode().introspects() || self.own_client.load().is_some();
        Outlook {
            ready: self.is_ready(),
            told: self.told.load(Ordering::Acquire),
            away_for: self.health.away_since().filter(|_| could_ask).map(|since| now.duration_since(since)),
        }
    }

    /// Whether its keys are of any use: on an org server they would judge what must not be judged.
    pub(super) fn uses_keys(&self) -> bool {
        self.mode().checks_locally() || !self.is_org_server()
    }

    pub(super) fn problems(&self) -> Vec<ProblemCode> {
        let mut problems: Vec<_> = self.ca_problem.load().iter().map(|problem| **problem).collect();
        if self.mode().introspects() && self.credentials_missing.load(Ordering::Acquire) {
            problems.push(ProblemCode::CredentialsMissing);
        }
        problems.extend(self.health.problems());
        problems
    }

    /// Takes what the hints say of this issuer into use; `None` when they say nothing.
    pub(super) fn take_hints(&self, hints: Option<&IssuerHints>, now: SystemTime) {
        let told = hints.and_then(|hints| hints.sharers);
        let mut sharers = self.sharers.lock().unwrap_or_else(PoisonError::into_inner);
        if *sharers != told {
            *sharers = told;
            drop(sharers);
            self.reach.load().iter().flat_map(|reach| reach.buckets()).for_each(|bucket| bucket.divide(told));
        }
        let keys = hints.and_then(|hints| hints.keys.as_ref());
        self.told.store(keys.is_some(), Ordering::Release);
        if let Some(keys) = keys {
            self.seed(keys, now);
        }
    }

    fn seed(&self, keys: &SeededKeys, now: SystemTime) {
        let is_ours = keys.source.issuer == self.config.url && keys.source.jwks == self.config.endpoints.jwks;
        let Some(left) = hints::life_left(keys, now).filter(|_| self.uses_keys() && is_ours) else { return };
        match KeySet::parse(keys.jwks.as_bytes(), self.algorithms()) {
            Ok(set) => {
                let count = set.len();
                if self.keys.seed(set, Instant::now() + left) {
                    info!(issuer = self.name(), count, "seeded keys serve until the first fetch");
                    self.metrics.keys_in_force(self.name(), count);
                    self.note_readiness();
                }
            }
            Err(what) => warn!(issuer = self.name(), what, "seeded keys cannot be used"),
        }
    }

    /// Takes endpoints into use.
    pub(super) fn adopt(&self, metadata: Metadata) -> Arc<Reach> {
        let reach = Arc::new(Reach::new(metadata, &self.governor, Instant::now(), rand::random()));
        let sharers = *self.sharers.lock().unwrap_or_else(PoisonError::into_inner);
        if sharers.is_some() {
            reach.buckets().for_each(|bucket| bucket.divide(sharers));
        }
        self.reach.store(Some(Arc::clone(&reach)));
        reach
    }

    /// Where it is reached, once that is known.
    pub(super) fn reach(&self) -> Option<Arc<Reach>> {
        self.reach.load_full()
    }

    /// Whether the policy leaves an endpoint to be found.
    pub(super) fn discovers(&self) -> bool {
        self.discovers
    }

    /// Its URL, to find its metadata by.
    pub(super) fn address(&self) -> &Url {
        &self.url
    }

    /// A document of its own host.
    pub(super) fn document(&self, url: Url) -> Endpoint {
        Endpoint { url, bucket: Arc::clone(&self.documents) }
    }

    /// What a metadata document says, and the policy above it; `Err` says what is wrong.
    pub(super) fn judge_metadata(&self, document: &[u8]) -> Result<Metadata, &'static str> {
        self.given.completed_by(document, &self.config.url, self.needs, self.config.allow_http)
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    pub(super) fn metrics(&self) -> &IdpMetrics {
        &self.metrics
    }

    /// Metadata or keys were asked for, and came.
    pub(super) fn has_answered(&self) {
        self.health.record_keys(Ok(()), Instant::now());
        self.questions.hope();
        self.tokens.hope();
    }

    /// Metadata or keys were asked for in vain. Where they fail, the endpoints may have moved.
    pub(super) fn has_failed(&self, error: &IdpError) {
        self.health.record_keys(Err(error), Instant::now());
        if !matches!(error, IdpError::RateLimited { .. }) {
            self.doubts.raise(Instant::now());
        }
    }

    /// An endpoint is not where it was: the metadata is worth a look at once.
    fn doubt(&self) {
        if self.doubts.raise(Instant::now()) {
            self.nudge.notify_one();
        }
    }

    /// Whether the metadata is in doubt; that is asked once.
    pub(super) fn takes_doubts(&self) -> bool {
        self.doubts.take()
    }

    /// Metadata and keys are to be fetched now.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Returns when that is so.
    pub(super) async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// How long it may go unasked for keys: what is taken on trust in an outage is counted from its last good answer,
    /// which on a quiet day only these bring.
    pub(super) fn longest_silence(&self) -> Duration {
        match self.on_outage() {
            OnOutage::Reject => LONGEST_LIFE,
            OnOutage::AcceptLocallyValid { max_duration_millis } => {
                (Duration::from_millis(max_duration_millis) / 2).clamp(SHORTEST_LIFE, LONGEST_LIFE)
            }
        }
    }

    /// Shows what the governor and the breakers know.
    pub(super) fn measure(&self) {
        let reach = self.reach.load();
        let reach = reach.as_deref();
        let introspection = reach.and_then(|reach| reach.introspection.as_ref()).filter(|_| self.needs.introspection);
        let token = reach.and_then(|reach| reach.token.as_ref()).filter(|_| self.needs.tokens);
        for (line, endpoint) in [(&self.questions, introspection), (&self.tokens, token)] {
            if let Some(endpoint) = endpoint {
                self.metrics.reading(self.name(), line.calls(), &endpoint.bucket.read(), line.is_cut());
            }
        }
    }
}

/// Whether an answer says that this is not the endpoint, or no longer.
fn has_moved(status: StatusCode) -> bool {
    status.is_redirection() || matches!(status.as_u16(), 404 | 405 | 410)
}

#[cfg(test)]
mod tests;
