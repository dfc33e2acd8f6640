//! Small files that Kubernetes mounts and may replace at any time: read whole with a bound, watched by content. Mounted
//! volumes swap symbolic links, which file notifications miss often enough that comparing contents is the sure way.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("reading {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Larger than anything that belongs there.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
}

/// Reads a file of at most `limit` bytes; `None` when it does not exist.
///
/// # Errors
/// It exists and cannot be read, or is larger.
pub fn read_optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" from "just fits" whatever the file's metadata says.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// It does not exist, cannot be read, or is larger.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_optional(path, limit)?
        .ok_or_else(|| FileError::Io { path: path.to_owned(), source: io::ErrorKind::NotFound.into() })
}

/// Calls `read` now and then every `interval`, off the async threads, until `shutdown`; the receiver holds the first
/// outcome at once and wakes when a later one differs. Must be called within a tokio runtime.
///
/// `read` makes of the files whatever the caller needs, errors included, so that nothing but a change wakes anybody.
pub fn watch<T, F>(interval: Duration, shutdown: CancellationToken, read: F) -> watch::Receiver<T>
where
    T: PartialEq + Send + Sync + 'static,
    F: FnMut() -> T + Send + 'static,
{
    let mut read = read;
    let (sender, receiver) = watch::channel(read());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sender.closed() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let pass = tokio::task::spawn_blocking(move || {
                let value = read();
                (read, value)
            });
            let Ok((returned, value)) = pass.await else { return };
            read = returned;
            sender.send_if_modified(|held| {
                let changed = *held != value;
                if changed {
                    *held = value;
                }
                changed
            });
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tollgate-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_missing_file_is_none_and_a_large_one_is_refused() {
        let file = scratch("bounds").join("secret");
        let _ = std::fs::remove_file(&file);
        assert!(read_optional(&file, 4).unwrap().is_none());
        assert!(matches!(read(&file, 4), Err(FileError::Io { .. })));
        std::fs::write(&file, "1234").unwrap();
        assert_eq!(read(&file, 4).unwrap(), b"1234");
        std::fs::write(&file, "12345").unwrap();
        assert!(matches!(read(&file, 4), Err(FileError::TooLarge { limit: 4, .. })));
    }

    #[tokio::test]
    async fn a_replaced_file_wakes_the_watcher() {
        let file = scratch("watch").join("secret");
        std::fs::write(&file, "old").unwrap();
        let watched = file.clone();
        let mut seen = watch(Duration::from_millis(5), CancellationToken::new(), move || {
            read_optional(&watched, 100).ok().flatten()
        });
        assert_eq!(seen.borrow_and_update().as_deref(), Some(&b"old"[..]));
        let next = file.with_extension("next");
        std::fs::write(&next, "new").unwrap();
        std::fs::rename(&next, &file).unwrap();
        tokio::time::timeout(Duration::from_secs(10), seen.changed()).await.unwrap().unwrap();
        assert_eq!(seen.borrow_and_update().as_deref(), Some(&b"new"[..]));
    }

    #[tokio::test]
    async fn watching_ends_with_the_process() {
        let shutdown = CancellationToken::new();
        let mut seen = watch(Duration::from_millis(5), shutdown.clone(), || 1);
        shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), seen.changed()).await.unwrap();
        assert!(ended.is_err(), "the sender is gone");
    }
}
