//! Rules of the app and its container.

use serde_json::{Value, json};

use super::case::{Case, case, set};

pub(super) fn cases() -> Vec<Case> {
    [workload_cases(), resource_cases(), probe_cases()].concat()
}

fn workload_cases() -> Vec<Case> {
    const PORT: &str = "let the app listen on another port; 8480 to 8482 are the sidecar's";
    const IMAGE: &str = "name the container image, such as ghcr.io/acme/items:1.4";
    let port = |port: u16| [set("/spec/upstream/port", json!(port))];
    let image = |image: &str| [set("/spec/app/image", json!(image))];
    let mut cases: Vec<_> = [8480, 8481, 8482]
        .into_iter()
        .map(|taken| case(&format!("upstream port {taken}"), &port(taken), "spec.upstream.port", PORT, &port(8483)))
        .collect();
    for bad in ["", " ", "ghcr.io/acme/items: 1.4", "ghcr.io/acme/items:1.4\n"] {
        cases.push(case(&format!("the image {bad:?}"), &image(bad), "spec.app.image", IMAGE, &image("items")));
    }
    cases
}

fn resource_cases() -> Vec<Case> {
    const AMOUNT: &str = "write amounts such as 100m of cpu or 64Mi of memory";
    [
        ("/spec/app/resources/requests", "spec.app.resources.requests"),
        ("/spec/app/resources/limits", "spec.app.resources.limits"),
        ("/spec/sidecar/resources/requests", "spec.sidecar.resources.requests"),
        ("/spec/sidecar/resources/limits", "spec.sidecar.resources.limits"),
    ]
    .into_iter()
    .flat_map(|(pointer, field)| {
        ["64 Mi", "64MB", "", "-64Mi", "lots"].into_iter().map(move |bad| {
            let memory = |amount: &str| [set(pointer, json!({"memory": amount}))];
            case(&format!("{field} of {bad:?}"), &memory(bad), field, AMOUNT, &memory("64Mi"))
        })
    })
    .collect()
}

fn probe_cases() -> Vec<Case> {
    const HANDLER: &str = "set exactly one of exec, grpc, httpGet and tcpSocket";
    const PORT: &str = "give the app's own port by its number; 8480 to 8482 are the sidecar's";
    ["readinessProbe", "livenessProbe", "startupProbe"]
        .into_iter()
        .flat_map(|probe| {
            let good = json!({"exec": {"command": ["true"]}});
            let field = format!("spec.app.{probe}");
            [
                (json!({"periodSeconds": 5}), HANDLER),
                (json!({"httpGet": {"port": 8000}, "tcpSocket": {"port": 8000}}), HANDLER),
                (json!({"httpGet": {"path": "/readyz", "port": 8481}}), PORT),
                (json!({"httpGet": {"path": "/healthz", "port": "http"}}), PORT),
                (json!({"tcpSocket": {"port": 8480}}), PORT),
                (json!({"grpc": {"port": 8482}}), PORT),
            ]
            .map(|(bad, message)| {
                let to = |value: &Value| [set(&format!("/spec/app/{probe}"), value.clone())];
                case(&format!("{field} {bad}"), &to(&bad), &field, message, &to(&good))
            })
        })
        .collect()
}
