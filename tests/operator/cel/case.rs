//! The form of the examples: a sound resource, changes to it, and what the API server says of them.

use serde_json::{Value, json};

/// A resource that breaks one rule.
#[derive(Clone)]
pub(super) struct Case {
    /// What is wrong with it, in words.
    pub(super) broken: String,
    /// Changes to [`example`].
    pub(super) bad: Vec<Change>,
    /// The field that the API server names.
    pub(super) field: String,
    /// What it says.
    pub(super) message: &'static str,
    /// Further changes, after which all is well.
    pub(super) mended: Vec<Change>,
}

/// A JSON pointer and the value to stand there; null removes it.
pub(super) type Change = (String, Value);

pub(super) fn set(pointer: &str, value: Value) -> Change {
    (pointer.to_owned(), value)
}

pub(super) fn case(broken: &str, bad: &[Change], field: &str, message: &'static str, mended: &[Change]) -> Case {
    Case { broken: broken.to_owned(), bad: bad.to_vec(), field: field.to_owned(), message, mended: mended.to_vec() }
}

pub(super) fn changed(resource: &Value, changes: &[Change]) -> Value {
    let mut changed = resource.clone();
    for (pointer, value) in changes {
        let (parent, member) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        let parent = changed.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}: its parent is in the example"));
        match parent {
            Value::Object(members) if value.is_null() => drop(members.remove(member)),
            Value::Object(members) => drop(members.insert(member.to_owned(), value.clone())),
            Value::Array(items) => {
                let index: usize = member.parse().expect("an index is a number");
                items.resize(items.len().max(index + 1), Value::Null);
                items[index] = value.clone();
            }
            other => panic!("{pointer}: {other} has no members"),
        }
    }
    changed
}

/// A sound resource with something in every part that has rules.
pub(super) fn example() -> Value {
    json!({
        "apiVersion": "tollgate.dev/v1alpha1",
        "kind": "OktaProtectedApi",
        "metadata": {"name": "items"},
        "spec": {
            "issuers": [{
                "name": "okta",
                "url": "https://acme.okta.com/oauth2/default",
                "audiences": ["api://default"],
                "validation": "LocalAndIntrospection",
                "client": {"secretRef": {"name": "okta-items"}},
                "introspection": {"cache": "60s", "onOutage": {"policy": "Reject"}},
                "caBundle": {"configMapRef": {"name": "corp-ca", "key": "ca.crt"}},
                "algorithms": ["RS256", "ES256"],
                "dpop": "Accept",
                "dpopNonce": "PerPod",
                "endpoints": {"jwks": "https://acme.okta.com/oauth2/default/v1/keys"},
            }],
            "externalUrls": ["https://api.acme.com/shop"],
            "trustedProxies": ["10.0.0.0/8", "2001:db8::/32"],
            "routes": [
                {
                    "name": "items-read",
                    "match": {"path": {"prefix": "/items"}, "methods": ["GET"]},
                    "scopes": {"allOf": ["items"]},
                    "issuers": ["okta"],
                    "when": "claims.sub != ''",
                },
                {
                    "name": "items-write",
                    "match": {"path": {"prefix": "/items"}, "methods": ["POST"]},
                    "scopes": {"anyOf": ["items:write"]},
                },
                {"name": "openapi", "match": {"path": {"exact": "/openapi.json"}}, "access": "Public"},
            ],
            "tokenBroker": {
                "path": "/token",
                "issuer": "okta",
                "defaultScopes": ["items"],
                "allowedScopes": ["items", "items:write"],
            },
            "upstream": {"port": 8000},
            "app": {
                "image": "ghcr.io/acme/items:1.4",
                "imagePullSecrets": [{"name": "registry"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8000}},
                "livenessProbe": {"tcpSocket": {"port": 8000}},
                "startupProbe": {"grpc": {"port": 8000}},
            },
            "sidecar": {"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1e8"}}},
        }
    })
}
