//! A real browser: Debian's Chromium, headless, driven through chromedriver. It knows how to start and end one; what a
//! page looks like is its page's own business ([`crate::swagger_ui`]).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
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

/// A browser with an empty profile. [`Browser::close`] ends it in order; dropping it kills chromedriver.
pub struct Browser {
    driver: WebDriver,
    chromedriver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts chromedriver on a free port, and Chromium by it.
    ///
    /// # Errors
    /// When one of them is not installed or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let (mut chromedriver, port) = chromedriver()?;
        let profile = tempfile::tempdir()?;
        match chromium(port, profile.path()).await {
            Ok(driver) => Ok(Self { driver, chromedriver, _profile: profile }),
            Err(error) => {
                stop(&mut chromedriver);
                Err(error).context("Chromium does not start (Debian package chromium)")
            }
        }
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

    /// Ends the browser.
    ///
    /// # Errors
    /// When it does not answer any more.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.driver.clone().quit().await?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        stop(&mut self.chromedriver);
    }
}

fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn chromedriver() -> anyhow::Result<(Child, u16)> {
    let mut child = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start chromedriver (Debian package chromium-driver)")?;
    let output = child.stdout.take().context("chromedriver's output is piped")?;
    // "ChromeDriver was started successfully on port 41357."
    let port = BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok());
    match port {
        Some(port) => Ok((child, port)),
        None => {
            stop(&mut child);
            anyhow::bail!("chromedriver ended without naming its port")
        }
    }
}

async fn chromium(port: u16, profile: &Path) -> anyhow::Result<WebDriver> {
    let mut capabilities = DesiredCapabilities::chrome();
    for flag in FLAGS {
        capabilities.add_arg(flag)?;
    }
    capabilities.add_arg(&format!("--user-data-dir={}", profile.display()))?;
    Ok(WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await?)
}
