//! The custom resource `OktaProtectedApi`: its types and the rules in its schema (`types`), the step from what the API
//! server accepted to what the operator acts on (`validated`), its status vocabulary (`conditions`), and the
//! sidecar's configuration that follows from it (`render`). It talks to nobody.

pub mod types;

pub use types::{OktaProtectedApi, OktaProtectedApiSpec, OktaProtectedApiStatus};
