//! Where things lie: the repository, and the cache that outlives a clean clone.

use std::env;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// `TOLLGATE_CACHE`, else `XDG_CACHE_HOME/tollgate`, else `~/.cache/tollgate`: built tools, base images, the state of
/// the local cluster. Safe to delete while no cluster runs.
pub fn cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("TOLLGATE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("tollgate")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/tollgate")))
        .unwrap_or_else(|| PathBuf::from("/var/cache/tollgate"))
}

/// Where the local cluster keeps everything that it writes.
pub fn cluster() -> PathBuf {
    cache().join("cluster")
}
