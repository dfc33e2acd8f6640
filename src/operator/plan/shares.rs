//! How many sidecars share an Okta rate limit. Okta counts introspection and token requests by organization and kind of
//! server: all custom authorization servers of a host draw on one bucket, the org authorization server on another; keys and
//! metadata are free. It knows no limit: a sidecar reads that from Okta's answers and takes its part of it.

use std::collections::{HashMap, HashSet};

use tollgate_api::OktaProtectedApi;
use tollgate_api::types::ValidationMode;
use tollgate_api::validated::{Issuer, ValidatedApi};

/// The sidecars of every bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares(HashMap<Bucket, u32>);

/// What Okta counts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bucket {
    /// In lower case, with its port unless that is https' own.
    host: String,
    /// Whether it is that of the org authorization server.
    org: bool,
}

/// What decides which buckets a sidecar draws on for one of its issuers.
struct Calls<'a> {
    issuer: &'a str,
    introspects: bool,
    /// Where, if the resource says so; else what the issuer's metadata say, which is on its own host.
    introspection: Option<&'a str>,
    /// Whether the token broker hands out this issuer's tokens.
    brokers: bool,
    token: Option<&'a str>,
}

impl Shares {
    /// Counts the sidecars that these resources ask for. One with several issuers of a bucket has its sidecars there once,
    /// and an issuer that it never calls counts for nothing.
    #[must_use]
    pub fn count<'a>(resources: impl IntoIterator<Item = &'a OktaProtectedApi>) -> Self {
        let mut sidecars = HashMap::new();
        for resource in resources.into_iter().filter(|resource| resource.metadata.deletion_timestamp.is_none()) {
            let replicas = u32::try_from(resource.spec.app.replicas).unwrap_or_default();
            let buckets: HashSet<_> = Calls::of_resource(resource).flat_map(|calls| calls.buckets()).collect();
            for bucket in buckets {
                let count: &mut u32 = sidecars.entry(bucket).or_default();
                *count = count.saturating_add(replicas);
            }
        }
        Self(sidecars)
    }

    /// How many sidecars share the limit that this API's calls about its issuer draw on, and the larger number where they
    /// draw on two; `None` where it makes none. Rounded up to a power of two: it changes only when the count crosses one,
    /// and a pod that a rollout adds rarely makes it too small.
    #[must_use]
    pub fn sharers(&self, api: &ValidatedApi, issuer: &Issuer) -> Option<u32> {
        let count = |bucket| self.0.get(&bucket).copied().unwrap_or_default();
        let most = Calls::of_issuer(api, issuer).buckets().map(count).max()?;
        Some(most.checked_next_power_of_two().unwrap_or(u32::MAX))
    }
}

impl<'a> Calls<'a> {
    fn of_resource(resource: &'a OktaProtectedApi) -> impl Iterator<Item = Self> {
        let broker = resource.spec.token_broker.as_ref();
        resource.spec.issuers.iter().map(move |issuer| {
            let endpoints = issuer.endpoints.as_ref();
            Self {
                issuer: &issuer.url,
                introspects: issuer.validation != ValidationMode::Local,
                introspection: endpoints.and_then(|endpoints| endpoints.introspection.as_deref()),
                brokers: broker.is_some_and(|broker| broker.issuer == issuer.name),
                token: endpoints.and_then(|endpoints| endpoints.token.as_deref()),
            }
        })
    }

    fn of_issuer(api: &ValidatedApi, issuer: &'a Issuer) -> Self {
        Self {
            issuer: &issuer.url,
            introspects: issuer.validation.introspects(),
            introspection: issuer.endpoints.introspection.as_deref(),
            brokers: api.broker.as_ref().is_some_and(|broker| broker.issuer == issuer.name),
            token: issuer.endpoints.token.as_deref(),
        }
    }

    fn buckets(&self) -> impl Iterator<Item = Bucket> + use<> {
        let introspection = self.introspects.then(|| Bucket::of(self.introspection.unwrap_or(self.issuer)));
        let token = self.brokers.then(|| Bucket::of(self.token.unwrap_or(self.issuer)));
        introspection.into_iter().chain(token)
    }
}

impl Bucket {
    /// Of an issuer or one of its endpoints. That of an org authorization server has no path, or Okta's without an id.
    fn of(url: &str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
        Self { host, org: path.is_empty() || path.starts_with("oauth2/v1/") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_api::ParseOptions;

    use super::*;
    use crate::plan::render::tests::resource;

    const CUSTOM: &str = "https://acme.okta.com/oauth2/default";
    const ORG: &str = "https://acme.okta.com";

    /// An API with these issuers, which introspect unless the change to the resource says otherwise.
    fn with(replicas: i32, issuers: &[&str], change: &Value) -> OktaProtectedApi {
        let mut spec = json!(resource().spec);
        let client = json!({"secretRef": {"name": "okta-items"}});
        spec["issuers"] = issuers
            .iter()
            .enumerate()
            .map(|(number, url)| {
                let validation = if *url == ORG { "Introspection" } else { "LocalAndIntrospection" };
                let mut issuer = json!({"name": format!("okta-{number}"), "url": url, "audiences": ["api://default"],
                    "validation": validation, "client": client});
                merge(&mut issuer, &change["issuer"]);
                issuer
            })
            .collect();
        spec["app"]["replicas"] = json!(replicas);
        spec["tokenBroker"] = change["broker"].clone();
        let mut api = resource();
        api.spec = serde_json::from_value(spec).expect("a spec");
        api
    }

    fn merge(whole: &mut Value, change: &Value) {
        for (name, value) in change.as_object().into_iter().flatten() {
            whole[name] = value.clone();
        }
    }

    fn introspecting(replicas: i32, issuers: &[&str]) -> OktaProtectedApi {
        with(replicas, issuers, &json!({}))
    }

    /// What the sidecars of this API are told about its first issuer.
    fn told(shares: &Shares, resource: &OktaProtectedApi) -> Option<u32> {
        let api = ValidatedApi::parse(resource, ParseOptions::default()).expect("a sound resource");
        shares.sharers(&api, &api.issuers[0])
    }

    #[test]
    fn custom_servers_of_a_host_share_a_bucket_and_the_org_server_has_its_own() {
        let apis = [
            introspecting(3, &[CUSTOM]),
            introspecting(5, &["https://ACME.okta.com:443/oauth2/aus1"]),
            introspecting(2, &[ORG]),
            introspecting(64, &["https://other.okta.com/oauth2/default"]),
        ];
        let shares = Shares::count(&apis);
        assert_eq!(apis.each_ref().map(|api| told(&shares, api)), [Some(8), Some(8), Some(2), Some(64)]);
    }

    #[test]
    fn a_sidecar_counts_once_for_all_its_issuers_of_a_bucket() {
        let shares = Shares::count(&[introspecting(4, &[CUSTOM, "https://acme.okta.com/oauth2/aus1", ORG])]);
        let told = |issuer| told(&shares, &introspecting(1, &[issuer]));
        assert_eq!((told(CUSTOM), told(ORG)), (Some(4), Some(4)));
    }

    #[test]
    fn an_issuer_that_is_never_called_counts_for_nothing() {
        let local = with(64, &[CUSTOM], &json!({"issuer": {"validation": "Local"}}));
        let shares = Shares::count(&[local.clone(), introspecting(2, &[CUSTOM])]);
        assert_eq!(told(&shares, &local), None);
        assert_eq!(told(&shares, &introspecting(2, &[CUSTOM])), Some(2));
    }

    #[test]
    fn the_brokers_issuer_counts_and_no_other_does_for_it() {
        let other = "https://other.okta.com/oauth2/default";
        let broker = json!({"issuer": "okta-0", "allowedScopes": ["items"]});
        let change = json!({"issuer": {"validation": "Local"}, "broker": broker});
        let brokers = with(4, &[CUSTOM, other], &change);
        let shares = Shares::count(&[brokers.clone(), introspecting(1, &[other])]);
        assert_eq!(told(&shares, &brokers), Some(4));
        assert_eq!(told(&shares, &introspecting(1, &[other])), Some(1));
    }

    #[test]
    fn a_given_endpoint_counts_where_it_is() {
        let org = "https://acme.okta.com/oauth2/v1/introspect";
        let given = |introspection: &str| {
            with(
                4,
                &["https://login.acme.example/oauth2/aus1"],
                &json!({"issuer": {"endpoints": {"introspection": introspection}}}),
            )
        };
        let custom = given("https://acme.okta.com/oauth2/aus1/v1/introspect");
        let shares = Shares::count(&[custom.clone(), introspecting(4, &[CUSTOM])]);
        assert_eq!(told(&shares, &custom), Some(8));
        assert_eq!(told(&shares, &introspecting(1, &["https://login.acme.example/oauth2/aus2"])), Some(1));
        assert_eq!(told(&Shares::count(&[given(org), introspecting(2, &[ORG])]), &given(org)), Some(8));
    }

    #[test]
    fn calls_that_draw_on_two_buckets_are_told_the_larger_number() {
        let endpoints = json!({"token": "https://acme.okta.com/oauth2/aus1/v1/token"});
        let broker = json!({"issuer": "okta-0", "allowedScopes": ["items"]});
        let change = json!({"issuer": {"endpoints": endpoints}, "broker": broker});
        let both = with(1, &["https://login.acme.example/oauth2/aus1"], &change);
        let shares = Shares::count(&[both.clone(), introspecting(15, &[CUSTOM])]);
        assert_eq!(told(&shares, &both), Some(16));
    }

    #[test]
    fn the_number_changes_only_when_the_count_crosses_a_power_of_two() {
        let api = introspecting(1, &[CUSTOM]);
        let sharers = |replicas| told(&Shares::count(&[introspecting(replicas, &[CUSTOM])]), &api);
        let numbers = [0, 1, 2, 3, 4, 5, 8, 9, 1000].map(sharers);
        assert_eq!(numbers, [1, 1, 2, 4, 4, 8, 8, 16, 1024].map(Some));
    }

    #[test]
    fn a_resource_that_is_being_deleted_no_longer_counts() {
        let mut leaving = introspecting(5, &[CUSTOM]);
        let now = k8s_openapi::jiff::Timestamp::from_second(1).expect("a small number of seconds");
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        let staying = introspecting(1, &[CUSTOM]);
        assert_eq!(told(&Shares::count(&[staying.clone(), leaving]), &staying), Some(1));
    }
}
