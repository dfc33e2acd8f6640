//! Kubernetes from its own programs, without an engine: a control plane for tests, and a whole one-node cluster.

mod control_plane;
mod local;
mod network;
mod node;
mod pause;
mod pki;
mod teardown;
mod watchdog;

pub use control_plane::{ControlPlane, Options, free_port};
pub use local::LocalCluster;
