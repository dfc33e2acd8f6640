//! Processes in the background: started in a group of their own, recorded in a file, and ended only when the recorded
//! process is still the one that we started (process ids are reused; the start time tells them apart).

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{interrupt, process, wait};

/// A process that we started, in this run or in an earlier one.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    pid: i32,
    started: u64,
    record: PathBuf,
    log: PathBuf,
    /// Held by the run that started it, so that its end is reaped.
    child: Option<Child>,
}

impl Daemon {
    /// Starts `command` with its output in `<state>/log/<name>.log` and its record in `<state>/run/<name>`.
    ///
    /// # Errors
    /// When the files or the process cannot be made.
    pub fn start(name: &str, state: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let log = state.join("log").join(name).with_extension("log");
        let record = state.join("run").join(name);
        for file in [&log, &record] {
            fs::create_dir_all(file.parent().unwrap_or(state))?;
        }
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}: `{}`", process::shown(command)))?;
        let pid = i32::try_from(child.id())?;
        let started = start_time(pid).unwrap_or_default();
        fs::write(&record, format!("{pid} {started}\n"))?;
        Ok(Self { name: name.to_owned(), pid, started, record, log, child: Some(child) })
    }

    /// The processes that an earlier run recorded in this state folder, dead ones included.
    pub fn recorded(state: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(state.join("run")) else { return Vec::new() };
        entries.flatten().filter_map(|entry| Self::from_record(state, &entry.path())).collect()
    }

    /// Its name, as in the log's file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the very process that we started still runs.
    pub fn is_running(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Fails when the process has ended, with the end of its log.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn ensure_running(&self) -> anyhow::Result<()> {
        if self.is_running() {
            return Ok(());
        }
        bail!("{} ended; the end of {}:\n{}", self.name, self.log.display(), self.log_tail());
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        process::tail(&String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()))
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Kills it and its process group at once, if it is still ours, and forgets it.
    ///
    /// # Errors
    /// When it does not end within 10 s.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let (true, Some(pid)) = (self.is_running(), Pid::from_raw(self.pid)) {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = kill_process(pid, Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        wait::until(&format!("the end of {}", self.name), Duration::from_secs(10), || {
            Ok((!self.is_running()).then_some(()))
        })?;
        let _ = fs::remove_file(&self.record);
        Ok(())
    }

    fn from_record(state: &Path, record: &Path) -> Option<Self> {
        let name = record.file_name()?.to_str()?.to_owned();
        let text = fs::read_to_string(record).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let log = state.join("log").join(&name).with_extension("log");
        let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
        Some(Self { name, pid, started, record: record.to_path_buf(), log, child: None })
    }
}

/// Adds the end of the log of the process to blame to an error, unless it was us who gave up.
pub(crate) fn blame(error: anyhow::Error, daemons: &[Daemon], name: &str) -> anyhow::Error {
    match daemons.iter().find(|daemon| daemon.name == name) {
        Some(daemon) if interrupt::check().is_ok() => {
            error.context(format!("the log of {name} ends with:\n{}\n", daemon.log_tail()))
        }
        _ => error,
    }
}

/// When a process started, in clock ticks since boot; `None` when there is none or it is a zombie.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    field(pid, 22)?.parse().ok()
}

/// The process that a process belongs to; `None` when there is none or it is a zombie.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    field(pid, 4)?.parse().ok()
}

/// A field of /proc/<pid>/stat, counted as proc(5) does: state is 3, ppid 4, starttime 22.
fn field(pid: i32, number: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, field 2, may hold spaces and parentheses: count from the last one.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let state = *fields.first()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.get(number - 3).map(|text| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_an_earlier_run_is_found_and_ended() {
        let state = tempfile::tempdir().unwrap();
        let mut mine = Daemon::start("sleeper", state.path(), Command::new("sleep").arg("300")).unwrap();
        let mut found = Daemon::recorded(state.path());
        assert_eq!(found.len(), 1);
        assert!(found[0].is_running());
        mine.kill().unwrap();
        assert!(!found[0].is_running());
        found[0].kill().unwrap();
        assert!(Daemon::recorded(state.path()).is_empty());
    }

    #[test]
    fn a_stranger_with_a_reused_process_id_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let mut stranger = Command::new("sleep").arg("300").spawn().unwrap();
        fs::create_dir_all(state.path().join("run")).unwrap();
        fs::write(state.path().join("run/old"), format!("{} 1\n", stranger.id())).unwrap();
        Daemon::recorded(state.path())[0].kill().unwrap();
        assert!(stranger.try_wait().unwrap().is_none(), "killed a process that it did not start");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn the_error_of_a_dead_process_shows_its_log() {
        let state = tempfile::tempdir().unwrap();
        let daemon = Daemon::start("talker", state.path(), Command::new("sh").args(["-c", "echo port taken"])).unwrap();
        let error = wait::until("its end", Duration::from_secs(10), || Ok(daemon.ensure_running().err())).unwrap();
        assert!(error.to_string().contains("talker ended"), "{error}");
        assert!(error.to_string().contains("port taken"), "{error}");
    }
}
