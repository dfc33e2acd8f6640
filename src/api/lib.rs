//! The custom resource `OktaProtectedApi`: its types and the rules in its schema (`types`), the step from what the API
//! server accepted to what the operator acts on (`validated`), its status vocabulary (`conditions`), the
//! sidecar's configuration that follows from it (`render`), and its definition as a file (`crd`). It talks to nobody.

pub mod conditions;
pub mod crd;
pub mod duration;
mod render;
pub mod types;
pub mod validated;

pub use types::{OktaProtectedApi, OktaProtectedApiSpec, OktaProtectedApiStatus};
pub use validated::{NotAccepted, ParseOptions, ValidatedApi};
