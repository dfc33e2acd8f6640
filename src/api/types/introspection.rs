//! Introspection as users write it: how long Okta's answers hold, and what becomes of tokens that Okta cannot be asked
//! about.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{limits, rules};

/// Settings for introspection.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Introspection {
    /// How long Okta's answer is fresh, such as 60s; never past the token's expiry. A revoked token may pass this long;
    /// 0s asks Okta each time. At most 1h.
    #[serde(default = "default_introspection_cache")]
    #[schemars(
        length(max = limits::DURATION_LENGTH),
        transform = rules::duration(Duration::ZERO, limits::INTROSPECTION_CACHE)
    )]
    pub cache: String,
    /// How much longer an answer may serve while Okta limits the calls, such as 60s; never past the token's expiry. With
    /// 0s such a token gets 503 then. At most 1h.
    #[serde(default = "default_max_stale")]
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration(Duration::ZERO, limits::MAX_STALE))]
    pub max_stale: String,
    /// What becomes of tokens while Okta cannot be asked: no connection, no answer in time, or an error of Okta's own.
    /// That Okta limits the calls is no outage.
    #[serde(default)]
    pub on_outage: OnOutage,
}

/// What holds while Okta cannot be asked.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.policy == 'AcceptLocallyValid') == has(self.maxDuration)")
    .message(
        "maxDuration goes with policy: AcceptLocallyValid and only with it: say how long tokens may pass unasked, such \
         as 10m, or leave out both",
    )
    .field_path(".maxDuration"))]
pub struct OnOutage {
    /// `Reject`: such tokens get 503. `AcceptLocallyValid`: a token with a good signature and good claims passes, unless
    /// it is known to be revoked.
    #[serde(default)]
    pub policy: OutagePolicy,
    /// How long after Okta's last good answer `AcceptLocallyValid` holds, such as 10m. A token that is revoked meanwhile
    /// passes this long. From 1s to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::DURATION_LENGTH), transform = rules::duration(limits::SHORTEST_OUTAGE, limits::OUTAGE))]
    pub max_duration: Option<String>,
}

/// What becomes of tokens that Okta cannot be asked about.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutagePolicy {
    #[default]
    Reject,
    AcceptLocallyValid,
}

impl Default for Introspection {
    fn default() -> Self {
        Self { cache: default_introspection_cache(), max_stale: default_max_stale(), on_outage: OnOutage::default() }
    }
}

fn default_introspection_cache() -> String {
    "60s".to_owned()
}

fn default_max_stale() -> String {
    "60s".to_owned()
}
