//! From the resource as stored to the resource as acted upon: `ValidatedApi` can only be made by `parse`, which checks
//! again what the schema's rules check (an object may be older than a rule, or the cluster's CRD older than this
//! operator) and what they cannot see. Who holds one need not look again. It talks to nobody.

mod broker;
mod introspection;
mod issuer;
mod route;
#[cfg(test)]
mod tests;
mod text;
mod traffic;
mod upstream;
mod url;
mod words;
mod workload;

use kube::ResourceExt;
use thiserror::Error;
use tollgate_contract::{CorsConfig, DefaultAccess, DpopMode, PathsConfig, StreamsConfig};

pub use broker::Broker;
pub use introspection::Introspection;
pub use issuer::{CaBundle, Client, Issuer};
pub use route::Route;
pub(crate) use text::millis;
pub use traffic::{ClientCertificates, Tls};
pub use upstream::{Upstream, UpstreamTls};
pub use workload::{App, Sidecar};

use crate::conditions::reason;
use crate::types::{OktaProtectedApi, OktaProtectedApiSpec, limits};

/// Longest name of a resource: its Service and pods are named after it, and host names and labels end at 63.
pub const MAX_NAME_LENGTH: usize = 50;

/// A sound `OktaProtectedApi`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValidatedApi {
    /// Namespace of the resource and of everything rendered from it.
    pub namespace: String,
    /// Name of the resource: a DNS-1035 label of at most [`MAX_NAME_LENGTH`] characters.
    pub name: String,
    /// The resource's uid.
    pub uid: String,
    /// The generation that this was parsed from.
    pub generation: i64,
    /// 1 to 8; names and URLs are unique, at most one takes opaque tokens.
    pub issuers: Vec<Issuer>,
    /// At most 8, unique; http only beside an http issuer. At least one where an issuer takes DPoP.
    pub external_urls: Vec<String>,
    /// At most 32 ranges of addresses, unique.
    pub trusted_proxies: Vec<String>,
    /// What holds for a path that no route names.
    pub default_access: DefaultAccess,
    /// At most 64; no two of one name, or of one path with a method in common.
    pub routes: Vec<Route>,
    /// `POST <path>` for callers.
    pub broker: Option<Broker>,
    /// TLS on the port that callers use.
    pub tls: Option<Tls>,
    /// The way to the app.
    pub upstream: Upstream,
    /// Which spellings of a path are taken.
    pub paths: PathsConfig,
    /// Exchanges that may outlive their token.
    pub streams: StreamsConfig,
    /// Scripts of other origins; names in lower case.
    pub cors: CorsConfig,
    /// The longest body of a request; at least 1.
    pub max_body_bytes: Option<u64>,
    /// The app's container.
    pub app: App,
    /// The Service's port.
    pub service_port: u16,
    /// Whether a NetworkPolicy is wanted.
    pub network_policy: bool,
    /// The sidecar's container.
    pub sidecar: Sidecar,
}

/// What the operator's flags let a resource do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Issuers may be `http://` (`--allow-insecure-issuers`), and beside such an issuer external URLs.
    pub allow_insecure_issuers: bool,
}

/// Why a resource is not acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct NotAccepted {
    /// A constant of [`crate::conditions::reason`], for the condition Accepted.
    pub reason: &'static str,
    /// One sentence that names the field and says the fix.
    pub message: String,
}

impl NotAccepted {
    fn invalid(message: impl Into<String>) -> Self {
        Self { reason: reason::INVALID_SPEC, message: message.into() }
    }
}

impl ValidatedApi {
    /// Checks a resource as a whole.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(resource: &OktaProtectedApi, options: ParseOptions) -> Result<Self, NotAccepted> {
        // Every field by name: a new one must not be forgotten here.
        let OktaProtectedApiSpec {
            issuers,
            external_urls,
            trusted_proxies,
            default_access,
            routes,
            token_broker,
            tls,
            upstream,
            paths,
            streams,
            cors,
            limits,
            app,
            service,
            network_policy,
            sidecar,
        } = &resource.spec;

        let name = parse_name(&resource.name_any())?;
        let issuers = issuer::parse_all(issuers, options)?;
        let broker = token_broker.as_ref().map(|broker| broker::parse(broker, &issuers)).transpose()?;
        check_external_urls(external_urls, &issuers)?;
        check_trusted_proxies(trusted_proxies)?;
        let routes = route::parse_all(routes, &issuers)?;
        if let Some(broker) = &broker {
            broker::check_against_routes(broker, &routes)?;
        }
        Ok(Self {
            namespace: resource.namespace().ok_or_else(|| NotAccepted::invalid("the resource has no namespace"))?,
            name,
            uid: resource.uid().ok_or_else(|| NotAccepted::invalid("the resource has no uid"))?,
            generation: resource.metadata.generation.unwrap_or_default(),
            issuers,
            external_urls: external_urls.clone(),
            trusted_proxies: trusted_proxies.clone(),
            default_access: (*default_access).into(),
            routes,
            broker,
            tls: tls.as_ref().map(traffic::parse_tls).transpose()?,
            upstream: upstream::parse(upstream)?,
            paths: traffic::parse_paths(paths),
            streams: traffic::parse_streams(streams)?,
            cors: traffic::parse_cors(cors)?,
            max_body_bytes: traffic::parse_max_body(limits)?,
            app: workload::parse_app(app)?,
            service_port: workload::parse_service_port(service)?,
            network_policy: network_policy.enabled,
            sidecar: workload::parse_sidecar(sidecar)?,
        })
    }
}

/// A DNS-1035 label, as Services want it: it starts with a letter.
fn parse_name(name: &str) -> Result<String, NotAccepted> {
    if text::is_label(name, MAX_NAME_LENGTH) && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(name.to_owned());
    }
    Err(NotAccepted::invalid(format!(
        "metadata.name: use at most {MAX_NAME_LENGTH} characters of a-z, 0-9 and -, starting with a letter"
    )))
}

fn check_external_urls(urls: &[String], issuers: &[Issuer]) -> Result<(), NotAccepted> {
    check_at_most("externalUrls", urls, limits::EXTERNAL_URLS)?;
    let allow_http = issuers.iter().any(|issuer| issuer.allow_http);
    for url in urls {
        url::check_external("externalUrls", url, allow_http)?;
    }
    match issuers.iter().find(|issuer| issuer.dpop != DpopMode::Refuse && urls.is_empty()) {
        Some(issuer) => Err(NotAccepted::invalid(format!(
            "issuer {}: dpop needs externalUrls, for a proof names the URL that the caller used; say there how callers \
             reach this API, such as https://api.acme.com",
            issuer.name
        ))),
        None => text::check_unique("externalUrls", urls),
    }
}

fn check_at_most<T>(field: &str, list: &[T], most: usize) -> Result<(), NotAccepted> {
    if list.len() > most {
        return Err(NotAccepted::invalid(format!("{field}: at most {most}")));
    }
    Ok(())
}

fn check_trusted_proxies(ranges: &[String]) -> Result<(), NotAccepted> {
    check_at_most("trustedProxies", ranges, limits::TRUSTED_PROXIES)?;
    for range in ranges {
        let fix = match text::is_address_range(range) {
            true if range.ends_with("/0") => "name your proxies; this range is every address there is",
            true => continue,
            false => "write a range of addresses, such as 10.0.0.0/8, or 192.0.2.7/32 for one",
        };
        return Err(NotAccepted::invalid(format!("trustedProxies: '{range}': {fix}")));
    }
    text::check_unique("trustedProxies", ranges)
}
