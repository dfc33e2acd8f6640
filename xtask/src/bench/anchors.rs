//! What the sidecar is compared with, each with one worker on the core of the proxies: nginx and a bare hyper proxy, which
//! only forward; Envoy, forwarding and with its JWT filter; oauth2-proxy. Set up for the same tokens, without logs.

use std::fs;
use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::policy::AUDIENCE;
use super::servers::{Server, Stage, free_port, nginx_conf, on_core};

/// What Envoy does with tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvoyJwt {
    /// Nothing.
    Off,
    /// Checks each signature.
    Default,
    /// Checks a token's once.
    Cached,
}

/// nginx as a plain forwarding proxy.
pub(super) fn nginx(stage: &Stage) -> anyhow::Result<Server> {
    let port = free_port()?;
    let config = stage.path("proxy.conf");
    let forward = format!(
        "upstream app {{ server 127.0.0.1:{}; keepalive 64; }}\nserver {{ listen 127.0.0.1:{port}; location / {{ \
         proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
        stage.upstream_port
    );
    fs::write(&config, nginx_conf(&stage.path(""), "proxy", &forward))?;
    Server::nginx(&config, port, "0")
}

/// The least that a proxy on hyper does.
pub(super) fn bare_hyper(stage: &Stage) -> anyhow::Result<Server> {
    let port = free_port()?;
    let mut command = on_core("0", &stage.programs.bare_hyper);
    Server::start(command.args([port.to_string(), stage.upstream_port.to_string()]), port)?.listens()
}

/// Envoy with one worker.
pub(super) fn envoy(stage: &Stage, jwt: EnvoyJwt, jwks: &str) -> anyhow::Result<Server> {
    let program = stage.programs.envoy.as_ref().map_err(|reason| anyhow!("Envoy is not there: {reason}"))?;
    let port = free_port()?;
    let file = stage.path("envoy.json");
    fs::write(&file, envoy_config(stage, port, jwt, jwks).to_string())?;
    let mut command = on_core("0", program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "off", "-c"]);
    Server::start(command.arg(&file), port)?.listens()
}

/// oauth2-proxy with its check of bearer tokens.
pub(super) fn oauth2_proxy(stage: &Stage) -> anyhow::Result<Server> {
    let program = stage.programs.oauth2_proxy.as_ref();
    let program = program.map_err(|reason| anyhow!("oauth2-proxy is not there: {reason}"))?;
    let (port, issuer) = (free_port()?, stage.issuer());
    let mut command = on_core("0", Path::new(program));
    command.env("GOMAXPROCS", "1").args([
        "--provider=oidc",
        "--skip-jwt-bearer-tokens=true",
        "--skip-oidc-discovery=true",
        "--email-domain=*",
        "--request-logging=false",
        "--auth-logging=false",
        "--standard-logging=false",
        "--client-secret=bench",
        // Sixteen bytes, which nothing here is encrypted with.
        "--cookie-secret=0123456789abcdef",
        "--metrics-address=",
    ]);
    command
        .arg(format!("--http-address=127.0.0.1:{port}"))
        .arg(format!("--upstream={}", stage.upstream_url()))
        .arg(format!("--client-id={AUDIENCE}"))
        .arg(format!("--oidc-issuer-url={issuer}"))
        .arg(format!("--oidc-jwks-url={issuer}/v1/keys"))
        .arg(format!("--login-url={issuer}/v1/authorize"))
        .arg(format!("--redeem-url={issuer}/v1/token"));
    Server::start(&mut command, port)?.listens()
}

fn envoy_config(stage: &Stage, port: u16, jwt: EnvoyJwt, jwks: &str) -> Value {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let router = json!({
        "name": "router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    });
    let mut provider = json!({
        "issuer": stage.issuer(), "audiences": [AUDIENCE], "local_jwks": {"inline_string": jwks}, "forward": true,
    });
    if jwt == EnvoyJwt::Cached {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": 1000});
    }
    let check = json!({
        "name": "jwt",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    });
    let filters = if jwt == EnvoyJwt::Off { vec![router] } else { vec![check, router] };
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]);
    let connections = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"], "routes": routes}]},
    });
    json!({"static_resources": {
        "listeners": [{
            "address": address(port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": connections}]}],
        }],
        "clusters": [{
            "name": "app", "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": "app",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(stage.upstream_port)}}]}],
            },
        }],
    }})
}
