//! Process plumbing that both binaries need: the log (`telemetry`), the signal to stop (`shutdown`), the admin
//! endpoints' server (`admin`), the crypto provider (`crypto`), whom calls to issuers trust (`trust`), open files and sockets (`descriptors`) and small mounted
//! files (`files`). It decides nothing about tokens, policies or Kubernetes and knows no other crate of this workspace.

pub mod admin;
pub mod crypto;
pub mod descriptors;
pub mod files;
pub mod shutdown;
pub mod telemetry;
pub mod trust;
