//! How long and how many: the bounds of the schema, checked again when a resource is parsed. They keep the rules' cost
//! within the API server's budget and the sidecar's tables small.

use std::time::Duration;

/// Issuers of one resource.
pub const ISSUERS: usize = 8;
/// Characters of an issuer's name: it becomes part of volume names, which end at 63.
pub const ISSUER_NAME_LENGTH: usize = 32;
/// Characters of an issuer's URL.
pub const URL_LENGTH: usize = 512;
/// Audiences of one issuer.
pub const AUDIENCES: usize = 8;
/// Characters of an audience; Okta's own limit lies below.
pub const AUDIENCE_LENGTH: usize = 512;
/// Routes of one resource.
pub const ROUTES: usize = 64;
/// Characters of a route's name.
pub const ROUTE_NAME_LENGTH: usize = 63;
/// Characters of a route's `when`: as many as a rule may have.
pub const WHEN_LENGTH: usize = 2048;
/// Characters of a path.
pub const PATH_LENGTH: usize = 512;
/// Scopes in one list.
pub const SCOPES: usize = 32;
/// Characters of a scope.
pub const SCOPE_LENGTH: usize = 128;
/// Pods of one resource.
pub const REPLICAS: i32 = 1000;
/// Environment variables of the app.
pub const ENV: usize = 256;
/// Words in command or args.
pub const ARGS: usize = 64;
/// Characters of one such word.
pub const ARG_LENGTH: usize = 8192;
/// Characters of an image reference.
pub const IMAGE_LENGTH: usize = 512;
/// Pull secrets of the app.
pub const IMAGE_PULL_SECRETS: usize = 8;
/// Algorithms of one issuer: every one that there is.
pub const ALGORITHMS: usize = 10;
/// URLs by which one API is reached.
pub const EXTERNAL_URLS: usize = 8;
/// Ranges of trusted proxies.
pub const TRUSTED_PROXIES: usize = 32;
/// Characters of an address range: the longest spelling of an IPv6 address, and /128.
pub const CIDR_LENGTH: usize = 49;
/// Largest `clockSkew`: RFC 7519 allows "no more than a few minutes".
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Largest `introspection.cache`: how long a revoked token may go on at worst; Okta's tokens live an hour by default.
pub const INTROSPECTION_CACHE: Duration = Duration::from_secs(60 * 60);
/// Largest `introspection.maxStale`, for the same reason.
pub const MAX_STALE: Duration = INTROSPECTION_CACHE;
/// Smallest `introspection.onOutage.maxDuration`: with less the policy would do nothing.
pub const SHORTEST_OUTAGE: Duration = Duration::from_secs(1);
/// Largest `introspection.onOutage.maxDuration`: keys serve no longer without Okta.
pub const OUTAGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Smallest `maxTokenLifetime`: Okta's own least is five minutes; with 0s no token could pass.
pub const SHORTEST_TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// Largest `maxTokenLifetime`: Okta's own most is a day; a week leaves room for other issuers.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Characters of the name of a Kubernetes object (RFC 1123 subdomain), and of a ConfigMap's key.
pub const OBJECT_NAME_LENGTH: usize = 253;
/// Characters of a duration: four parts of five digits and a unit of two letters.
pub const DURATION_LENGTH: usize = 28;
/// Kinds of resources (cpu, memory and so on) of one container; an amount has no bound of its own, so this is what
/// keeps its rule within budget.
pub const RESOURCES: usize = 8;
/// Claims that become headers: Okta's tokens have few, and a request's head ends at 100 headers.
pub const CLAIM_HEADERS: usize = 16;
/// Characters of a claim's path.
pub const CLAIM_LENGTH: usize = 256;
/// Names in a claim's path: as deep as anyone nests them.
pub const CLAIM_DEPTH: usize = 8;
/// Characters of a header's name.
pub const HEADER_LENGTH: usize = 64;
/// Headers in one list of `cors`.
pub const CORS_HEADERS: usize = 32;
/// Origins of `cors`.
pub const ORIGINS: usize = 32;
/// Characters of an origin: a host name of 253, a scheme and a port.
pub const ORIGIN_LENGTH: usize = 267;
/// Largest `cors.maxAge`: no browser keeps it longer.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Smallest `upstream.timeouts.connect`: within a pod it takes microseconds, and a busy node lets it wait.
pub const SHORTEST_CONNECT: Duration = Duration::from_millis(10);
/// Largest `upstream.timeouts.connect`: callers are gone by then.
pub const CONNECT: Duration = Duration::from_secs(60);
/// Smallest `upstream.timeouts.responseHeader`: with less no app answers when its node is busy.
pub const SHORTEST_RESPONSE_HEADER: Duration = Duration::from_millis(100);
/// Largest `upstream.timeouts.responseHeader`: long polls included, no caller waits longer.
pub const RESPONSE_HEADER: Duration = Duration::from_secs(24 * 60 * 60);
/// Smallest `upstream.timeouts.idle`.
pub const SHORTEST_IDLE: Duration = Duration::from_secs(1);
/// Largest `upstream.timeouts.idle`.
pub const IDLE: Duration = Duration::from_secs(24 * 60 * 60);
/// Smallest `streams.maxDuration`.
pub const SHORTEST_STREAM: Duration = Duration::from_secs(1);
/// Largest `streams.maxDuration`: a stream is held to no token then, so it must end some day.
pub const STREAM: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Largest `sidecar.accessLog.oneIn`.
pub const ONE_IN: u32 = 1_000_000;
