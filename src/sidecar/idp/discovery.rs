//! Finds an issuer's endpoints (RFC 8414, OpenID Connect Discovery), where the policy does not give them. Pure: says which
//! addresses to ask and whether an answer may be used; `refresh` asks.

use reqwest::Url;
use serde::Deserialize;
use tollgate_contract::EndpointsConfig;

/// An issuer's endpoints. What the policy needs is there, the rest may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) jwks_uri: Option<Url>,
    pub(crate) token_endpoint: Option<Url>,
    pub(crate) introspection_endpoint: Option<Url>,
}

/// What the policy needs of an issuer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) keys: bool,
    pub(crate) tokens: bool,
    pub(crate) introspection: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Option<String>,
    token_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
}

/// Where the metadata may be, in the order to ask: RFC 8414's form (Okta serves it since 2026), the older form that
/// appends, and OpenID Connect's.
pub(crate) fn addresses(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    let mut all = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/oauth-authorization-server")),
        at(format!("{path}/.well-known/openid-configuration")),
    ];
    all.dedup();
    all
}

impl Metadata {
    /// What the policy gives; `Err` says in our words what is wrong with it.
    pub(crate) fn given(endpoints: &EndpointsConfig, allow_http: bool) -> Result<Self, &'static str> {
        let EndpointsConfig { jwks, token, introspection } = endpoints;
        let endpoint = |text: &Option<String>| text.as_deref().map(|text| usable(text, allow_http)).transpose();
        Ok(Self {
            jwks_uri: endpoint(jwks)?,
            token_endpoint: endpoint(token)?,
            introspection_endpoint: endpoint(introspection)?,
        })
    }

    /// Whether nothing that the policy needs is missing.
    pub(crate) fn answers(&self, needs: Needs) -> bool {
        (self.jwks_uri.is_some() || !needs.keys)
            && (self.token_endpoint.is_some() || !needs.tokens)
            && (self.introspection_endpoint.is_some() || !needs.introspection)
    }

    /// Reads a metadata document and puts `self`, which the policy gives, above what it says; `Err` says in our words what
    /// is wrong with it.
    pub(crate) fn completed_by(
        &self,
        body: &[u8],
        issuer: &str,
        needs: Needs,
        allow_http: bool,
    ) -> Result<Self, &'static str> {
        let document: Document =
            serde_json::from_slice(body).map_err(|_| "the metadata is not the JSON of RFC 8414")?;
        // RFC 8414 section 3.3: identical, or the document must not be used.
        if document.issuer != issuer {
            return Err("the metadata names another issuer");
        }
        let endpoint = |given: &Option<Url>, found: Option<String>| match (given, found) {
            (Some(given), _) => Ok(Some(given.clone())),
            (None, found) => found.map(|text| usable(&text, allow_http)).transpose(),
        };
        let all = Self {
            jwks_uri: endpoint(&self.jwks_uri, document.jwks_uri)?,
            token_endpoint: endpoint(&self.token_endpoint, document.token_endpoint)?,
            introspection_endpoint: endpoint(&self.introspection_endpoint, document.introspection_endpoint)?,
        };
        if all.answers(needs) { Ok(all) } else { Err("the metadata lacks an endpoint that the policy needs") }
    }
}

fn usable(text: &str, allow_http: bool) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "an endpoint is no URL")?;
    if !speaks_allowed_scheme(&url, allow_http) {
        return Err("an endpoint is without https");
    }
    if url.has_host() && url.username().is_empty() && url.password().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err("an endpoint has user information or a fragment")
    }
}

/// https always; http only where the operator was told to allow it.
pub(crate) fn speaks_allowed_scheme(url: &Url, allow_http: bool) -> bool {
    url.scheme() == "https" || (allow_http && url.scheme() == "http")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://acme.example/oauth2/default";
    const ALL: Needs = Needs { keys: true, tokens: true, introspection: true };

    fn document() -> serde_json::Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": "https://keys.example/v1/keys",
            "token_endpoint": "https://acme.example/oauth2/default/v1/token",
            "introspection_endpoint": "https://acme.example/oauth2/default/v1/introspect",
            "unknown_member": [1, 2],
        })
    }

    fn judge(document: &serde_json::Value) -> Result<Metadata, &'static str> {
        Metadata::default().completed_by(document.to_string().as_bytes(), ISSUER, ALL, false)
    }

    #[test]
    fn the_inserted_form_is_asked_before_the_appended_ones() {
        let asked: Vec<_> = addresses(&Url::parse(ISSUER).unwrap()).into_iter().map(String::from).collect();
        assert_eq!(
            asked,
            [
                "https://acme.example/.well-known/oauth-authorization-server/oauth2/default",
                "https://acme.example/oauth2/default/.well-known/oauth-authorization-server",
                "https://acme.example/oauth2/default/.well-known/openid-configuration",
            ]
        );
        let org: Vec<_> =
            addresses(&Url::parse("https://acme.okta.com").unwrap()).into_iter().map(String::from).collect();
        assert_eq!(
            org,
            [
                "https://acme.okta.com/.well-known/oauth-authorization-server",
                "https://acme.okta.com/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn keys_may_live_on_another_host_and_unknown_members_are_ignored() {
        let metadata = judge(&document()).unwrap();
        assert_eq!(metadata.jwks_uri.unwrap().as_str(), "https://keys.example/v1/keys");
    }

    #[test]
    fn a_document_that_is_not_exactly_this_issuers_is_refused() {
        for issuer in
            ["https://acme.example/oauth2/default/", "https://ACME.example/oauth2/default", "https://evil.example", ""]
        {
            let mut altered = document();
            altered["issuer"] = json!(issuer);
            assert_eq!(judge(&altered), Err("the metadata names another issuer"), "{issuer}");
        }
    }

    #[test]
    fn endpoints_need_https_and_nothing_odd() {
        for (endpoint, wanted) in [
            ("http://acme.example/keys", "an endpoint is without https"),
            ("file:///etc/passwd", "an endpoint is without https"),
            ("/relative", "an endpoint is no URL"),
            ("https://user:secret@acme.example/keys", "an endpoint has user information or a fragment"),
            ("https://acme.example/keys#x", "an endpoint has user information or a fragment"),
        ] {
            let mut altered = document();
            altered["jwks_uri"] = json!(endpoint);
            assert_eq!(judge(&altered), Err(wanted), "{endpoint}");
        }
        let mut plain = document();
        plain["jwks_uri"] = json!("http://acme.example/keys");
        assert!(
            Metadata::default().completed_by(plain.to_string().as_bytes(), ISSUER, ALL, true).is_ok(),
            "allowed by the operator"
        );
    }

    #[test]
    fn a_missing_endpoint_is_a_fault_only_where_it_is_needed() {
        let mut partial = document();
        partial.as_object_mut().unwrap().remove("introspection_endpoint");
        assert!(judge(&partial).is_err());
        let needs = Needs { introspection: false, ..ALL };
        assert!(Metadata::default().completed_by(partial.to_string().as_bytes(), ISSUER, needs, false).is_ok());
        assert!(judge(&json!([])).is_err());
        assert!(Metadata::default().completed_by(b"<html>", ISSUER, ALL, false).is_err());
    }

    #[test]
    fn what_the_policy_gives_stands_above_the_document_and_completes_it() {
        let jwks = Some("https://keys.example/given".to_owned());
        let given = Metadata::given(&EndpointsConfig { jwks, ..EndpointsConfig::default() }, false).unwrap();
        assert!(!given.answers(ALL));
        assert!(given.answers(Needs { tokens: false, introspection: false, ..ALL }));
        for found in [json!("https://keys.example/v1/keys"), json!("http://evil.example/keys"), json!(null)] {
            let mut altered = document();
            altered["jwks_uri"] = found;
            let all = given.completed_by(altered.to_string().as_bytes(), ISSUER, ALL, false).unwrap();
            assert_eq!(all.jwks_uri.unwrap().as_str(), "https://keys.example/given");
            assert_eq!(all.token_endpoint.unwrap().path(), "/oauth2/default/v1/token");
        }
    }

    #[test]
    fn a_given_endpoint_needs_https_too() {
        for bad in ["http://acme.example/token", "/token", "https://user@acme.example/token", ""] {
            let token = Some(bad.to_owned());
            assert!(Metadata::given(&EndpointsConfig { token, ..EndpointsConfig::default() }, false).is_err(), "{bad}");
        }
        let introspection = Some("http://acme.example/introspect".to_owned());
        let plain = EndpointsConfig { introspection, ..EndpointsConfig::default() };
        assert!(Metadata::given(&plain, true).is_ok(), "allowed by the operator");
    }
}
