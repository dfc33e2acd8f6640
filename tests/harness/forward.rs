//! Reaching a Service of the cluster from a test: `kubectl port-forward`, which works for any cluster.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A forwarded port, closed when dropped. It leads to one pod of the Service, and ends with that pod.
pub struct Forward {
    child: Child,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl Forward {
    /// Forwards a free local port to a Service's port.
    ///
    /// # Errors
    /// When there is no running pod behind it.
    pub fn to(namespace: &str, target: &str, port: u16) -> anyhow::Result<Self> {
        let mut child = Command::new("kubectl")
            .args(["--namespace", namespace, "port-forward", "--address", "127.0.0.1", target, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start kubectl: is it on PATH?")?;
        let mut line = String::new();
        let mut output = child.stdout.take().map(BufReader::new);
        let read = output.as_mut().map(|output| output.read_line(&mut line));
        // It says a line for each connection, and would end by SIGPIPE if nobody read on.
        std::thread::spawn(move || output.map(|mut output| io::copy(&mut output, &mut io::sink())));
        // "Forwarding from 127.0.0.1:41234 -> 8480"
        let local = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split(' ').next()?.trim().parse().ok());
        match (read, local) {
            (Some(Ok(_)), Some(port)) => Ok(Self { child, port }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                anyhow::bail!("kubectl port-forward {target} in {namespace} said: {line:?}")
            }
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
