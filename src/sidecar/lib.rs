//! The auth sidecar. One request reads top-down: `server` takes it, `path` and `route` find the rule, `auth` judges
//! the token, `route` the scopes, `proxy` forwards it to the app; `broker` answers token requests; any failure becomes
//! a [`rejection::Rejection`] that `rescue` alone turns into an answer. `route`, `path` and `auth::claims` are pure;
//! `auth` and `broker` share only `idp`, which alone talks to the issuer.

pub mod identity;
pub mod path;
pub mod reason;
pub mod rejection;
pub mod route;
