//! Swagger UI as its users see it: the Authorize dialog of an OAuth 2.0 password flow, and one operation tried out. It
//! clicks and types as they do, and returns what they would read.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use thirtyfour::prelude::*;

use crate::browser::Browser;
use crate::wait::eventually;

/// How long the page may take to show something, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What the Authorize dialog said.
#[derive(Debug, PartialEq, Eq)]
pub enum Authorization {
    /// It holds a token now.
    Granted,
    /// The text of its error box.
    Refused(String),
}

/// The answer that an operation shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body as text, pretty-printed by the page when it is JSON.
    pub body: String,
}

/// An open page of interactive docs.
pub struct SwaggerUi<'a> {
    page: &'a WebDriver,
}

impl<'a> SwaggerUi<'a> {
    /// Opens the docs and waits until they show operations.
    ///
    /// # Errors
    /// When they do not load.
    pub async fn open(browser: &'a Browser, url: &str) -> anyhow::Result<Self> {
        let docs = Self { page: browser.open(url).await? };
        docs.shown(".opblock").await?;
        Ok(docs)
    }

    /// Fills in client id and secret, leaves user name and password blank, ticks these scopes, and presses Authorize. The
    /// dialog is closed when it granted, and stays open with its error when not.
    ///
    /// # Errors
    /// When the page is not as expected.
    pub async fn authorize(
        &self,
        client_id: &str,
        client_secret: &str,
        scopes: &[&str],
    ) -> anyhow::Result<Authorization> {
        if self.page.find_all(By::Css(".modal-ux")).await?.is_empty() {
            self.press(".auth-wrapper > .authorize").await?;
        }
        for (field, text) in [("#client_id_password", client_id), ("#client_secret_password", client_secret)] {
            let field = self.shown(field).await?;
            field.clear().await?;
            field.send_keys(text).await?;
        }
        for scope in scopes {
            let id = format!("{scope}-password-checkbox-");
            if !self.page.find(By::Css(format!("input[id^='{id}']"))).await?.is_selected().await? {
                self.press(&format!("label[for^='{id}']")).await?;
            }
        }
        self.press(".modal-ux .auth-btn-wrapper .authorize").await?;
        let outcome = eventually("the dialog tells the outcome", PATIENCE, || self.outcome()).await;
        if outcome == Authorization::Granted {
            self.press(".modal-ux .btn-done").await?;
        }
        Ok(outcome)
    }

    /// Presses Try it out and Execute of an operation, and reads the answer.
    ///
    /// # Errors
    /// When there is no such operation.
    pub async fn execute(&self, method: &str, path: &str) -> anyhow::Result<Answer> {
        let operation = self.operation(method, path).await?;
        if operation.find_all(By::Css(".try-out__btn")).await?.is_empty() {
            operation.find(By::Css(".opblock-summary-control")).await?.click().await?;
        }
        let try_out = operation.query(By::Css(".try-out__btn")).wait(PATIENCE, POLL).and_clickable().first().await?;
        if try_out.text().await? != "Cancel" {
            try_out.click().await?;
        }
        // An earlier answer would be taken for the new one.
        if let Some(clear) = operation.find_all(By::Css(".btn-clear")).await?.first() {
            clear.click().await?;
            operation.query(By::Css(".live-responses-table")).wait(PATIENCE, POLL).wait_until_gone().await?;
        }
        operation.query(By::Css(".execute")).wait(PATIENCE, POLL).and_clickable().first().await?.click().await?;
        let status = eventually("the operation shows an answer", PATIENCE, || async {
            let cell = operation.find(By::Css(".live-responses-table .response .response-col_status")).await?;
            let text = cell.text().await?;
            text.split_whitespace().next().context("no status yet")?.parse::<u16>().context("no status yet")
        })
        .await;
        let body = operation.find(By::Css(".live-responses-table .response .response-col_description code")).await?;
        Ok(Answer { status, body: body.text().await? })
    }

    /// Saves what the window shows of the top of the page.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn screenshot(&self, file: &Path) -> anyhow::Result<()> {
        self.page.execute("window.scrollTo(0, 0)", vec![]).await?;
        Ok(self.page.screenshot(file).await?)
    }

    async fn outcome(&self) -> anyhow::Result<Authorization> {
        if !self.page.find_all(By::XPath("//*[@class='modal-ux']//button[text()='Logout']")).await?.is_empty() {
            return Ok(Authorization::Granted);
        }
        match self.page.find_all(By::Css(".modal-ux .errors")).await?.first() {
            Some(error) => Ok(Authorization::Refused(error.text().await?)),
            None => bail!("neither granted nor refused"),
        }
    }

    async fn operation(&self, method: &str, path: &str) -> anyhow::Result<WebElement> {
        let block =
            format!("//*[contains(@class, 'opblock-{}')][.//*[@data-path='{path}']]", method.to_ascii_lowercase());
        self.page.find(By::XPath(block)).await.with_context(|| format!("the docs show no {method} {path}"))
    }

    async fn shown(&self, css: &str) -> anyhow::Result<WebElement> {
        let query = self.page.query(By::Css(css)).wait(PATIENCE, POLL).and_displayed();
        query.first().await.with_context(|| format!("nothing is shown for {css}"))
    }

    async fn press(&self, css: &str) -> anyhow::Result<()> {
        let query = self.page.query(By::Css(css)).wait(PATIENCE, POLL).and_clickable();
        Ok(query.first().await.with_context(|| format!("nothing to press for {css}"))?.click().await?)
    }
}
