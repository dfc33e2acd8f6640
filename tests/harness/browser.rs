//! A real browser: Debian's Chromium, headless, driven through chromedriver. It knows how to start and end one; what a
//! page looks like is its page's own business ([`crate::swagger_ui`]).

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use thirtyfour::prelude::*;

/// Root may only start Chromium without its sandbox. The rest keeps it from looking for anything but the page: no
/// updates, no sync, no first-run pages, no GPU.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1300",
];

/// A browser with an empty profile. Dropping it ends it at once, also when a test fails.
pub struct Browser {
    driver: WebDriver,
    _chromedriver: Chromedriver,
    _profile: TempDir,
}

impl Browser {
    /// Starts chromedriver on a free port, and Chromium by it.
    ///
    /// # Errors
    /// When one of them is not installed or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let chromedriver = Chromedriver::start(profile.path())?;
        let driver = chromium(chromedriver.port, profile.path()).await;
        let driver = driver.context("Chromium does not start (Debian package chromium)")?;
        // Its own way to end the session waits for the browser, two minutes when a test has failed. Ours does not wait.
        driver.clone().leak().context("the session is new")?;
        Ok(Self { driver, _chromedriver: chromedriver, _profile: profile })
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn open(&self, url: &str) -> anyhow::Result<&WebDriver> {
        self.driver.goto(url).await.with_context(|| format!("opening {url}"))?;
        Ok(&self.driver)
    }

    /// URLs of everything that the open page has loaded: scripts, styles, pictures, and what its scripts asked for.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn loaded(&self) -> anyhow::Result<Vec<String>> {
        let names = "return performance.getEntriesByType('resource').map(entry => entry.name)";
        Ok(self.driver.execute(names, vec![]).await?.convert()?)
    }
}

/// chromedriver on a free port until dropped, in a process group of its own with the browser that it starts.
struct Chromedriver {
    process: Child,
    port: u16,
}

impl Chromedriver {
    /// What it and the browser leave behind goes into `folder`.
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", folder).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let process = command.spawn().context("cannot start chromedriver (Debian package chromium-driver)")?;
        let mut chromedriver = Self { process, port: 0 };
        let output = chromedriver.process.stdout.take().context("chromedriver's output is piped")?;
        // "ChromeDriver was started successfully on port 41357."
        let port = |line: String| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        };
        let found = BufReader::new(output).lines().map_while(Result::ok).find_map(port);
        chromedriver.port = found.context("chromedriver ended without naming its port")?;
        Ok(chromedriver)
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

async fn chromium(port: u16, profile: &Path) -> anyhow::Result<WebDriver> {
    let mut capabilities = DesiredCapabilities::chrome();
    for flag in FLAGS {
        capabilities.add_arg(flag)?;
    }
    capabilities.add_arg(&format!("--user-data-dir={}", profile.join("profile").display()))?;
    Ok(WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await?)
}
