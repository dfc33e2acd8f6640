//! What clients may know of the API before they have a token: its metadata (RFC 9728), made once from the policy. It
//! holds nothing that the policy's own answers do not tell, and nothing that a request says.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;
use serde::Serialize;
use tollgate_contract::{Algorithm, DpopMode, SidecarConfig};

use crate::external::{ExternalUrl, ExternalUrls};

/// A client that asks again after so long is in time for a policy that changed; one that never caches costs little.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The documents of one API: one for each external URL.
#[derive(Debug)]
pub(crate) struct ProtectedResource(Vec<Document>);

#[derive(Debug)]
struct Document {
    url: ExternalUrl,
    path: String,
    body: Bytes,
}

/// RFC 9728 section 2; members without a value are left out (section 3.2).
#[derive(Serialize)]
struct Metadata<'a> {
    resource: &'a str,
    authorization_servers: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    scopes_supported: BTreeSet<&'a str>,
    /// How tokens are sent as `Bearer`; none where every token must be bound to a key.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    bearer_methods_supported: &'a [&'a str],
    resource_name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dpop_signing_alg_values_supported: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dpop_bound_access_tokens_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_client_certificate_bound_access_tokens: bool,
}

impl ProtectedResource {
    /// Of an API that is reached by these URLs; without any there are no metadata.
    pub(crate) fn new(config: &SidecarConfig, urls: &ExternalUrls) -> Self {
        let document = |url: &ExternalUrl| Document {
            url: url.clone(),
            path: url.metadata_path(),
            body: serde_json::to_vec(&metadata(config, url)).map(Bytes::from).unwrap_or_default(),
        };
        Self(urls.iter().map(document).collect())
    }

    /// The answer with the document at this very path.
    pub(crate) fn at(&self, path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        let mut response = Response::new(Full::new(self.find(path, headers)?.body.clone()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(header::CACHE_CONTROL, CACHE_CONTROL);
        Some(response)
    }

    /// Where several URLs have the same path, the one whose host was asked for.
    fn find(&self, path: &str, headers: &HeaderMap) -> Option<&Document> {
        let here = || self.0.iter().filter(|document| document.path == path);
        here().find(|document| document.url.is_asked_for(headers)).or_else(|| here().next())
    }
}

fn metadata<'a>(config: &'a SidecarConfig, url: &'a ExternalUrl) -> Metadata<'a> {
    let requires_dpop = config.issuers.iter().all(|issuer| issuer.dpop == DpopMode::Require);
    let takes_dpop = config.issuers.iter().any(|issuer| issuer.dpop != DpopMode::Refuse);
    let of_routes = config.routes.iter().flat_map(|route| route.scopes.all_of.iter().chain(&route.scopes.any_of));
    let of_broker = config.token_broker.iter().flat_map(|broker| &broker.allowed_scopes);
    Metadata {
        resource: url.as_str(),
        authorization_servers: config.issuers.iter().map(|issuer| issuer.url.as_str()).collect(),
        scopes_supported: of_routes.chain(of_broker).map(String::as_str).collect(),
        bearer_methods_supported: if requires_dpop { &[] } else { &["header"] },
        resource_name: &config.name,
        dpop_signing_alg_values_supported: if takes_dpop {
            Algorithm::ALL.map(Algorithm::as_str).to_vec()
        } else {
            Vec::new()
        },
        dpop_bound_access_tokens_required: requires_dpop,
        tls_client_certificate_bound_access_tokens: config
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_certificates.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::Policy;

    const PATH: &str = "/.well-known/oauth-protected-resource";

    /// What stands at this path for a caller who asked for this host.
    fn metadata(change: impl FnOnce(&mut Value), path: &str, host: &str) -> Option<Value> {
        let mut config = json!({
            "namespace": "shop",
            "name": "items",
            "issuers": [{
                "name": "okta", "url": "https://acme.okta.test/oauth2/default", "audiences": ["api://default"],
                "validation": "Local", "introspection": {"cacheMillis": 0}, "clockSkewSeconds": 60,
            }],
            "defaultAccess": "Authenticated",
            "routes": [],
            "externalUrls": ["https://api.acme.test"],
            "upstream": {"port": 8000},
            "logLevel": "info",
        });
        change(&mut config);
        let policy = Policy::from_file(config.to_string().as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
        let resource = ProtectedResource::new(&policy.config, &policy.external_urls);
        resource.find(path, &headers).map(|document| serde_json::from_slice(&document.body).unwrap())
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        let expected = json!({
            "resource": "https://api.acme.test",
            "authorization_servers": ["https://acme.okta.test/oauth2/default"],
            "bearer_methods_supported": ["header"],
            "resource_name": "items",
        });
        assert_eq!(metadata(|_| {}, PATH, "api.acme.test"), Some(expected));
    }

    #[test]
    fn scopes_of_routes_and_broker_are_listed_once() {
        let change = |config: &mut Value| {
            config["routes"] = json!([
                {"name": "a", "path": {"prefix": "/a"}, "access": "Authenticated", "scopes": {"allOf": ["items", "a"]}},
                {"name": "b", "path": {"prefix": "/b"}, "access": "Authenticated", "scopes": {"anyOf": ["b", "items"]}},
            ]);
            config["tokenBroker"] = json!({
                "path": "/token", "issuer": "okta", "defaultScopes": ["items"], "allowedScopes": ["items", "more"],
                "swaggerForm": false,
            });
        };
        let document = metadata(change, PATH, "api.acme.test").unwrap();
        assert_eq!(document["scopes_supported"], json!(["a", "b", "items", "more"]));
    }

    #[test]
    fn dpop_is_announced_where_it_is_taken_and_required_where_every_issuer_does() {
        for (modes, algorithms, required, bearer) in [
            (["Refuse", "Refuse"], 0, Value::Null, json!(["header"])),
            (["Refuse", "Accept"], 10, Value::Null, json!(["header"])),
            (["Accept", "Require"], 10, Value::Null, json!(["header"])),
            (["Require", "Require"], 10, json!(true), Value::Null),
        ] {
            let change = |config: &mut Value| {
                let mut other = config["issuers"][0].clone();
                other["name"] = json!("other");
                other["url"] = json!("https://other.okta.test/oauth2/default");
                config["issuers"].as_array_mut().unwrap().push(other);
                config["issuers"][0]["dpop"] = json!(modes[0]);
                config["issuers"][1]["dpop"] = json!(modes[1]);
            };
            let document = metadata(change, PATH, "api.acme.test").unwrap();
            let listed = document["dpop_signing_alg_values_supported"].as_array().map_or(0, Vec::len);
            assert_eq!(listed, algorithms, "{modes:?}");
            assert_eq!(document["dpop_bound_access_tokens_required"], required, "{modes:?}");
            assert_eq!(document["bearer_methods_supported"], bearer, "{modes:?}");
            assert_eq!(document["authorization_servers"].as_array().unwrap().len(), 2);
            assert!(!document.to_string().contains("none"));
        }
    }

    #[test]
    fn each_external_url_has_its_own_and_no_other_path_has_one() {
        let change = |config: &mut Value| {
            config["externalUrls"] =
                json!(["https://api.acme.test/shop", "https://api.acme.test", "https://api.acme.example:8443"]);
        };
        let resource =
            |path: &str, host: &str| metadata(change, path, host).map(|document| document["resource"].clone());
        let shop = format!("{PATH}/shop");
        assert_eq!(resource(&shop, "evil.example"), Some(json!("https://api.acme.test/shop")));
        assert_eq!(resource(PATH, "api.acme.test"), Some(json!("https://api.acme.test")));
        assert_eq!(resource(PATH, "API.acme.example:8443"), Some(json!("https://api.acme.example:8443")));
        assert_eq!(resource(PATH, "evil.example"), Some(json!("https://api.acme.test")));
        for other in ["/.well-known", "/.well-known/oauth-protected-resource/", "/.Well-Known/oauth-protected-resource"]
        {
            assert_eq!(resource(other, "api.acme.test"), None, "{other}");
        }
        let none = |config: &mut Value| config["externalUrls"] = json!([]);
        assert_eq!(metadata(none, PATH, "api.acme.test"), None);
    }
}
