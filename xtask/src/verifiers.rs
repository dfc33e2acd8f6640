//! Okta's own verifiers for JavaScript and Python, which the sidecar is compared with: installed once into the cache,
//! as the lock files in tests/okta-verifiers pin them. They judge; what is made of it is the tests' matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::digest::Digest;
use crate::toolchain::apt;
use crate::{console, images, paths, process};

/// Both verifiers, installed.
#[derive(Debug)]
pub struct Verifiers {
    folder: PathBuf,
}

impl Verifiers {
    /// Installs them where the cache lacks them.
    ///
    /// # Errors
    /// When npm or pip cannot be had, or a package cannot be fetched or is not the one that was pinned.
    pub fn ensure() -> anyhow::Result<Self> {
        let source = paths::repository().join("tests/okta-verifiers");
        let digest = Digest::default().folder(&source, &["node_modules"])?.short();
        let folder = paths::cache().join(format!("okta-verifiers-{digest}"));
        if !folder.exists() {
            apt::ensure(&[apt::VERIFIERS])?;
            let unfinished = images::with_packages("okta-verifiers", &source)?;
            console::step("Python packages of okta-verifiers", || install_python(unfinished.path()))?;
            // Whoever was faster has made the same.
            let _ = fs::rename(unfinished.path(), &folder);
        }
        Ok(Self { folder })
    }

    /// What judges access tokens of this issuer: a token a line in, a line out that starts with `accepted` or `refused`.
    /// The issuer's certificate is trusted by `ca_file`.
    #[must_use]
    pub fn commands(&self, issuer: &str, audience: &str, ca_file: &Path) -> [(&'static str, Command); 2] {
        let mut javascript = Command::new("node");
        javascript.arg(self.folder.join("verify.mjs")).env("NODE_EXTRA_CA_CERTS", ca_file);
        let mut python = Command::new("python3");
        python.arg(self.folder.join("verify.py")).env("PYTHONPATH", self.folder.join("python"));
        python.env("PYTHONDONTWRITEBYTECODE", "1").env("REQUESTS_CA_BUNDLE", ca_file);
        for command in [&mut javascript, &mut python] {
            command.args([issuer, audience]).env_remove("HTTPS_PROXY").env_remove("https_proxy");
        }
        [("JavaScript", javascript), ("Python", python)]
    }
}

/// Installs the pinned packages of `requirements.txt` in a folder into its `python`.
pub(crate) fn install_python(folder: &Path) -> anyhow::Result<()> {
    let mut pip = Command::new("python3");
    pip.current_dir(folder).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--require-hashes", "--target", "python", "--requirement", "requirements.txt"]);
    process::capture(&mut pip).map(drop)
}
