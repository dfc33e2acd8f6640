//! How many files and sockets the process may have open. Container runtimes hand out a soft limit of 1024 for the sake
//! of programs that use `select(2)`; a server that keeps to it is full with one caller's idle connections.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one.
///
/// # Errors
/// The kernel refuses.
pub fn raise_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
