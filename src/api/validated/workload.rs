//! Which containers and ports are sound. What only Kubernetes can judge (an image that exists, a quota) it leaves to
//! the API server; it looks for what the API server would refuse late or would let pass to our harm.

use k8s_openapi::api::core::v1::{EnvVar, Probe, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tollgate_contract::names::{ADMIN_PORT, LOOPBACK_BROKER_PORT, PROXY_PORT};
use tollgate_contract::{AccessLogConfig, LogLevel, TracingConfig};

use crate::types::{self, ImagePullPolicy, limits};

use super::NotAccepted;
use super::text::{check_unique, is_subdomain};
use super::url::check_collector;

/// The app's container, sound.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct App {
    /// Image reference.
    pub image: String,
    /// Kubernetes' own default when absent.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Names of Secrets with registry credentials.
    pub image_pull_secrets: Vec<String>,
    /// How many pods; 0 to 1000.
    pub replicas: i32,
    /// Empty = the image's entrypoint.
    pub command: Vec<String>,
    /// Empty = the image's arguments.
    pub args: Vec<String>,
    /// Unique names.
    pub env: Vec<EnvVar>,
    /// Empty where the resource sets none.
    pub resources: ResourceRequirements,
    /// Ports are numbers and none of the sidecar's; so in the other probes.
    pub readiness_probe: Option<Probe>,
    /// See `readiness_probe`.
    pub liveness_probe: Option<Probe>,
    /// See `readiness_probe`.
    pub startup_probe: Option<Probe>,
}

/// The sidecar's container, sound.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sidecar {
    /// Empty where the resource sets none.
    pub resources: ResourceRequirements,
    /// Verbosity of its own log.
    pub log_level: LogLevel,
    /// The line that each request leaves.
    pub access_log: AccessLogConfig,
    /// Where spans go; absent = nowhere.
    pub tracing: Option<TracingConfig>,
}

pub(super) fn parse_service_port(service: &types::ServiceSpec) -> Result<u16, NotAccepted> {
    let types::ServiceSpec { port } = service;
    if *port == 0 {
        return Err(NotAccepted::invalid("service.port: choose a port from 1 to 65535"));
    }
    Ok(*port)
}

pub(super) fn parse_app(app: &types::App) -> Result<App, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::App {
        image,
        image_pull_policy,
        image_pull_secrets,
        replicas,
        command,
        args,
        env,
        resources,
        readiness_probe,
        liveness_probe,
        startup_probe,
    } = app;
    if image.is_empty() || image.len() > limits::IMAGE_LENGTH || image.contains(char::is_whitespace) {
        return Err(NotAccepted::invalid("app.image: name the container image, such as ghcr.io/acme/items:1.4"));
    }
    if !(0..=limits::REPLICAS).contains(replicas) {
        return Err(NotAccepted::invalid(format!("app.replicas: choose 0 to {}", limits::REPLICAS)));
    }
    check_env(env)?;
    Ok(App {
        image: image.clone(),
        image_pull_policy: *image_pull_policy,
        image_pull_secrets: parse_pull_secrets(image_pull_secrets)?,
        replicas: *replicas,
        command: command.clone(),
        args: args.clone(),
        env: env.clone(),
        resources: parse_resources("app.resources", resources.as_ref())?,
        readiness_probe: parse_probe("app.readinessProbe", readiness_probe.as_ref())?,
        liveness_probe: parse_probe("app.livenessProbe", liveness_probe.as_ref())?,
        startup_probe: parse_probe("app.startupProbe", startup_probe.as_ref())?,
    })
}

pub(super) fn parse_sidecar(sidecar: &types::SidecarSpec) -> Result<Sidecar, NotAccepted> {
    let types::SidecarSpec { resources, log_level, access_log, tracing } = sidecar;
    let types::AccessLog { enabled, one_in } = access_log;
    if !(1..=limits::ONE_IN).contains(one_in) {
        return Err(NotAccepted::invalid(format!("sidecar.accessLog.oneIn: choose 1 to {}", limits::ONE_IN)));
    }
    Ok(Sidecar {
        resources: parse_resources("sidecar.resources", resources.as_ref())?,
        log_level: (*log_level).into(),
        access_log: AccessLogConfig { enabled: *enabled, one_in: *one_in },
        tracing: tracing.as_ref().map(parse_tracing).transpose()?,
    })
}

fn parse_tracing(tracing: &types::Tracing) -> Result<TracingConfig, NotAccepted> {
    let types::Tracing { endpoint, sample_percent } = tracing;
    check_collector("sidecar.tracing.endpoint", endpoint)?;
    if !(0.0..=100.0).contains(sample_percent) {
        return Err(NotAccepted::invalid("sidecar.tracing.samplePercent: choose 0 to 100"));
    }
    Ok(TracingConfig { endpoint: endpoint.clone(), sample_per_million: per_million(*sample_percent) })
}

/// Of a percentage from 0 to 100; what is finer than a millionth is rounded.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to 1,000,000")]
fn per_million(percent: f64) -> u32 {
    (percent * 10_000.0).round() as u32
}

pub(super) fn is_sidecar_port(port: i32) -> bool {
    [PROXY_PORT, ADMIN_PORT, LOOPBACK_BROKER_PORT].into_iter().any(|ours| i32::from(ours) == port)
}

fn parse_pull_secrets(secrets: &[types::SecretRef]) -> Result<Vec<String>, NotAccepted> {
    let names: Vec<_> = secrets.iter().map(|types::SecretRef { name }| name.clone()).collect();
    if names.len() > limits::IMAGE_PULL_SECRETS {
        return Err(NotAccepted::invalid(format!("app.imagePullSecrets: at most {}", limits::IMAGE_PULL_SECRETS)));
    }
    match names.iter().find(|name| !is_subdomain(name)) {
        Some(bad) => Err(NotAccepted::invalid(format!("app.imagePullSecrets: '{bad}' is not the name of a Secret"))),
        None => check_unique("app.imagePullSecrets", &names).map(|()| names),
    }
}

/// Server-side apply keys variables by name, so a name that is there twice would be refused or lost.
fn check_env(env: &[EnvVar]) -> Result<(), NotAccepted> {
    if env.len() > limits::ENV {
        return Err(NotAccepted::invalid(format!("app.env: at most {} variables", limits::ENV)));
    }
    let names: Vec<_> = env.iter().map(|variable| variable.name.clone()).collect();
    let sound = |name: &str| !name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    match names.iter().find(|name| !sound(name)) {
        Some(bad) => Err(NotAccepted::invalid(format!("app.env: '{bad}' is not the name of a variable"))),
        None => check_unique("app.env", &names),
    }
}

fn parse_resources(field: &str, resources: Option<&types::Resources>) -> Result<ResourceRequirements, NotAccepted> {
    let Some(types::Resources { requests, limits }) = resources else { return Ok(ResourceRequirements::default()) };
    for (member, amounts) in [("requests", requests), ("limits", limits)] {
        for (resource, amount) in amounts {
            if !is_quantity(&amount.0) {
                return Err(NotAccepted::invalid(format!(
                    "{field}.{member}: '{}' is not an amount of {resource}; write one such as 100m or 64Mi",
                    amount.0
                )));
            }
        }
    }
    let present = |amounts: &types::Amounts| (!amounts.is_empty()).then(|| amounts.clone());
    Ok(ResourceRequirements { requests: present(requests), limits: present(limits), claims: None })
}

/// Kubernetes' `resource.Quantity`, as far as amounts of CPU and memory go: no sign, since none can be below zero.
fn is_quantity(text: &str) -> bool {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(digits);
    let exponent = |rest: &str| rest.parse::<i8>().is_ok();
    let suffix_is_sound = matches!(suffix, "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E")
        || matches!(suffix, "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei")
        || suffix.strip_prefix(['e', 'E']).is_some_and(exponent);
    number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1 && suffix_is_sound
}

/// A probe that names a port would never find it (the app's container declares none), and one of the sidecar's ports
/// would ask the sidecar.
fn parse_probe(field: &str, probe: Option<&Probe>) -> Result<Option<Probe>, NotAccepted> {
    let Some(probe) = probe else { return Ok(None) };
    let handlers = [probe.exec.is_some(), probe.grpc.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some()];
    if handlers.into_iter().filter(|set| *set).count() != 1 {
        return Err(NotAccepted::invalid(format!("{field}: set exactly one of exec, grpc, httpGet and tcpSocket")));
    }
    let http = probe.http_get.as_ref().map(|action| action.port.clone());
    let tcp = probe.tcp_socket.as_ref().map(|action| action.port.clone());
    let grpc = probe.grpc.as_ref().map(|action| IntOrString::Int(action.port));
    for port in [http, tcp, grpc].into_iter().flatten() {
        let sound =
            matches!(port, IntOrString::Int(number) if (1..=65_535).contains(&number) && !is_sidecar_port(number));
        if !sound {
            return Err(NotAccepted::invalid(format!(
                "{field}: give the app's own port by its number; {PROXY_PORT} to {LOOPBACK_BROKER_PORT} are the \
                 sidecar's"
            )));
        }
    }
    Ok(Some(probe.clone()))
}
