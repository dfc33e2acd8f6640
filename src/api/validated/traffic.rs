//! What is sound of the settings that hold for requests whatever their token: TLS before callers, streams, browsers,
//! bounds.

use std::time::Duration;

use tollgate_contract::{AtExpiry, CorsConfig, PathsConfig, StreamsConfig};

use crate::types::{self, CorsMode, limits};

use super::issuer::{CaBundle, parse_ca_bundle};
use super::text::{check_unique, is_header_name, is_subdomain, millis, parse_duration};
use super::url::check_origin;
use super::{NotAccepted, check_at_most};

/// TLS on the port that callers use, sound.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// Name of the Secret, in the resource's namespace.
    pub secret: String,
    /// Certificates of callers; absent = not asked for.
    pub client_certificates: Option<ClientCertificates>,
}

/// Certificates of callers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificates {
    /// What they must come from.
    pub ca_bundle: CaBundle,
    /// Whether there is no connection without one.
    pub required: bool,
}

/// A browser may ask this long without asking again, unless the resource says otherwise; the same as Chrome's own limit
/// allows a dozen times over, and short enough for a change to be seen.
const CORS_MAX_AGE: Duration = Duration::from_secs(10 * 60);

pub(super) fn parse_tls(tls: &types::Tls) -> Result<Tls, NotAccepted> {
    let types::Tls { secret_ref: types::SecretRef { name }, client_certificates } = tls;
    if !is_subdomain(name) {
        return Err(NotAccepted::invalid(format!("tls.secretRef.name: '{name}' is not the name of a Secret")));
    }
    let client_certificates = client_certificates.as_ref().map(parse_client_certificates).transpose()?;
    Ok(Tls { secret: name.clone(), client_certificates })
}

fn parse_client_certificates(certificates: &types::ClientCertificates) -> Result<ClientCertificates, NotAccepted> {
    let types::ClientCertificates { ca_bundle, mode } = certificates;
    Ok(ClientCertificates {
        ca_bundle: parse_ca_bundle("tls.clientCertificates.caBundle", ca_bundle)?,
        required: *mode == types::ClientCertificateMode::Required,
    })
}

pub(super) fn parse_paths(paths: &types::Paths) -> PathsConfig {
    let types::Paths { encoded_slash, double_slash, case_sensitive } = paths;
    PathsConfig {
        encoded_slash: (*encoded_slash).into(),
        double_slash: (*double_slash).into(),
        case_sensitive: *case_sensitive,
    }
}

pub(super) fn parse_streams(streams: &types::Streams) -> Result<StreamsConfig, NotAccepted> {
    let types::Streams { at_expiry, max_duration, web_socket_token } = streams;
    let at_expiry = match (at_expiry, max_duration) {
        (types::AtExpiry::Close, None) => AtExpiry::Close,
        (types::AtExpiry::Keep, Some(longest)) => {
            let longest = parse_duration("streams.maxDuration", longest, limits::SHORTEST_STREAM..=limits::STREAM)?;
            AtExpiry::Keep { max_duration_millis: millis(longest) }
        }
        _ => {
            return Err(NotAccepted::invalid(
                "streams.maxDuration: it goes with atExpiry: Keep and only with it; say how long a stream may go on, such \
                 as 8h, or leave out both",
            ));
        }
    };
    Ok(StreamsConfig { at_expiry, web_socket_token: (*web_socket_token).into() })
}

pub(super) fn parse_cors(cors: &types::Cors) -> Result<CorsConfig, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::Cors { mode, origins, methods, headers, expose, credentials, max_age } = cors;
    let nothing_else = origins.is_empty()
        && methods.is_empty()
        && headers.is_empty()
        && expose.is_empty()
        && !credentials
        && max_age.is_none();
    match mode {
        CorsMode::Handle => {}
        _ if !nothing_else => {
            return Err(NotAccepted::invalid(
                "cors.mode: the other settings are for mode: Handle; set it, or leave them out",
            ));
        }
        CorsMode::Refuse => return Ok(CorsConfig::Off),
        CorsMode::PassPreflight => return Ok(CorsConfig::PassPreflight),
    }
    check_origins(origins, *credentials)?;
    let max_age = match max_age {
        Some(text) => parse_duration("cors.maxAge", text, Duration::ZERO..=limits::CORS_MAX_AGE)?,
        None => CORS_MAX_AGE,
    };
    let mut methods = methods.clone();
    methods.sort_unstable();
    methods.dedup();
    Ok(CorsConfig::Handle {
        origins: origins.clone(),
        methods: methods.iter().map(|method| method.as_str().to_owned()).collect(),
        headers: parse_header_names("cors.headers", headers)?,
        expose: parse_header_names("cors.expose", expose)?,
        credentials: *credentials,
        max_age_seconds: max_age.as_secs(),
    })
}

fn check_origins(origins: &[String], credentials: bool) -> Result<(), NotAccepted> {
    if origins.is_empty() {
        return Err(NotAccepted::invalid(
            "cors.origins: mode: Handle needs them; name those whose scripts may call, such as https://app.acme.com",
        ));
    }
    check_at_most("cors.origins", origins, limits::ORIGINS)?;
    check_unique("cors.origins", origins)?;
    if origins.iter().any(|origin| origin == "*") {
        return match (origins.len(), credentials) {
            (1, false) => Ok(()),
            (1, true) => Err(NotAccepted::invalid(
                "cors.credentials: with the origin * browsers send no credentials; name the origins, or leave credentials \
                 out",
            )),
            _ => Err(NotAccepted::invalid("cors.origins: * is every origin; let it stand alone, or leave it out")),
        };
    }
    origins.iter().try_for_each(|origin| check_origin("cors.origins", origin))
}

/// In lower case, each once.
fn parse_header_names(field: &str, names: &[String]) -> Result<Vec<String>, NotAccepted> {
    check_at_most(field, names, limits::CORS_HEADERS)?;
    if let Some(bad) = names.iter().find(|name| !is_header_name(name)) {
        return Err(NotAccepted::invalid(format!(
            "{field}: '{bad}': write a header's name with letters, digits and -, such as X-Page"
        )));
    }
    let mut lower: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    lower.sort_unstable();
    lower.dedup();
    Ok(lower)
}

pub(super) fn parse_max_body(limits: &types::Limits) -> Result<Option<u64>, NotAccepted> {
    let types::Limits { max_body_size } = limits;
    let Some(size) = max_body_size else { return Ok(None) };
    match bytes(&size.0) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(NotAccepted::invalid(format!(
            "limits.maxBodySize: '{}': write a size such as 10Mi, or a number of bytes",
            size.0
        ))),
    }
}

/// A whole number of bytes, at least one: digits without zeros before them, 7 at most with a unit and 18 without.
fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let longest = if unit.is_empty() { 18 } else { 7 };
    let sound = (1..=longest).contains(&digits.len()) && !digits.starts_with('0');
    sound.then(|| digits.parse::<u64>().ok()?.checked_mul(factor)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_of_bytes() {
        for (text, size) in
            [("1", 1), ("10Mi", 10 << 20), ("10M", 10_000_000), ("4k", 4000), ("104857600", 104_857_600)]
        {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        assert!(bytes("9999999Ti").is_some() && bytes("999999999999999999").is_some());
        for bad in ["", "0", "0Mi", "10m", "1.5Mi", "-1", "1e6", "10MB", "10 Mi", "01", "10000000Ti", "Mi"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
