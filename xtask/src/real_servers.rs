//! Web servers that are not ours, to stand behind the sidecar in tests: uvicorn with both of its parsers, installed once
//! into the cache as tests/real-servers pins it, and Debian's nginx. What is sent to them is the tests' matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::digest::Digest;
use crate::toolchain::apt;
use crate::verifiers::install_python;
use crate::{console, paths};

/// The servers, installed.
#[derive(Debug)]
pub struct RealServers {
    folder: PathBuf,
}

impl RealServers {
    /// Installs them where they are missing.
    ///
    /// # Errors
    /// When nginx or pip cannot be had, or a package cannot be fetched or is not the one that was pinned.
    pub fn ensure() -> anyhow::Result<Self> {
        let source = paths::repository().join("tests/real-servers");
        let digest = Digest::default().folder(&source, &[])?.short();
        let folder = paths::cache().join(format!("real-servers-{digest}"));
        apt::ensure(&[apt::SERVERS])?;
        if !folder.exists() {
            fs::create_dir_all(paths::cache())?;
            let unfinished = tempfile::tempdir_in(paths::cache())?;
            for file in ["requirements.txt", "server.py", "nginx.conf"] {
                fs::copy(source.join(file), unfinished.path().join(file))?;
            }
            console::step("Python packages of real-servers", || install_python(unfinished.path()))?;
            // Whoever was faster has made the same.
            let _ = fs::rename(unfinished.path(), &folder);
        }
        Ok(Self { folder })
    }

    /// uvicorn with one of its parsers, `h11` or `httptools`.
    #[must_use]
    pub fn uvicorn(&self, parser: &str, port: u16) -> Command {
        let mut command = Command::new("python3");
        command.current_dir(&self.folder).env("PYTHONPATH", self.folder.join("python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.args(["-m", "uvicorn", "server:app", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--http", parser, "--lifespan", "off", "--log-level", "critical", "--no-proxy-headers"]);
        command
    }

    /// nginx, which passes on to the port `behind` what it understood; `folder` is for its files.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn nginx(&self, port: u16, behind: u16, folder: &Path) -> anyhow::Result<Command> {
        let text = fs::read_to_string(self.folder.join("nginx.conf"))?;
        let text = text.replace("@port@", &port.to_string()).replace("@behind@", &behind.to_string());
        let file = folder.join("nginx.conf");
        fs::write(&file, text.replace("@folder@", &folder.display().to_string()))?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(file).arg("-p").arg(folder).args(["-e", "stderr"]);
        Ok(command)
    }
}
