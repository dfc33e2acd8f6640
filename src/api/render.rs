//! The sidecar's configuration that follows from a validated resource. It decides no rule: it hands on what was
//! validated, and where the pod finds the mounted files.

use tollgate_contract::names::{CA_DIR, CLIENT_CA_DIR, CREDENTIALS_DIR, TLS_DIR, UPSTREAM_CA_DIR};
use tollgate_contract::{
    BrokerConfig, ClientCertificates, ClientConfig, IntrospectionConfig, IssuerConfig, OnOutage, RouteConfig,
    SidecarConfig, TlsConfig, UpstreamConfig, UpstreamTls,
};

use crate::validated::{Broker, Introspection, Issuer, Route, Sidecar, Tls, Upstream, ValidatedApi, millis};

impl ValidatedApi {
    /// What the sidecars of this resource enforce. Equal resources give equal configurations, whatever their uid,
    /// generation or workload.
    #[must_use]
    pub fn sidecar_config(&self) -> SidecarConfig {
        // Every field by name: a new one must not be forgotten here.
        let Self {
            namespace,
            name,
            uid: _,
            generation: _,
            issuers,
            external_urls,
            trusted_proxies,
            default_access,
            routes,
            broker,
            tls,
            upstream,
            paths,
            streams,
            cors,
            max_body_bytes,
            app: _,
            service_port: _,
            network_policy: _,
            sidecar: Sidecar { resources: _, log_level, access_log, tracing },
        } = self;
        SidecarConfig {
            namespace: namespace.clone(),
            name: name.clone(),
            issuers: issuers.iter().map(issuer_config).collect(),
            default_access: *default_access,
            routes: routes.iter().map(route_config).collect(),
            token_broker: broker.as_ref().map(broker_config),
            external_urls: external_urls.clone(),
            trusted_proxies: trusted_proxies.clone(),
            upstream: upstream_config(upstream),
            paths: paths.clone(),
            streams: streams.clone(),
            cors: cors.clone(),
            tls: tls.as_ref().map(tls_config),
            max_body_bytes: *max_body_bytes,
            access_log: *access_log,
            tracing: tracing.clone(),
            log_level: *log_level,
        }
    }
}

fn upstream_config(upstream: &Upstream) -> UpstreamConfig {
    let Upstream { port, address, protocol, tls, claim_headers, authorization, timeouts } = upstream;
    UpstreamConfig {
        port: *port,
        address: *address,
        protocol: *protocol,
        tls: tls.as_ref().map(|tls| UpstreamTls {
            server_name: tls.server_name.clone(),
            ca_file: tls.ca_bundle.as_ref().map(|_| format!("{UPSTREAM_CA_DIR}/ca.crt")),
        }),
        claim_headers: claim_headers.clone(),
        authorization: *authorization,
        timeouts: timeouts.clone(),
    }
}

fn tls_config(tls: &Tls) -> TlsConfig {
    // The Secret's name is the pod's affair.
    let Tls { secret: _, client_certificates } = tls;
    TlsConfig {
        dir: TLS_DIR.to_owned(),
        client_certificates: client_certificates.as_ref().map(|certificates| ClientCertificates {
            ca_file: format!("{CLIENT_CA_DIR}/ca.crt"),
            required: certificates.required,
        }),
    }
}

fn issuer_config(issuer: &Issuer) -> IssuerConfig {
    let Issuer {
        name,
        url,
        audiences,
        validation,
        client,
        introspection,
        clock_skew,
        ca_bundle,
        algorithms,
        token_profile,
        max_token_lifetime,
        dpop,
        dpop_nonce,
        endpoints,
        allow_http,
    } = issuer;
    IssuerConfig {
        name: name.clone(),
        url: url.clone(),
        audiences: audiences.clone(),
        validation: *validation,
        client: client.as_ref().map(|client| ClientConfig {
            credentials_dir: format!("{CREDENTIALS_DIR}/{name}"),
            auth_method: client.auth_method,
        }),
        introspection: introspection_config(introspection),
        clock_skew_seconds: clock_skew.as_secs(),
        ca_file: ca_bundle.as_ref().map(|_| format!("{CA_DIR}/{name}/ca.crt")),
        algorithms: algorithms.clone(),
        token_profile: *token_profile,
        max_token_lifetime_seconds: max_token_lifetime.as_secs(),
        dpop: *dpop,
        dpop_nonce: *dpop_nonce,
        endpoints: endpoints.clone(),
        allow_http: *allow_http,
    }
}

fn introspection_config(introspection: &Introspection) -> IntrospectionConfig {
    let Introspection { cache, max_stale, accept_locally_valid } = introspection;
    IntrospectionConfig {
        cache_millis: millis(*cache),
        max_stale_millis: millis(*max_stale),
        on_outage: accept_locally_valid
            .map_or(OnOutage::Reject, |longest| OnOutage::AcceptLocallyValid { max_duration_millis: millis(longest) }),
    }
}

fn route_config(route: &Route) -> RouteConfig {
    let Route { name, path, methods, access, scopes, issuers, when } = route;
    RouteConfig {
        name: name.clone(),
        path: path.clone(),
        methods: methods.iter().map(|method| method.as_str().to_owned()).collect(),
        access: *access,
        scopes: scopes.clone(),
        issuers: issuers.clone(),
        when: when.clone(),
    }
}

fn broker_config(broker: &Broker) -> BrokerConfig {
    let Broker { path, issuer, default_scopes, allowed_scopes, swagger_form } = broker;
    BrokerConfig {
        path: path.clone(),
        issuer: issuer.clone(),
        default_scopes: default_scopes.clone(),
        allowed_scopes: allowed_scopes.clone(),
        swagger_form: *swagger_form,
    }
}
