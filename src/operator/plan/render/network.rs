//! How traffic comes in: a Service that leads to the sidecar's port by its name, so that a pod without the sidecar gets
//! nothing, and a NetworkPolicy that leaves no other way.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tollgate_api::ValidatedApi;
use tollgate_contract::UpstreamProtocol;
use tollgate_contract::names::{ADMIN_PORT, PROXY_PORT, SIDECAR_CONTAINER};

use super::{RenderSettings, metadata};
use crate::plan::names::{APP_NAME_LABEL, TOLLGATE, selector};

/// Set by Kubernetes on every namespace.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The Service.
pub(super) fn service(api: &ValidatedApi) -> Service {
    Service {
        metadata: metadata(api, api.name.clone()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector(&api.name)),
            ports: Some(vec![ServicePort {
                name: Some(scheme(api).to_owned()),
                app_protocol: Some(app_protocol(api).to_owned()),
                port: i32::from(api.service_port),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(SIDECAR_CONTAINER.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// What a URL of the Service starts with.
pub(in crate::plan) fn scheme(api: &ValidatedApi) -> &'static str {
    if api.tls.is_some() { "https" } else { "http" }
}

/// What gateways are to speak to the sidecar. It takes HTTP/1.1 and HTTP/2 alike; an app that speaks HTTP/2 needs it all the
/// way (gRPC has trailers), which only TLS finds out by itself.
fn app_protocol(api: &ValidatedApi) -> &'static str {
    match (&api.tls, api.upstream.protocol) {
        (Some(_), _) => "https",
        (None, UpstreamProtocol::Http1) => "http",
        (None, UpstreamProtocol::H2c) => "kubernetes.io/h2c",
    }
}

/// The NetworkPolicy: anyone may reach the proxy port, the operator's pods the admin port.
pub(super) fn network_policy(api: &ValidatedApi, settings: &RenderSettings) -> NetworkPolicy {
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labelled(NAMESPACE_NAME_LABEL, &settings.operator_namespace)),
        pod_selector: Some(labelled(APP_NAME_LABEL, TOLLGATE)),
        ip_block: None,
    };
    NetworkPolicy {
        metadata: metadata(api, api.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(selector(&api.name)), ..LabelSelector::default() }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![rule(PROXY_PORT, None), rule(ADMIN_PORT, Some(vec![operator]))]),
            egress: None,
        }),
    }
}

fn rule(port: u16, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(i32::from(port))),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    }
}

fn labelled(label: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
        ..LabelSelector::default()
    }
}
