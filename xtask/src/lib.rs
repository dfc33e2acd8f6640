//! The developer's loop: the tools a machine lacks, a real cluster, the images, the demo, and the test run.
//!
//! Nothing here ships to users, and nothing here knows what the product does; tests/harness uses this library for its
//! control plane and its cluster.

pub mod cluster;
pub mod console;
pub mod daemon;
pub mod digest;
pub mod images;
pub mod interrupt;
pub mod paths;
pub mod process;
pub mod toolchain;
pub mod wait;
