//! Decides everything that the operator does, as pure functions: from a sound resource to the objects that it needs
//! (`render`), what of an issuer's keys they carry (`keys`), from those and the objects that exist to the writes that are left (`changes`), and from what pods say
//! to the resource's status (`status`). No client, no async, no clock: the time and all jitter are passed in.

pub mod changes;
pub mod compare;
pub mod keys;
pub mod names;
pub mod ownership;
pub mod pods;
pub mod quantity;
pub mod render;
pub mod reports;
pub mod schedule;
pub mod shares;
pub mod status;
pub mod workload;

pub use changes::{Change, Observed};
pub use names::Kind;
pub use render::{RenderSettings, Rendered};
