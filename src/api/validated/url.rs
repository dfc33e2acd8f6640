//! Which URLs are sound: an issuer's, one of its endpoints, and how callers reach the API. It asks none of them anything.

use crate::conditions::reason;
use crate::types::{OKTA_DOMAINS, limits};

use super::{NotAccepted, ParseOptions};

/// Whether this is an Okta org authorization server.
pub(super) fn is_okta_org_server(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let host = rest.split_once(':').map_or(rest, |(host, _)| host).to_ascii_lowercase();
    !rest.contains('/') && OKTA_DOMAINS.iter().any(|domain| under_domain(&host, domain))
}

/// An issuer: what tokens carry in `iss`.
pub(super) fn check_issuer(field: &str, url: &str, options: ParseOptions) -> Result<(), NotAccepted> {
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

/// An endpoint of an issuer: always https.
pub(super) fn check_endpoint(field: &str, url: &str) -> Result<(), NotAccepted> {
    let invalid = |fix: &str| Err(NotAccepted::invalid(format!("{field}: '{url}': {fix}")));
    if url.len() > limits::URL_LENGTH {
        return Err(NotAccepted::invalid(format!("{field}: at most {} characters", limits::URL_LENGTH)));
    }
    let Some(rest) = url.strip_prefix("https://") else {
        return invalid("start with https://");
    };
    if url.contains('#') {
        return invalid("leave out the fragment");
    }
    let Some((authority, path)) = rest.split_once('/') else {
        return invalid("write a URL such as https://acme.okta.com/oauth2/default/v1/keys");
    };
    if authority.contains('@') {
        return invalid("leave out the user and password");
    }
    if !is_authority(authority) || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return invalid("write a URL such as https://acme.okta.com/oauth2/default/v1/keys");
    }
    Ok(())
}

/// How callers reach the API: requests' paths follow after it. `allow_http`: an issuer is http, which takes the operator's
/// flag.
pub(super) fn check_external(field: &str, url: &str, allow_http: bool) -> Result<(), NotAccepted> {
    let invalid = |fix: &str| Err(NotAccepted::invalid(format!("{field}: '{url}': {fix}")));
    if url.len() > limits::URL_LENGTH {
        return Err(NotAccepted::invalid(format!("{field}: at most {} characters", limits::URL_LENGTH)));
    }
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return invalid("start with https://");
    };
    if url.contains(['?', '#']) {
        return invalid("leave out the query and the fragment");
    }
    if url.ends_with('/') {
        return invalid("leave out the trailing slash; the path of a request follows");
    }
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    if authority.contains('@') {
        return invalid("leave out the user and password");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:".contains(&byte);
    let is_segment = |segment: &str| !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(plain);
    if !is_authority(authority) || !path.is_none_or(|path| path.split('/').all(is_segment)) {
        return invalid("write a URL such as https://api.acme.com or https://api.acme.com/shop");
    }
    if url.starts_with("http://") && !allow_http {
        return Err(NotAccepted {
            reason: reason::INSECURE_EXTERNAL_URL,
            message: format!(
                "{field}: '{url}' is not https; use https://, for tokens must not travel in the clear (for tests alone, \
                 http:// goes with an http:// issuer)"
            ),
        });
    }
    Ok(())
}

/// A collector of spans; a path is added to it.
pub(super) fn check_collector(field: &str, url: &str) -> Result<(), NotAccepted> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_sound = rest.filter(|_| url.len() <= limits::URL_LENGTH).is_some_and(|rest| {
        let mut parts = rest.split('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        parts.next().is_some_and(is_authority) && parts.all(|part| !part.is_empty() && part.bytes().all(plain))
    });
    if is_sound {
        return Ok(());
    }
    Err(NotAccepted::invalid(format!(
        "{field}: '{url}': write a URL without a trailing slash, such as http://collector.observability:4318"
    )))
}

/// An origin as browsers send it (RFC 6454 section 6.2): in lower case, without a path or a default port.
pub(super) fn check_origin(field: &str, origin: &str) -> Result<(), NotAccepted> {
    let invalid = |fix: &str| Err(NotAccepted::invalid(format!("{field}: '{origin}': {fix}")));
    let (authority, default_port) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(authority), _) => (authority, ":443"),
        (_, Some(authority)) => (authority, ":80"),
        _ => ("", ""),
    };
    let is_lower = !authority.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_authority(authority)
        || !is_lower
        || authority.starts_with(['.', '-'])
        || origin.len() > limits::ORIGIN_LENGTH
    {
        return invalid(
            "write an origin as browsers send it, in lower case and without a path, such as https://app.acme.com",
        );
    }
    if authority.ends_with(default_port) {
        return invalid("leave out the port; browsers do not send it");
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
