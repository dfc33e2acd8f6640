//! Names, ports and paths that the operator renders and the sidecar relies on.

/// The API group of the custom resource, and the prefix of our labels and annotations.
pub const GROUP: &str = "tollgate.dev";

/// Label on every pod of a protected API; its value is the resource's name. Also the Service's selector.
pub const API_LABEL: &str = "tollgate.dev/api";

/// Pod template annotation that carries the policy's hash: a policy change rolls the pods.
pub const POLICY_HASH_ANNOTATION: &str = "tollgate.dev/policy-hash";

/// Name of the sidecar container, and of its port: the Service's `targetPort` is this name, so that a pod without the
/// sidecar gets no traffic.
pub const SIDECAR_CONTAINER: &str = "tollgate";

/// The sidecar's proxy port: callers come in here.
pub const PROXY_PORT: u16 = 8480;

/// The sidecar's admin port: probes, `/metrics`, `/config`.
pub const ADMIN_PORT: u16 = 8481;

/// Reserved for the loopback broker; an app may not take it.
pub const LOOPBACK_BROKER_PORT: u16 = 8482;

/// Where the ConfigMap with the policy is mounted.
pub const POLICY_DIR: &str = "/etc/tollgate/policy";

/// The policy's file in [`POLICY_DIR`] and its key in the ConfigMap.
pub const POLICY_FILE: &str = "config.json";

/// Where the ConfigMap with the hints is mounted; it may be absent.
pub const HINTS_DIR: &str = "/etc/tollgate/hints";

/// The file of the [`crate::Hints`] in [`HINTS_DIR`] and its key in the ConfigMap.
pub const HINTS_FILE: &str = "hints.json";

/// Parent folder of mounted client credentials: `<dir>/<issuer name>/{clientId,clientSecret,previousClientSecret}`.
pub const CREDENTIALS_DIR: &str = "/etc/tollgate/credentials";

/// Parent folder of mounted CA bundles: `<dir>/<issuer name>/ca.crt`.
pub const CA_DIR: &str = "/etc/tollgate/ca";

/// Folder with the proxy port's certificate: `tls.crt` and `tls.key`.
pub const TLS_DIR: &str = "/etc/tollgate/tls";

/// Folder with the CA bundle of callers' certificates: `ca.crt`.
pub const CLIENT_CA_DIR: &str = "/etc/tollgate/client-ca";

/// Folder with the CA bundle of the app's certificate: `ca.crt`.
pub const UPSTREAM_CA_DIR: &str = "/etc/tollgate/upstream-ca";

/// Admin path: 200 once the listeners are bound (startup and liveness).
pub const LIVE_PATH: &str = "/livez";

/// Admin path: 200 once this pod can judge tokens, 503 before and while draining.
pub const READY_PATH: &str = "/readyz";

/// Admin path: Prometheus metrics.
pub const METRICS_PATH: &str = "/metrics";

/// Admin path: the [`crate::SidecarReport`].
pub const CONFIG_PATH: &str = "/config";

/// Environment variable with the pod's uid (downward API), echoed in the report because addresses are reused.
pub const POD_UID_ENV: &str = "POD_UID";

/// Environment variable with the pod's address (downward API), for an app that listens there alone.
pub const POD_IP_ENV: &str = "POD_IP";

/// Prefix of the identity headers that the sidecar sets and nobody else may.
pub const IDENTITY_HEADER_PREFIX: &str = "x-tollgate-";
