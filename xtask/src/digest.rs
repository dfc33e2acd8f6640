//! Digests of files and folders: the cache's keys. The same content is never built twice, another is never mistaken
//! for it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest as _, Sha256};

/// A digest in the making. Each part is framed by its length, so that parts cannot run into each other.
#[derive(Debug, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Adds a text.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.0.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(text);
        self
    }

    /// Adds a file's content.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(mut self, path: &Path) -> anyhow::Result<Self> {
        let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.0.update(u64::try_from(content.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(content);
        Ok(self)
    }

    /// Adds the names and contents of all files below a folder, except in folders that `without` names.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn folder(mut self, root: &Path, without: &[&str]) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        list(root, without, &mut files)?;
        files.sort();
        for file in files {
            self = self.text(&file.strip_prefix(root).unwrap_or(&file).to_string_lossy()).file(&file)?;
        }
        Ok(self)
    }

    /// The digest, short enough for a file name and long enough to never meet another.
    #[must_use]
    pub fn short(self) -> String {
        hex(&self.0.finalize()[..8])
    }
}

/// SHA-256 of a file, as image manifests want it.
///
/// # Errors
/// When it cannot be read.
pub fn of_file(path: &Path) -> anyhow::Result<String> {
    Ok(hex(&Sha256::digest(fs::read(path).with_context(|| format!("reading {}", path.display()))?)))
}

fn list(folder: &Path, without: &[&str], files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let is_left_out = without.iter().any(|name| entry.file_name().to_string_lossy() == *name);
        if entry.file_type()?.is_dir() && !is_left_out {
            list(&entry.path(), without, files)?;
        } else if !is_left_out {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_and_a_changed_file_change_the_digest_and_a_left_out_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let digest = || Digest::default().folder(folder.path(), &["node_modules"]).unwrap().short();
        fs::write(folder.path().join("a"), "1").unwrap();
        let first = digest();
        fs::create_dir(folder.path().join("node_modules")).unwrap();
        fs::write(folder.path().join("node_modules/x"), "1").unwrap();
        assert_eq!(digest(), first);
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        let renamed = digest();
        assert_ne!(renamed, first);
        fs::write(folder.path().join("b"), "2").unwrap();
        assert_ne!(digest(), renamed);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |parts: [&str; 2]| Digest::default().text(parts[0]).text(parts[1]).short();
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}
