//! The clients for the API server: how long each waits for one that says nothing. Without a limit a request that was
//! lost on its way would never end, and the look or the term of leadership that waits for it neither.

use std::time::Duration;

use kube::{Client, Config};

use crate::leader;

/// The API server ends every request but a watch by itself, after a minute; one that says nothing for longer is gone.
const OF_LOOKS: Duration = Duration::from_secs(65);

/// A watch may be silent until the API server ends it, within 295 s; the lists before it are never silent for so long.
const OF_WATCHES: Duration = Duration::from_secs(300);

/// One for each way of waiting.
pub(crate) struct Clients {
    /// For the Lease: a request that is not answered within [`leader::REQUEST_TIMEOUT`] has failed, and is not sent again.
    pub(crate) leases: Client,
    /// For single requests.
    pub(crate) looks: Client,
    /// For lists and watches of what is kept as a copy.
    pub(crate) watches: Client,
}

impl Clients {
    /// Must be called within a tokio runtime.
    pub(crate) fn of(config: &Config) -> Result<Self, kube::Error> {
        let limit = leader::REQUEST_TIMEOUT;
        // The client's own retries, up to fifteen and as late as the API server asks for, would outlast the Lease.
        let mut leases = within(config, limit);
        leases.connect_timeout = Some(limit);
        leases.default_retry = false;
        Ok(Self {
            leases: Client::try_from(leases)?,
            looks: Client::try_from(within(config, OF_LOOKS))?,
            watches: Client::try_from(within(config, OF_WATCHES))?,
        })
    }
}

/// No silence is longer than this.
fn within(config: &Config, limit: Duration) -> Config {
    let mut config = config.clone();
    config.read_timeout = Some(limit);
    config.write_timeout = Some(limit);
    // The time counts from the request, and not from when its connection was used last.
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::{Instant, timeout};

    use super::*;

    /// The clients of an API server that takes connections, and on each says this and nothing more.
    pub(crate) async fn of_server(says: &'static str) -> Clients {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                        let _ = stream.write_all(says.as_bytes()).await;
                    }
                });
            }
        });
        Clients::of(&Config::new(url.parse().expect("a URL"))).expect("clients")
    }

    /// How long a request for an object waits, in the clock of the test, before it fails.
    async fn patience(client: Client) -> Duration {
        let start = Instant::now();
        let api: Api<ConfigMap> = Api::namespaced(client, "shop");
        let got = timeout(Duration::from_secs(24 * 60 * 60), api.get("corp-ca")).await;
        assert!(got.expect("it ends").is_err());
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_ever_for_an_api_server_that_says_nothing() {
        let Clients { leases, looks, watches } = of_server("").await;
        for (client, limit) in [(leases, leader::REQUEST_TIMEOUT), (looks, OF_LOOKS), (watches, OF_WATCHES)] {
            let waited = patience(client).await;
            assert!(waited <= limit + Duration::from_millis(10), "{waited:?} of {limit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_is_put_off_by_the_api_server_has_failed() {
        let busy = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n";
        let waited = patience(of_server(busy).await.leases).await;
        assert!(waited <= leader::REQUEST_TIMEOUT, "{waited:?}");
    }
}
