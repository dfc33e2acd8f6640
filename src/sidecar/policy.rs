//! From the configuration file's bytes to a policy that can be enforced, or one plain error. What makes no sense is
//! refused here, before any port is bound; nothing is guessed and nothing is enforced in part.

use std::sync::Arc;

use ipnet::IpNet;
use reqwest::Url;
use tollgate_contract::{
    BrokerConfig, DpopMode, IssuerConfig, OnOutage, PolicyHash, SidecarConfig, TracingConfig, ValidationMode, names,
};

use crate::claim_headers::ClaimHeaders;
use crate::cors::Cors;
use crate::external::ExternalUrls;
use crate::idp::is_org_server;
use crate::path::CleanPath;
use crate::route::{RouteError, RouteTable, is_scope_token};

/// The design's bound; each issuer costs connections and memory.
const MAX_ISSUERS: usize = 8;
/// More would accept tokens long dead; the resource allows 5 minutes at most.
const MAX_CLOCK_SKEW_SECONDS: u64 = 300;

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    /// As read.
    pub config: SidecarConfig,
    /// Of the file's bytes.
    pub hash: PolicyHash,
    /// The compiled rules.
    pub routes: RouteTable,
    /// How callers reach the API.
    pub external_urls: ExternalUrls,
    /// Whose `X-Forwarded-For` says who the caller is.
    pub trusted_proxies: Vec<IpNet>,
    /// The claims that the app gets as headers.
    pub(crate) claim_headers: Arc<ClaimHeaders>,
    /// What scripts of other origins may do.
    pub(crate) cors: Cors,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not the JSON that this version knows.
    #[error("the configuration is not understood by this version")]
    Format(#[from] serde_json::Error),
    /// A rule.
    #[error("the routes make no sense")]
    Routes(#[from] RouteError),
    /// Names become the challenge's realm.
    #[error("name {0:?} is no DNS label")]
    Name(String),
    /// None, or more than fit.
    #[error("{0} issuers; 1 to {MAX_ISSUERS} are needed")]
    IssuerCount(usize),
    /// A name or a URL that two issuers share.
    #[error("two issuers share the name or URL {0:?}")]
    DuplicateIssuer(String),
    /// An issuer's setting.
    #[error("issuer {issuer:?} {problem}")]
    Issuer {
        /// Its name.
        issuer: String,
        /// What is wrong, as the end of a sentence.
        problem: &'static str,
    },
    /// A route's issuer.
    #[error("route {route:?} names issuer {issuer:?}, which does not exist")]
    RouteIssuer {
        /// The route's name.
        route: String,
        /// The issuer's.
        issuer: String,
    },
    /// A URL by which callers reach the API.
    #[error("external URL {url:?} {problem}")]
    ExternalUrl {
        /// As written.
        url: String,
        /// What is wrong, as the end of a sentence.
        problem: &'static str,
    },
    /// A range of proxies.
    #[error("trusted proxy {0:?} is no range of addresses such as 10.0.0.0/8")]
    TrustedProxy(String),
    /// A broker's setting.
    #[error("the token broker {0}")]
    Broker(&'static str),
    /// A number that means nothing.
    #[error("of answered requests one in {0} is to be logged; at least 1 is needed")]
    AccessLog(u32),
    /// What scripts of other origins may do.
    #[error("the setting for scripts of other origins (CORS) {0}")]
    Cors(String),
    /// A claim's header.
    #[error("claim header {header:?} {problem}")]
    ClaimHeader {
        /// Its name.
        header: String,
        /// What is wrong, as the end of a sentence.
        problem: &'static str,
    },
    /// The OTLP receiver.
    #[error("tracing {0}")]
    Tracing(&'static str),
    /// The app's port would lead back to us, or nowhere.
    #[error("upstream port {0} is the sidecar's own or none")]
    UpstreamPort(u16),
}

impl Policy {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// It is malformed, or asks for something that makes no sense.
    pub fn from_file(bytes: &[u8]) -> Result<Self, PolicyError> {
        let config = SidecarConfig::from_file(bytes)?;
        for name in [&config.namespace, &config.name] {
            if !is_dns_label(name) {
                return Err(PolicyError::Name(name.clone()));
            }
        }
        check_issuers(&config)?;
        check_route_issuers(&config)?;
        if let Some(broker) = &config.token_broker {
            check_broker(broker, &config).map_err(PolicyError::Broker)?;
        }
        if config.access_log.one_in == 0 {
            return Err(PolicyError::AccessLog(config.access_log.one_in));
        }
        if let Some(tracing) = &config.tracing {
            check_tracing(tracing).map_err(PolicyError::Tracing)?;
        }
        let port = config.upstream.port;
        if [0, names::PROXY_PORT, names::ADMIN_PORT, names::LOOPBACK_BROKER_PORT].contains(&port) {
            return Err(PolicyError::UpstreamPort(port));
        }
        let claim_headers = ClaimHeaders::new(&config.upstream.claim_headers)
            .map_err(|(header, problem)| PolicyError::ClaimHeader { header, problem })?;
        Ok(Self {
            claim_headers: Arc::new(claim_headers),
            cors: Cors::new(&config.cors).map_err(PolicyError::Cors)?,
            external_urls: external_urls(&config)?,
            trusted_proxies: config.trusted_proxies.iter().map(|range| proxy_range(range)).collect::<Result<_, _>>()?,
            routes: RouteTable::new(&config.routes, config.default_access, config.paths.case_sensitive)?,
            hash: PolicyHash::of(bytes),
            config,
        })
    }
}

fn check_tracing(tracing: &TracingConfig) -> Result<(), &'static str> {
    let url = Url::parse(&tracing.endpoint).map_err(|_| "has an endpoint that is no URL")?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("has an endpoint that does not start with http:// or https://");
    }
    // They would end up in logs.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has an endpoint with credentials in it");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has an endpoint with a query or a fragment");
    }
    if tracing.sample_per_million > 1_000_000 {
        return Err("samples more than a million of a million");
    }
    Ok(())
}

fn check_issuers(config: &SidecarConfig) -> Result<(), PolicyError> {
    let issuers = &config.issuers;
    if issuers.is_empty() || issuers.len() > MAX_ISSUERS {
        return Err(PolicyError::IssuerCount(issuers.len()));
    }
    for (at, issuer) in issuers.iter().enumerate() {
        for other in &issuers[..at] {
            if other.name == issuer.name || other.url == issuer.url {
                let shared = if other.name == issuer.name { &issuer.name } else { &issuer.url };
                return Err(PolicyError::DuplicateIssuer(shared.clone()));
            }
        }
        let https = issuer.url.starts_with("https://") || (issuer.allow_http && issuer.url.starts_with("http://"));
        let problem = if !is_dns_label(&issuer.name) {
            "has a name that is no DNS label"
        } else if !https {
            "has a URL that does not start with https://"
        } else if issuer.url.ends_with('/') || issuer.url.contains(['?', '#']) {
            "has a URL with a trailing slash, a query or a fragment"
        } else if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
            "has no audience, or an empty one"
        } else if issuer.validation.introspects() && issuer.client.is_none() {
            "introspects and has no client to do so"
        } else if issuer.clock_skew_seconds > MAX_CLOCK_SKEW_SECONDS {
            "has a clock skew of more than 5 minutes"
        } else if issuer.algorithms.is_empty() || has_repetition(&issuer.algorithms) {
            "has no algorithm, or one twice"
        } else if judges_the_unreadable(issuer) {
            "is an Okta org authorization server, whose tokens mean nothing here: Introspection is for it, and nothing else"
        } else if issuer.validation == ValidationMode::Introspection
            && issuers[..at].iter().any(|other| other.validation == ValidationMode::Introspection)
        {
            "is the second with Introspection; only one can be the judge of opaque tokens"
        } else {
            continue;
        };
        return Err(PolicyError::Issuer { issuer: issuer.name.clone(), problem });
    }
    Ok(())
}

/// Whether tokens would be judged locally that are opaque by Okta's word.
fn judges_the_unreadable(issuer: &IssuerConfig) -> bool {
    let locally = issuer.validation.checks_locally() || issuer.introspection.on_outage != OnOutage::Reject;
    locally && Url::parse(&issuer.url).is_ok_and(|url| is_org_server(&url))
}

fn has_repetition<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().any(|(at, item)| items[..at].contains(item))
}

fn external_urls(config: &SidecarConfig) -> Result<ExternalUrls, PolicyError> {
    let allow_http = config.issuers.iter().any(|issuer| issuer.allow_http);
    let urls = ExternalUrls::parse(&config.external_urls, allow_http);
    let urls = urls.map_err(|(url, problem)| PolicyError::ExternalUrl { url, problem })?;
    match config.issuers.iter().find(|issuer| issuer.dpop != DpopMode::Refuse) {
        Some(issuer) if config.external_urls.is_empty() => Err(PolicyError::Issuer {
            issuer: issuer.name.clone(),
            problem: "takes DPoP, for which external URLs are needed",
        }),
        _ => Ok(urls),
    }
}

fn proxy_range(range: &str) -> Result<IpNet, PolicyError> {
    range.parse().map_err(|_| PolicyError::TrustedProxy(range.to_owned()))
}

fn check_route_issuers(config: &SidecarConfig) -> Result<(), PolicyError> {
    for route in &config.routes {
        let exists = |name: &&String| config.issuers.iter().any(|issuer| issuer.name == **name);
        if let Some(unknown) = route.issuers.iter().find(|name| !exists(name)) {
            return Err(PolicyError::RouteIssuer { route: route.name.clone(), issuer: unknown.clone() });
        }
    }
    Ok(())
}

fn check_broker(broker: &BrokerConfig, config: &SidecarConfig) -> Result<(), &'static str> {
    if !CleanPath::parse(&broker.path).is_ok_and(|path| path.is_plain()) || broker.path == "/" {
        return Err("needs a plain path such as /token");
    }
    if !config.issuers.iter().any(|issuer| issuer.name == broker.issuer) {
        return Err("names an issuer that does not exist");
    }
    if !broker.default_scopes.iter().all(|scope| broker.allowed_scopes.contains(scope)) {
        return Err("has a default scope that is not allowed");
    }
    if !broker.allowed_scopes.iter().all(|scope| is_scope_token(scope)) {
        return Err("has a scope with characters that RFC 6749 does not allow");
    }
    Ok(())
}

/// RFC 1123 label: what Kubernetes lets a namespace or a resource of ours be called.
fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sound() -> Value {
        json!({
            "namespace": "shop",
            "name": "items",
            "issuers": [{
                "name": "okta",
                "url": "https://acme.okta.test/oauth2/default",
                "audiences": ["api://default"],
                "validation": "Introspection",
                "client": {"credentialsDir": "/etc/tollgate/credentials/okta", "authMethod": "ClientSecretBasic"},
                "introspection": {"cacheMillis": 60000},
                "clockSkewSeconds": 60,
            }],
            "defaultAccess": "Authenticated",
            "routes": [
                {"name": "docs", "path": {"prefix": "/docs"}, "access": "Public"},
                {"name": "items", "path": {"prefix": "/items"}, "access": "Authenticated", "issuers": ["okta"]},
            ],
            "tokenBroker": {
                "path": "/token", "issuer": "okta", "defaultScopes": ["items"], "allowedScopes": ["items", "more"],
                "swaggerForm": true,
            },
            "upstream": {"port": 8000},
            "logLevel": "info",
        })
    }

    fn issuer(config: &mut Value) -> &mut Value {
        &mut config["issuers"][0]
    }

    fn org_server(validation: &str) -> Value {
        let mut issuer = sound()["issuers"][0].clone();
        issuer["name"] = json!("org");
        issuer["url"] = json!("https://acme.okta.com");
        issuer["validation"] = json!(validation);
        issuer
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut config = sound();
        change(&mut config);
        Policy::from_file(config.to_string().as_bytes()).err().map(|error| error.to_string())
    }

    #[test]
    fn a_sound_configuration_is_taken_and_hashed_as_it_lies_in_the_file() {
        let file = sound().to_string();
        let policy = Policy::from_file(file.as_bytes()).unwrap();
        assert_eq!(policy.hash, PolicyHash::of(file.as_bytes()));
        assert_eq!(policy.config.upstream.port, 8000);
        let org_server_that_is_asked = refusal(|config| {
            *issuer(config) = org_server("Introspection");
            issuer(config)["name"] = json!("okta");
        });
        assert_eq!(org_server_that_is_asked, None);
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let unknown = refusal(|config| config["futureRule"] = json!(true));
        assert_eq!(unknown.unwrap(), "the configuration is not understood by this version");
        assert!(refusal(|config| config["routes"][0]["unless"] = json!("false")).is_some());
        assert!(refusal(|config| config["issuers"][0]["dpop"] = json!("Sometimes")).is_some());
        assert!(refusal(|config| config["defaultAccess"] = json!("Public")).is_some());
        assert!(Policy::from_file(b"").is_err());
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        type Change = fn(&mut Value);
        let table: [(Change, &str); 40] = [
            (|c| c["name"] = json!("a\"b"), "no DNS label"),
            (|c| c["namespace"] = json!(""), "no DNS label"),
            (|c| c["issuers"] = json!([]), "0 issuers"),
            (|c| c["issuers"] = json!([c["issuers"][0], c["issuers"][0]]), "share the name or URL \"okta\""),
            (|c| c["issuers"][0]["name"] = json!("a/../b"), "name that is no DNS label"),
            (|c| c["issuers"][0]["url"] = json!("http://acme.okta.test"), "does not start with https://"),
            (|c| c["issuers"][0]["url"] = json!("https://acme.okta.test/"), "trailing slash"),
            (|c| c["issuers"][0]["url"] = json!("https://acme.okta.test?a"), "a query"),
            (|c| c["issuers"][0]["audiences"] = json!([]), "no audience"),
            (|c| c["issuers"][0]["audiences"] = json!([""]), "no audience"),
            (|c| c["issuers"][0]["client"] = json!(null), "no client"),
            (|c| c["issuers"][0]["clockSkewSeconds"] = json!(301), "more than 5 minutes"),
            (|c| c["issuers"][0]["algorithms"] = json!([]), "no algorithm"),
            (|c| c["issuers"][0]["algorithms"] = json!(["RS256", "ES256", "RS256"]), "or one twice"),
            (|c| *issuer(c) = org_server("Local"), "an Okta org authorization server"),
            (|c| *issuer(c) = org_server("LocalAndIntrospection"), "an Okta org authorization server"),
            (
                |c| {
                    *issuer(c) = org_server("Introspection");
                    let trust = json!({"acceptLocallyValid": {"maxDurationMillis": 1000}});
                    issuer(c)["introspection"]["onOutage"] = trust;
                },
                "an Okta org authorization server",
            ),
            (
                |c| c["issuers"] = json!([c["issuers"][0], org_server("Introspection")]),
                "issuer \"org\" is the second with Introspection",
            ),
            (|c| c["tokenBroker"]["path"] = json!("token"), "plain path"),
            (|c| c["tokenBroker"]["path"] = json!("/Token/"), "plain path"),
            (|c| c["tokenBroker"]["path"] = json!("/"), "plain path"),
            (|c| c["tokenBroker"]["issuer"] = json!("other"), "does not exist"),
            (|c| c["tokenBroker"]["defaultScopes"] = json!(["other"]), "not allowed"),
            (|c| c["tokenBroker"]["allowedScopes"] = json!(["items", "a b"]), "RFC 6749"),
            (
                |c| c["externalUrls"] = json!(["https://api.acme.test/"]),
                "\"https://api.acme.test/\" has a trailing slash",
            ),
            (|c| c["externalUrls"] = json!(["http://api.acme.test"]), "does not start with https://"),
            (|c| c["trustedProxies"] = json!(["10.0.0.1"]), "\"10.0.0.1\" is no range"),
            (|c| c["issuers"][0]["dpop"] = json!("Accept"), "for which external URLs are needed"),
            (|c| c["upstream"]["port"] = json!(0), "upstream port 0"),
            (|c| c["upstream"]["port"] = json!(8480), "upstream port 8480"),
            (
                |c| {
                    let open = json!({"origins": ["*"], "methods": [], "headers": [], "expose": [], "credentials": true,
                                      "maxAgeSeconds": 0});
                    c["cors"] = json!({"handle": open});
                },
                "(CORS) lets every origin in with credentials",
            ),
            (
                |c| c["upstream"]["claimHeaders"] = json!([{"claim": ["sub"], "header": "connection"}]),
                "claim header \"connection\" means something else",
            ),
            (
                |c| c["upstream"]["claimHeaders"] = json!([{"claim": ["sub"], "header": "x-tollgate-user"}]),
                "claim header \"x-tollgate-user\" starts with x-tollgate-",
            ),
            (|c| c["upstream"]["port"] = json!(8481), "upstream port 8481"),
            (|c| c["routes"][0]["path"] = json!({"exact": "docs"}), "routes make no sense"),
            (|c| c["routes"][0]["issuers"] = json!(["okta"]), "routes make no sense"),
            (|c| c["routes"][0]["when"] = json!("true"), "routes make no sense"),
            (|c| c["routes"][1]["issuers"] = json!(["okta", "other"]), "issuer \"other\", which does not exist"),
            (|c| c["routes"][1]["when"] = json!("claim.a == 1"), "routes make no sense"),
            (|c| c["routes"][1]["when"] = json!(""), "routes make no sense"),
        ];
        for (change, expected) in table {
            let sentence = refusal(change).unwrap_or_else(|| panic!("taken: {expected}"));
            assert!(sentence.contains(expected), "{sentence}");
        }
    }
}
