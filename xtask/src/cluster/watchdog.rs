//! Ends processes and removes their files when the program that started them ends, however it ends.
//!
//! A test runner that panics, is interrupted or is killed runs no destructor. A small shell waits on a pipe that only we
//! hold open: the kernel closes it with us, the shell kills what the folder's records name and removes the folder.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Reads the records of [`crate::daemon`]. A killed process may still write for a moment, hence the second try.
const SCRIPT: &str = r#"
read -r _
for record in "$1"/run/*; do
    read -r pid _ <"$record" && kill -s KILL -- "-$pid" 2>/dev/null
done
rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }
"#;

#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Watches over a state folder and the processes recorded in it, later ones included.
    pub(crate) fn over(dir: &Path) -> anyhow::Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "tollgate-watchdog"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the watchdog of the control plane")?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::daemon::Daemon;
    use crate::wait;

    #[test]
    fn nothing_stays_when_its_owner_is_gone() {
        let dir = tempfile::tempdir().unwrap().keep();
        let watchdog = Watchdog::over(&dir).unwrap();
        let daemon = Daemon::start("sleeper", &dir, Command::new("sleep").arg("300")).unwrap();
        drop(watchdog);
        wait::until("the end of the sleeper", Duration::from_secs(10), || Ok((!daemon.is_running()).then_some(())))
            .unwrap();
        assert!(!fs::exists(&dir).unwrap());
    }
}
