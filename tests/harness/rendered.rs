//! What the operator makes of examples/items.yaml, without a cluster.

use serde_json::Value;
use tollgate_api::{OktaProtectedApi, ParseOptions, ValidatedApi};
use tollgate_operator::plan::keys::Seeds;
use tollgate_operator::plan::render::render;
use tollgate_operator::plan::shares::Shares;
use tollgate_operator::plan::{Kind, RenderSettings};

use crate::kubernetes::repository;

/// The object of this kind.
#[must_use]
pub fn object(kind: Kind) -> Value {
    let text = std::fs::read_to_string(repository().join("examples/items.yaml")).expect("the example is there");
    let mut items: OktaProtectedApi = serde_saphyr::from_str(&text).expect("one YAML document");
    items.metadata.uid = Some("uid-of-items".to_owned());
    let items = ValidatedApi::parse(&items, ParseOptions::default()).expect("a sound resource");
    let settings = RenderSettings {
        sidecar_image: "registry.test/tollgate/sidecar:1".to_owned(),
        operator_namespace: "tollgate-system".to_owned(),
    };
    let rendered = render(&items, &settings, &Shares::default(), &Seeds::default()).expect("serializable objects");
    rendered.objects.into_iter().find(|object| object.kind == kind).expect("it is rendered").body
}

/// The template of its pods.
#[must_use]
pub fn pod_template() -> Value {
    object(Kind::Deployment)["spec"]["template"].clone()
}

/// The number of the sidecar's port of this name, if it has one.
#[must_use]
pub fn sidecar_port(template: &Value, name: &Value) -> Option<u64> {
    let ports = template["spec"]["initContainers"][0]["ports"].as_array()?;
    ports.iter().find(|port| port["name"] == *name)?["containerPort"].as_u64()
}

/// Whether a selector that asks for labels to be there (`Exists`), and for nothing else, finds these pods.
#[must_use]
pub fn finds(selector: &Value, template: &Value) -> bool {
    let expressions =
        selector["matchExpressions"].as_array().filter(|_| selector.as_object().is_some_and(|s| s.len() == 1));
    let holds = |expression: &Value| {
        let label = expression["key"].as_str().and_then(|key| template["metadata"]["labels"].get(key));
        expression["operator"] == "Exists" && label.is_some()
    };
    expressions.is_some_and(|expressions| !expressions.is_empty() && expressions.iter().all(holds))
}
