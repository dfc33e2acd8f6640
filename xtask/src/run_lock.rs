//! One run at a time on the local cluster: a second one would remove the world of the first.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, bail};

use crate::paths;

/// Held for a whole run. The kernel releases it when the process ends, however it ends; the programs that a run starts
/// do not inherit it.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // For the whole system at once, even while a program that just starts still has a copy of our files.
        let _ = self.file.unlock();
    }
}

impl RunLock {
    /// Takes it, or fails at once.
    ///
    /// # Errors
    /// When another run holds it, or when the cache cannot be written.
    pub fn take() -> anyhow::Result<Self> {
        Self::take_in(&paths::cache())
    }

    fn take_in(cache: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("creating {}", cache.display()))?;
        let path = cache.join("run.lock");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => bail!("another run uses the local cluster: wait for it, or end it"),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_second_run_ends_at_once_and_a_later_one_does_not() {
        let cache = tempfile::tempdir().unwrap();
        let first = RunLock::take_in(cache.path()).unwrap();
        let second = RunLock::take_in(cache.path()).unwrap_err().to_string();
        assert_eq!(second, "another run uses the local cluster: wait for it, or end it");
        drop(first);
        RunLock::take_in(cache.path()).unwrap();
    }

    #[test]
    fn programs_that_outlive_the_run_do_not_hold_it() {
        let cache = tempfile::tempdir().unwrap();
        let _held = RunLock::take_in(cache.path()).unwrap();
        let mut daemon = Command::new("sleep").arg("300").spawn().unwrap();
        let files = fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().flatten();
        let is_inherited =
            files.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file.ends_with("run.lock"));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert!(!is_inherited);
    }
}
