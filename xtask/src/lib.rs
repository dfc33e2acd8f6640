//! The developer's loop: the tools a machine lacks, a real cluster, the images, the demo, and the test run.
//!
//! Read it in the order of a run: [`toolchain`] fetches and builds what is missing, [`cluster`] starts Kubernetes from it,
//! [`images`] builds ours, [`target`] takes them into a cluster, [`world`] sets up what the examples presuppose, and
//! [`demo`] and [`suite`] use it. [`verifiers`] are Okta's own, for comparison, [`real_servers`] stand in for apps. Nothing
//! here ships to users; the tests use the control plane, the tools, the verifiers and the servers.

pub mod bench;
pub mod cluster;
pub mod console;
pub mod daemon;
pub mod demo;
pub mod digest;
pub mod fuzz;
pub mod images;
pub mod interrupt;
pub mod lint;
pub mod paths;
pub mod process;
pub mod real_servers;
pub mod run_lock;
pub mod shell;
pub mod suite;
pub mod target;
pub mod toolchain;
pub mod verifiers;
pub mod wait;
pub mod world;
