//! Reads a caller's token request (RFC 6749 sections 2.3.1 and 4.4.2) and decides whether it may go to the issuer. Pure.
//! Credentials leave it only as secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use tollgate_contract::BrokerConfig;

use super::answer::Refusal;
use super::form::{Form, decode};
use crate::reason::Reason;

/// Okta's own limit for the parameter.
const LONGEST_SCOPE: usize = 1024;

/// What goes to the issuer.
pub(super) struct TokenRequest {
    pub(super) credentials: Credentials,
    /// Space-delimited, sorted, without repetitions; empty when nothing is asked for.
    pub(super) scope: String,
}

/// The caller's client credentials, in the form in which the caller sent them.
pub(super) enum Credentials {
    /// By `Authorization`.
    Basic {
        client_id: String,
        /// The header's whole value, as received: what is encoded within is between the caller and the issuer.
        authorization: SecretString,
    },
    /// Parameters of the form.
    Body { client_id: String, client_secret: SecretString },
}

impl Credentials {
    /// Whose they claim to be.
    pub(super) fn client_id(&self) -> &str {
        match self {
            Self::Basic { client_id, .. } | Self::Body { client_id, .. } => client_id,
        }
    }
}

impl TokenRequest {
    pub(super) fn parse(parts: &Parts, body: &[u8], config: &BrokerConfig) -> Result<Self, Refusal> {
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(bad_request("Parameters belong in the body, never in the URL."));
        }
        if parts.headers.contains_key("dpop") {
            return Err(bad_request(
                "DPoP proofs are not taken here. Use the authorization server's own token endpoint.",
            ));
        }
        check_media_type(&parts.headers)?;
        let form = Form::parse(body)
            .map_err(|_| bad_request("The form repeats a parameter, has too many of them, or is not UTF-8."))?;
        check_grant(&form, config)?;
        let credentials = credentials(&parts.headers, &form)?;
        let scope = scope(form.get("scope"), config)?;
        Ok(Self { credentials, scope })
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") && values.next().is_none() {
        return Ok(());
    }
    let description = "The body must be application/x-www-form-urlencoded.";
    let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", description);
    Err(refusal.because(Reason::UnsupportedMediaType))
}

/// `client_credentials`, or Swagger UI's password form with nothing in it.
fn check_grant(form: &Form, config: &BrokerConfig) -> Result<(), Refusal> {
    let unsupported = |description| {
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", description);
        Err(refusal.because(Reason::UnsupportedGrantType))
    };
    match form.get("grant_type") {
        None => Err(bad_request("grant_type is missing.")),
        Some("client_credentials") => Ok(()),
        Some("password") if config.swagger_form => {
            let blank = |name| form.get(name).is_none_or(|value| value.trim().is_empty());
            if blank("username") && blank("password") {
                return Ok(());
            }
            unsupported("Leave user name and password blank: only a client id and secret are taken here.")
        }
        Some(_) => unsupported("Only grant_type=client_credentials is offered here."),
    }
}

fn credentials(headers: &HeaderMap, form: &Form) -> Result<Credentials, Refusal> {
    if form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some() {
        return Err(bad_request(
            "client_assertion is not taken here. Use the authorization server's own token endpoint.",
        ));
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (header, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(bad_request("More than one Authorization header was sent."));
    }
    let (id, secret) = (form.get("client_id"), form.get("client_secret"));
    let Some(header) = header else {
        return match (id, secret) {
            (Some(id), Some(secret)) => {
                Ok(Credentials::Body { client_id: id.to_owned(), client_secret: secret.into() })
            }
            _ => Err(invalid_client("Send a client id and secret, by HTTP Basic or in the form.")),
        };
    };
    let no_basic = || invalid_client("The Authorization header holds no client id and secret for HTTP Basic.");
    let header = header.to_str().map_err(|_| no_basic())?;
    let (scheme, coded) = header.split_once(' ').ok_or_else(no_basic)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(no_basic());
    }
    let coded = coded.trim();
    let pair = STANDARD.decode(coded).map_err(|_| no_basic())?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or_else(no_basic)?;
    let (basic_id, basic_secret) = pair.split_at(colon);
    if basic_id.is_empty() || basic_secret == b":" {
        return Err(no_basic());
    }
    let same_client = id.is_none_or(|id| id.as_bytes() == basic_id || decode(basic_id).as_deref() == Ok(id));
    if secret.is_some() || !same_client {
        return Err(bad_request("Client credentials were sent both by HTTP Basic and in the form."));
    }
    let client_id = decode(basic_id).unwrap_or_else(|_| String::from_utf8_lossy(basic_id).into_owned());
    Ok(Credentials::Basic { client_id, authorization: format!("Basic {coded}").into() })
}

fn scope(asked: Option<&str>, config: &BrokerConfig) -> Result<String, Refusal> {
    let invalid = |description| {
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_scope", description);
        Err(refusal.because(Reason::InvalidScope))
    };
    let mut scopes: Vec<&str> = match asked {
        None => config.default_scopes.iter().map(String::as_str).collect(),
        Some(asked) if asked.len() > LONGEST_SCOPE => return invalid("The scope parameter is too long."),
        Some(asked) => asked.split(' ').filter(|scope| !scope.is_empty()).collect(),
    };
    if asked.is_some() && !scopes.iter().all(|scope| config.allowed_scopes.iter().any(|allowed| allowed == scope)) {
        return invalid("A scope that was asked for is not offered here.");
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes.join(" "))
}

fn bad_request(description: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", description).because(Reason::BadRequest)
}

fn invalid_client(description: &'static str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", description).because(Reason::InvalidClient)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use secrecy::ExposeSecret;

    use super::*;

    type Header = (&'static str, &'static str);

    const FORM: Header = ("content-type", "application/x-www-form-urlencoded");
    /// `0oa1:s3cret`
    const BASIC: Header = ("authorization", "Basic MG9hMTpzM2NyZXQ=");

    fn config() -> BrokerConfig {
        BrokerConfig {
            path: "/token".into(),
            issuer: "okta".into(),
            default_scopes: vec!["items".into()],
            allowed_scopes: vec!["items".into(), "items:write".into()],
            swagger_form: true,
        }
    }

    fn parse(uri: &str, headers: &[(&str, &str)], body: &str) -> Result<TokenRequest, (u16, String)> {
        parse_with(&config(), uri, headers, body)
    }

    fn parse_with(
        config: &BrokerConfig,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<TokenRequest, (u16, String)> {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        TokenRequest::parse(&parts, body.as_bytes(), config)
            .map_err(|refusal| (refusal.status().as_u16(), refusal.error().to_owned()))
    }

    #[test]
    fn basic_credentials_are_passed_on_as_received() {
        let request = parse("/token", &[FORM, BASIC], "grant_type=client_credentials").ok().unwrap();
        let Credentials::Basic { authorization: value, .. } = &request.credentials else { panic!("basic") };
        assert_eq!(value.expose_secret(), BASIC.1);
        assert_eq!(request.scope, "items");
        let with_id = parse("/token", &[FORM, BASIC], "grant_type=client_credentials&client_id=0oa1");
        assert!(with_id.is_ok(), "the same client named twice is not ambiguous");
    }

    #[test]
    fn body_credentials_and_scopes_are_taken() {
        let body = "grant_type=client_credentials&client_id=0oa1&client_secret=s%263&scope=items%3Awrite+items++items";
        let charset = ("content-type", "Application/X-WWW-Form-URLEncoded; charset=UTF-8");
        let request = parse("/token", &[charset], body).ok().unwrap();
        let Credentials::Body { client_id, client_secret } = &request.credentials else { panic!("body") };
        assert_eq!((client_id.as_str(), client_secret.expose_secret()), ("0oa1", "s&3"));
        assert_eq!(request.scope, "items items:write");
    }

    #[test]
    fn swaggers_password_form_counts_only_blank_and_only_when_allowed() {
        let blank = "grant_type=password&username=&password=+&scope=items";
        assert!(parse("/token", &[FORM, BASIC], blank).is_ok());
        assert!(parse("/token", &[FORM, BASIC], "grant_type=password").is_ok());
        let refused = Some((400, "unsupported_grant_type".to_owned()));
        for body in ["grant_type=password&username=ann&password=", "grant_type=password&username=&password=hunter2"] {
            assert_eq!(parse("/token", &[FORM, BASIC], body).err(), refused, "{body}");
        }
        let off = BrokerConfig { swagger_form: false, ..config() };
        assert_eq!(parse_with(&off, "/token", &[FORM, BASIC], blank).err(), refused);
    }

    #[test]
    fn requests_that_must_not_reach_the_issuer_are_refused() {
        let good = "grant_type=client_credentials";
        let basic = |value| vec![FORM, ("authorization", value)];
        let json = vec![BASIC, ("content-type", "application/json")];
        let proof = vec![FORM, BASIC, ("DPoP", "e30.e30.AA")];
        let too_long = "items+".repeat(200);
        let requests = [
            ("query", "/token?client_id=0oa1", vec![FORM, BASIC], good, 400, "invalid_request"),
            ("any query", "/token?x=1", vec![FORM, BASIC], good, 400, "invalid_request"),
            ("dpop proof", "/token", proof, good, 400, "invalid_request"),
            ("no media type", "/token", vec![BASIC], good, 415, "invalid_request"),
            ("json", "/token", json, "{}", 415, "invalid_request"),
            ("two media types", "/token", vec![FORM, FORM, BASIC], good, 415, "invalid_request"),
            ("no grant", "/token", vec![FORM, BASIC], "scope=items", 400, "invalid_request"),
            ("empty grant", "/token", vec![FORM, BASIC], "grant_type=", 400, "invalid_request"),
            ("bearer", "/token", basic("Bearer abc"), good, 401, "invalid_client"),
            ("no base64", "/token", basic("Basic ***"), good, 401, "invalid_client"),
            ("no colon", "/token", basic("Basic MG9hMQ=="), good, 401, "invalid_client"),
            ("blank pair", "/token", basic("Basic Og=="), good, 401, "invalid_client"),
            ("no secret", "/token", basic("Basic MG9hMTo="), good, 401, "invalid_client"),
            ("two headers", "/token", vec![FORM, BASIC, BASIC], good, 400, "invalid_request"),
        ];
        for (name, uri, headers, body, status, error) in requests {
            assert_eq!(parse(uri, &headers, body).err(), Some((status, error.to_owned())), "{name}");
        }
        let with_basic = [
            ("authorization_code", "code=1", 400, "unsupported_grant_type"),
            ("refresh_token", "refresh_token=1", 400, "unsupported_grant_type"),
            ("client_credentials", "grant_type=client_credentials", 400, "invalid_request"),
            ("client_credentials", "scope=items&scope=", 400, "invalid_request"),
            ("client_credentials", "scope=%ff", 400, "invalid_request"),
            ("client_credentials", "client_id=0oa1&client_secret=s3cret", 400, "invalid_request"),
            ("client_credentials", "client_secret=s3cret", 400, "invalid_request"),
            ("client_credentials", "client_id=0oa2", 400, "invalid_request"),
            ("client_credentials", "client_assertion_type=x", 400, "invalid_request"),
            ("client_credentials", "scope=items+admin", 400, "invalid_scope"),
            ("client_credentials", "scope=Items", 400, "invalid_scope"),
            ("client_credentials", &format!("scope={too_long}"), 400, "invalid_scope"),
        ];
        for (grant, rest, status, error) in with_basic {
            let body = format!("grant_type={grant}&{rest}");
            let refused = parse("/token", &[FORM, BASIC], &body).err();
            assert_eq!(refused, Some((status, error.to_owned())), "{body}");
        }
        let in_the_form = [
            ("", 401, "invalid_client"),
            ("client_id=0oa1", 401, "invalid_client"),
            ("client_id=0oa1&client_secret=", 401, "invalid_client"),
            ("client_secret=s3cret", 401, "invalid_client"),
            ("client_assertion=e30.e30.AA", 400, "invalid_request"),
            ("client_id=0oa1&client_secret=s3cret&client_assertion=e30.e30.AA", 400, "invalid_request"),
        ];
        for (rest, status, error) in in_the_form {
            let refused = parse("/token", &[FORM], &format!("{good}&{rest}")).err();
            assert_eq!(refused, Some((status, error.to_owned())), "{rest}");
        }
    }
}
