//! Which authorization servers are sound: their URLs, audiences, clients and times. It asks none of them anything.

use std::time::Duration;

use tollgate_contract::{
    Algorithm, ClientAuthMethod, DpopMode, DpopNonce, EndpointsConfig, TokenProfile, ValidationMode,
};

use crate::types::{self, limits};

use super::introspection::{self, Introspection};
use super::text::{check_unique, is_config_key, is_label, is_subdomain, parse_duration};
use super::url::{check_endpoint, check_issuer, is_okta_org_server};
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
    /// How answers of introspection are used; also there where it is not.
    pub introspection: Introspection,
    /// Tolerated clock difference; at most 5 min.
    pub clock_skew: Duration,
    /// Extra certificates to trust.
    pub ca_bundle: Option<CaBundle>,
    /// At least one, unique.
    pub algorithms: Vec<Algorithm>,
    /// What its access tokens look like.
    pub token_profile: TokenProfile,
    /// The longest time from `iat` to `exp`; 1 min to 7 d.
    pub max_token_lifetime: Duration,
    /// Whether DPoP-bound tokens are taken; the resource then has external URLs.
    pub dpop: DpopMode,
    /// Whether proofs need a nonce; off where DPoP is.
    pub dpop_nonce: DpopNonce,
    /// https all.
    pub endpoints: EndpointsConfig,
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

fn parse(issuer: &types::Issuer, options: ParseOptions) -> Result<Issuer, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::Issuer {
        name,
        url,
        audiences,
        validation,
        client,
        introspection,
        clock_skew,
        ca_bundle,
        algorithms,
        token_profile,
        max_token_lifetime,
        dpop,
        dpop_nonce,
        endpoints,
    } = issuer;
    if !is_label(name, limits::ISSUER_NAME_LENGTH) {
        return Err(NotAccepted::invalid(format!(
            "issuers: '{name}' is no name; use at most {} characters of a-z, 0-9 and -",
            limits::ISSUER_NAME_LENGTH
        )));
    }
    let field = |member: &str| format!("issuer {name}: {member}");
    check_issuer(&field("url"), url, options)?;
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
    if !validation.introspects() && introspection.on_outage.policy != types::OutagePolicy::Reject {
        return Err(NotAccepted::invalid(format!(
            "{}: with validation: Local no token waits for Okta's word; leave onOutage out, or use validation: \
             LocalAndIntrospection",
            field("introspection")
        )));
    }
    let (dpop, dpop_nonce) = (DpopMode::from(*dpop), DpopNonce::from(*dpop_nonce));
    if dpop == DpopMode::Refuse && dpop_nonce != DpopNonce::None {
        return Err(NotAccepted::invalid(format!(
            "{}: a nonce is for DPoP proofs; set dpop to Accept or Require, or leave dpopNonce out",
            field("dpopNonce")
        )));
    }
    Ok(Issuer {
        name: name.clone(),
        url: url.clone(),
        audiences: audiences.clone(),
        validation,
        client: client.filter(|_| validation.introspects()),
        introspection: introspection::parse(&field("introspection"), introspection, url)?,
        clock_skew: parse_duration(&field("clockSkew"), clock_skew, Duration::ZERO..=limits::CLOCK_SKEW)?,
        ca_bundle: ca_bundle.as_ref().map(|bundle| parse_ca_bundle(&field("caBundle"), bundle)).transpose()?,
        algorithms: parse_algorithms(&field("algorithms"), algorithms)?,
        token_profile: (*token_profile).into(),
        max_token_lifetime: parse_duration(
            &field("maxTokenLifetime"),
            max_token_lifetime,
            limits::SHORTEST_TOKEN_LIFETIME..=limits::TOKEN_LIFETIME,
        )?,
        dpop,
        dpop_nonce,
        endpoints: endpoints
            .as_ref()
            .map(|endpoints| parse_endpoints(&field("endpoints"), endpoints))
            .transpose()?
            .unwrap_or_default(),
        allow_http: url.starts_with("http://"),
    })
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

fn parse_algorithms(field: &str, algorithms: &[types::Algorithm]) -> Result<Vec<Algorithm>, NotAccepted> {
    let algorithms: Vec<Algorithm> = algorithms.iter().copied().map(Algorithm::from).collect();
    if algorithms.is_empty() {
        return Err(NotAccepted::invalid(format!("{field}: name at least one algorithm, such as RS256")));
    }
    let twice = algorithms.iter().enumerate().find(|(index, algorithm)| algorithms[..*index].contains(algorithm));
    match twice {
        Some((_, twice)) => Err(NotAccepted::invalid(format!("{field}: '{}' is there twice", twice.as_str()))),
        None => Ok(algorithms),
    }
}

fn parse_endpoints(field: &str, endpoints: &types::Endpoints) -> Result<EndpointsConfig, NotAccepted> {
    let types::Endpoints { jwks, token, introspection } = endpoints;
    for (member, url) in [("jwks", jwks), ("token", token), ("introspection", introspection)] {
        if let Some(url) = url {
            check_endpoint(&format!("{field}.{member}"), url)?;
        }
    }
    Ok(EndpointsConfig { jwks: jwks.clone(), token: token.clone(), introspection: introspection.clone() })
}

fn parse_client(field: &str, client: &types::Client) -> Result<Client, NotAccepted> {
    let types::Client { secret_ref: types::SecretRef { name }, auth_method } = client;
    if !is_subdomain(name) {
        return Err(NotAccepted::invalid(format!("{field}.secretRef.name: '{name}' is not the name of a Secret")));
    }
    Ok(Client { secret: name.clone(), auth_method: (*auth_method).into() })
}

pub(super) fn parse_ca_bundle(field: &str, bundle: &types::CaBundle) -> Result<CaBundle, NotAccepted> {
    let types::CaBundle { config_map_ref: types::ConfigMapKeyRef { name, key } } = bundle;
    if !is_subdomain(name) || !is_config_key(key) {
        return Err(NotAccepted::invalid(format!(
            "{field}.configMapRef: '{name}' and '{key}' are not the name and the key of a ConfigMap"
        )));
    }
    Ok(CaBundle { config_map: name.clone(), key: key.clone() })
}
