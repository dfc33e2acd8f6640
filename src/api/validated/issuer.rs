//! Which authorization servers are sound: their URLs, audiences, clients and times. It asks none of them anything.

use std::time::Duration;

use tollgate_contract::{ClientAuthMethod, ValidationMode};

use crate::conditions::reason;
use crate::types::{self, OKTA_DOMAINS, limits};

use super::text::{check_unique, is_config_key, is_label, is_subdomain, parse_duration};
use super::{NotAccepted, ParseOptions};

/// A sound issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issuer {
    /// A DNS label of at most 32 characters, unique within the resource.
    pub name: String,
    /// The exact `iss`: http or https, no trailing slash, query or fragment.
    pub url: String,
    /// At least one, unique.
    pub audiences: Vec<String>,
    /// How its tokens are judged.
    pub validation: ValidationMode,
    /// The API's own client; present exactly when the mode introspects, which is all it is used for.
    pub client: Option<Client>,
    /// How long an introspection answer is fresh; at most 1 h.
    pub introspection_cache: Duration,
    /// Tolerated clock difference; at most 5 min.
    pub clock_skew: Duration,
    /// Extra certificates to trust.
    pub ca_bundle: Option<CaBundle>,
    /// Whether `http://` endpoints may be used: only where the issuer itself is http, which takes the operator's flag.
    pub allow_http: bool,
}

/// The API's own client at an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Name of the Secret, in the resource's namespace.
    pub secret: String,
    /// How the client authenticates.
    pub auth_method: ClientAuthMethod,
}

/// Extra CA certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// Name of the ConfigMap, in the resource's namespace.
    pub config_map: String,
    /// Its key.
    pub key: String,
}

/// The issuers of a resource, each sound and all together.
pub(super) fn parse_all(issuers: &[types::Issuer], options: ParseOptions) -> Result<Vec<Issuer>, NotAccepted> {
    if !(1..=limits::ISSUERS).contains(&issuers.len()) {
        return Err(NotAccepted::invalid(format!("issuers: name 1 to {}", limits::ISSUERS)));
    }
    let parsed = issuers.iter().map(|issuer| parse(issuer, options)).collect::<Result<Vec<_>, _>>()?;
    for (index, issuer) in parsed.iter().enumerate() {
        let earlier = &parsed[..index];
        if earlier.iter().any(|other| other.name == issuer.name) {
            return Err(NotAccepted::invalid(format!("issuers: two are named '{}'; rename one", issuer.name)));
        }
        if earlier.iter().any(|other| other.url == issuer.url) {
            return Err(NotAccepted::invalid(format!(
                "issuers: two have the url {}; write it once, with all its audiences",
                issuer.url
            )));
        }
    }
    if parsed.iter().filter(|issuer| issuer.validation == ValidationMode::Introspection).count() > 1 {
        return Err(NotAccepted::invalid(
            "issuers: only one may have validation: Introspection, for an opaque token does not say who issued it",
        ));
    }
    Ok(parsed)
}

/// Whether this is an Okta org authorization server.
pub(super) fn is_okta_org_server(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let host = rest.split_once(':').map_or(rest, |(host, _)| host).to_ascii_lowercase();
    !rest.contains('/') && OKTA_DOMAINS.iter().any(|domain| under_domain(&host, domain))
}

fn parse(issuer: &types::Issuer, options: ParseOptions) -> Result<Issuer, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::Issuer { name, url, audiences, validation, client, introspection, clock_skew, ca_bundle } = issuer;
    if !is_label(name, limits::ISSUER_NAME_LENGTH) {
        return Err(NotAccepted::invalid(format!(
            "issuers: '{name}' is no name; use at most {} characters of a-z, 0-9 and -",
            limits::ISSUER_NAME_LENGTH
        )));
    }
    let field = |member: &str| format!("issuer {name}: {member}");
    check_url(&field("url"), url, options)?;
    check_audiences(&field("audiences"), audiences)?;

    let validation = ValidationMode::from(*validation);
    if validation.checks_locally() && is_okta_org_server(url) {
        return Err(NotAccepted::invalid(format!(
            "{}: tokens of an Okta org authorization server are opaque; use validation: Introspection, or a custom \
             authorization server such as {url}/oauth2/default",
            field("validation")
        )));
    }
    let client = client.as_ref().map(|client| parse_client(&field("client"), client)).transpose()?;
    if validation.introspects() && client.is_none() {
        return Err(NotAccepted::invalid(format!(
            "{}: introspection needs client.secretRef, a Secret with clientId and clientSecret",
            field("validation")
        )));
    }
    Ok(Issuer {
        name: name.clone(),
        url: url.clone(),
        audiences: audiences.clone(),
        validation,
        client: client.filter(|_| validation.introspects()),
        introspection_cache: parse_duration(
            &field("introspection.cache"),
            &introspection.cache,
            limits::INTROSPECTION_CACHE,
        )?,
        clock_skew: parse_duration(&field("clockSkew"), clock_skew, limits::CLOCK_SKEW)?,
        ca_bundle: ca_bundle.as_ref().map(|bundle| parse_ca_bundle(&field("caBundle"), bundle)).transpose()?,
        allow_http: url.starts_with("http://"),
    })
}

fn check_url(field: &str, url: &str, options: ParseOptions) -> Result<(), NotAccepted> {
    let invalid = |fix: &str| Err(NotAccepted::invalid(format!("{field}: '{url}': {fix}")));
    if url.len() > limits::URL_LENGTH {
        return Err(NotAccepted::invalid(format!("{field}: at most {} characters", limits::URL_LENGTH)));
    }
    if url.contains(['{', '}', '$', '<', '>']) {
        return invalid("replace the placeholder by your Okta domain, such as acme.okta.com");
    }
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return invalid("start with https://");
    };
    if url.contains(['?', '#']) {
        return invalid("leave out the query and the fragment");
    }
    if url.ends_with('/') {
        return invalid("leave out the trailing slash; the iss of Okta's tokens has none");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return invalid("leave out the user and password");
    }
    let host = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
    if OKTA_DOMAINS.iter().any(|domain| under_domain(&host, domain))
        && host.split('.').next().is_some_and(|label| label.ends_with("-admin"))
    {
        return invalid("leave out -admin; the admin console issues no tokens");
    }
    if url.contains("/.well-known/")
        || ["/v1/authorize", "/v1/introspect", "/v1/keys", "/v1/token"].iter().any(|end| url.ends_with(end))
    {
        return invalid(
            "write the issuer, not one of its endpoints; leave out what follows from /.well-known/ or /v1/ on",
        );
    }
    if !is_authority(authority) || !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return invalid("write a URL such as https://acme.okta.com/oauth2/default");
    }
    if url.starts_with("http://") && !options.allow_insecure_issuers {
        return Err(NotAccepted {
            reason: reason::INSECURE_ISSUER,
            message: format!(
                "{field}: '{url}' is not https; use https://, with caBundle for a private CA (for tests alone, the \
                 operator takes http:// with the chart's allowInsecureIssuers)"
            ),
        });
    }
    Ok(())
}

fn under_domain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'))
}

/// `host`, `host:port` or `[v6]:port`.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host_is_sound = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)),
    };
    host_is_sound && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn check_audiences(field: &str, audiences: &[String]) -> Result<(), NotAccepted> {
    if !(1..=limits::AUDIENCES).contains(&audiences.len()) {
        return Err(NotAccepted::invalid(format!(
            "{field}: name 1 to {}, such as api://default, or tokens for other APIs would pass",
            limits::AUDIENCES
        )));
    }
    let sound = |audience: &str| {
        (1..=limits::AUDIENCE_LENGTH).contains(&audience.len())
            && audience.trim() == audience
            && !audience.contains(char::is_control)
    };
    match audiences.iter().find(|audience| !sound(audience)) {
        Some(bad) => {
            Err(NotAccepted::invalid(format!("{field}: '{bad}' is empty, too long, or has stray white space")))
        }
        None => check_unique(field, audiences),
    }
}

fn parse_client(field: &str, client: &types::Client) -> Result<Client, NotAccepted> {
    let types::Client { secret_ref: types::SecretRef { name }, auth_method } = client;
    if !is_subdomain(name) {
        return Err(NotAccepted::invalid(format!("{field}.secretRef.name: '{name}' is not the name of a Secret")));
    }
    Ok(Client { secret: name.clone(), auth_method: (*auth_method).into() })
}

fn parse_ca_bundle(field: &str, bundle: &types::CaBundle) -> Result<CaBundle, NotAccepted> {
    let types::CaBundle { config_map_ref: types::ConfigMapKeyRef { name, key } } = bundle;
    if !is_subdomain(name) || !is_config_key(key) {
        return Err(NotAccepted::invalid(format!(
            "{field}.configMapRef: '{name}' and '{key}' are not the name and the key of a ConfigMap"
        )));
    }
    Ok(CaBundle { config_map: name.clone(), key: key.clone() })
}

impl From<types::ValidationMode> for ValidationMode {
    fn from(mode: types::ValidationMode) -> Self {
        match mode {
            types::ValidationMode::Local => Self::Local,
            types::ValidationMode::Introspection => Self::Introspection,
            types::ValidationMode::LocalAndIntrospection => Self::LocalAndIntrospection,
        }
    }
}

impl From<types::AuthMethod> for ClientAuthMethod {
    fn from(method: types::AuthMethod) -> Self {
        match method {
            types::AuthMethod::ClientSecretBasic => Self::ClientSecretBasic,
            types::AuthMethod::ClientSecretPost => Self::ClientSecretPost,
        }
    }
}
