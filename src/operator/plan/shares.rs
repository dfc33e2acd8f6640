//! How many sidecars share an Okta rate limit. Okta counts calls by organization and kind of server: all custom
//! authorization servers of a host draw on one bucket, the org authorization server on another. It knows no limit: a sidecar
//! reads that from Okta's answers and takes its part of it.

use std::collections::{HashMap, HashSet};

use tollgate_api::OktaProtectedApi;

/// The sidecars of every bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares(HashMap<Bucket, u32>);

/// What Okta counts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bucket {
    /// In lower case, with its port unless that is https' own.
    host: String,
    /// Whether it is that of the org authorization server, whose URL has no path.
    org: bool,
}

impl Shares {
    /// Counts the sidecars that these resources ask for. One with several issuers of a bucket has its sidecars there once.
    #[must_use]
    pub fn count<'a>(resources: impl IntoIterator<Item = &'a OktaProtectedApi>) -> Self {
        let mut sidecars = HashMap::new();
        for resource in resources.into_iter().filter(|resource| resource.metadata.deletion_timestamp.is_none()) {
            let replicas = u32::try_from(resource.spec.app.replicas).unwrap_or_default();
            let buckets: HashSet<_> = resource.spec.issuers.iter().map(|issuer| Bucket::of(&issuer.url)).collect();
            for bucket in buckets {
                let count: &mut u32 = sidecars.entry(bucket).or_default();
                *count = count.saturating_add(replicas);
            }
        }
        Self(sidecars)
    }

    /// How many sidecars share the bucket of this issuer, rounded up to a power of two: it changes only when the count
    /// crosses one, and a pod that a rollout adds rarely makes it too small.
    #[must_use]
    pub fn sharers(&self, issuer: &str) -> u32 {
        let count = self.0.get(&Bucket::of(issuer)).copied().unwrap_or_default();
        count.checked_next_power_of_two().unwrap_or(u32::MAX)
    }
}

impl Bucket {
    fn of(issuer: &str) -> Self {
        let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
        Self { host, org: path.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::render::tests::resource;

    const CUSTOM: &str = "https://acme.okta.com/oauth2/default";
    const ORG: &str = "https://acme.okta.com";

    fn with(replicas: i32, issuers: &[&str]) -> OktaProtectedApi {
        let mut resource = resource();
        resource.spec.app.replicas = replicas;
        let issuer = |url: &&str| json!({"name": "okta", "url": url, "audiences": ["api://default"]});
        let issuers = issuers.iter().map(issuer).collect();
        resource.spec.issuers = serde_json::from_value(serde_json::Value::Array(issuers)).expect("issuers");
        resource
    }

    #[test]
    fn custom_servers_of_a_host_share_a_bucket_and_the_org_server_has_its_own() {
        let shares = Shares::count(&[
            with(3, &[CUSTOM]),
            with(5, &["https://ACME.okta.com:443/oauth2/aus1"]),
            with(2, &[ORG]),
            with(64, &["https://other.okta.com/oauth2/default"]),
        ]);
        assert_eq!(shares.sharers(CUSTOM), 8);
        assert_eq!(shares.sharers(ORG), 2);
    }

    #[test]
    fn a_sidecar_counts_once_for_all_its_issuers_of_a_bucket() {
        let shares = Shares::count(&[with(4, &[CUSTOM, "https://acme.okta.com/oauth2/aus1", ORG])]);
        assert_eq!((shares.sharers(CUSTOM), shares.sharers(ORG)), (4, 4));
    }

    #[test]
    fn the_number_changes_only_when_the_count_crosses_a_power_of_two() {
        let sharers = |replicas| Shares::count(&[with(replicas, &[CUSTOM])]).sharers(CUSTOM);
        let numbers: Vec<_> = [0, 1, 2, 3, 4, 5, 8, 9, 1000].map(sharers).to_vec();
        assert_eq!(numbers, [1, 1, 2, 4, 4, 8, 8, 16, 1024]);
    }

    #[test]
    fn a_resource_that_is_being_deleted_no_longer_counts() {
        let mut leaving = with(5, &[CUSTOM]);
        let now = k8s_openapi::jiff::Timestamp::from_second(1).expect("a small number of seconds");
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        assert_eq!(Shares::count(&[with(1, &[CUSTOM]), leaving]).sharers(CUSTOM), 1);
    }
}
