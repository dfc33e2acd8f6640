//! What the CA bundles hold that resources name, by digest: read at most once a minute for all who name one. Their content
//! is read again when an issuer is asked, and held no longer than that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use thiserror::Error;
use tokio::time::timeout;
use tollgate_api::validated::CaBundle;

use crate::plan::keys::digest;

/// A bundle is read again after this: the pods' mounts are refreshed about as often.
const AGE: Duration = Duration::from_secs(60);

/// What nobody has asked for in this time is of no resource any more: each is looked at every two minutes at least.
const UNUSED: Duration = Duration::from_secs(5 * 60);

/// Bundles of one namespace; of more, the one that was read first is forgotten, and read again when it is needed.
const MOST: usize = 64;

/// A ConfigMap holds a MiB; a bundle of every public authority takes a fifth of it.
const LARGEST: usize = 1024 * 1024;

/// For the API server to hand one out: it is a small object, and no look and no turn of a namespace is to wait for one that
/// hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a bundle is not known at the moment.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error("reading the ConfigMap")]
    Read(#[source] kube::Error),
    #[error("no answer within {READ_TIMEOUT:?}")]
    Timeout,
}

/// By namespace.
#[derive(Default)]
pub(super) struct Bundles(HashMap<String, HashMap<CaBundle, Read>>);

/// A bundle's digest as it was then; absent while there was none.
struct Read {
    digest: Option<String>,
    at: Instant,
}

impl Bundles {
    /// The digest; `Err` when the bundle must be read, with the digest that it had before.
    pub(super) fn digest(
        &self,
        namespace: &str,
        bundle: &CaBundle,
        now: Instant,
    ) -> Result<Option<String>, Option<String>> {
        match self.0.get(namespace).and_then(|of_namespace| of_namespace.get(bundle)) {
            Some(read) if now.duration_since(read.at) < AGE => Ok(read.digest.clone()),
            Some(read) => Err(read.digest.clone()),
            None => Err(None),
        }
    }

    /// A bundle was read just now.
    pub(super) fn keep(&mut self, namespace: &str, bundle: &CaBundle, digest: Option<String>, now: Instant) {
        if !self.0.get(namespace).is_some_and(|of_namespace| of_namespace.contains_key(bundle)) {
            self.0.retain(|_, of_namespace| {
                of_namespace.retain(|_, read| now.duration_since(read.at) < UNUSED);
                !of_namespace.is_empty()
            });
        }
        let of_namespace = self.0.entry(namespace.to_owned()).or_default();
        if of_namespace.len() >= MOST && !of_namespace.contains_key(bundle) {
            let oldest = of_namespace.iter().min_by_key(|(_, read)| read.at).map(|(bundle, _)| bundle.clone());
            oldest.and_then(|oldest| of_namespace.remove(&oldest));
        }
        of_namespace.insert(bundle.clone(), Read { digest, at: now });
    }
}

/// The bundle's content; `None` while there is none.
pub(super) async fn read(client: &Client, namespace: &str, bundle: &CaBundle) -> Result<Option<Vec<u8>>, ReadError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = timeout(READ_TIMEOUT, api.get_opt(&bundle.config_map)).await.map_err(|_| ReadError::Timeout)?;
    Ok(map.map_err(ReadError::Read)?.and_then(|map| content(map, &bundle.key)))
}

/// The same by its digest; one that cannot be read at the moment is what it was `before`.
pub(super) async fn read_digest(
    client: &Client,
    namespace: &str,
    bundle: &CaBundle,
    before: Option<String>,
) -> Option<String> {
    match read(client, namespace, bundle).await {
        Ok(pem) => pem.map(|pem| digest(&pem)),
        Err(error) => {
            tracing::debug!(namespace, error = &error as &dyn std::error::Error, "a CA bundle could not be read");
            before
        }
    }
}

fn content(map: ConfigMap, key: &str) -> Option<Vec<u8>> {
    let text = map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes);
    let bytes = text.or_else(|| Some(map.binary_data?.remove(key)?.0))?;
    (bytes.len() <= LARGEST).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients;

    fn bundle(name: &str) -> CaBundle {
        CaBundle { config_map: name.to_owned(), key: "ca.crt".to_owned() }
    }

    #[test]
    fn a_bundle_is_read_once_a_minute_and_is_what_it_was_until_then() {
        let (mut bundles, start) = (Bundles::default(), Instant::now());
        assert_eq!(bundles.digest("shop", &bundle("corp-ca"), start), Err(None));
        bundles.keep("shop", &bundle("corp-ca"), Some("aa".to_owned()), start);
        let digest = |after| bundles.digest("shop", &bundle("corp-ca"), start + after);
        assert_eq!(digest(AGE / 2), Ok(Some("aa".to_owned())));
        assert_eq!(digest(AGE), Err(Some("aa".to_owned())));
        assert_eq!(bundles.digest("other", &bundle("corp-ca"), start), Err(None), "a namespace has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bundle_that_the_api_server_does_not_hand_out_is_what_it_was_and_keeps_nobody_waiting() {
        let (client, start) = (clients::tests::of_server("").await.looks, tokio::time::Instant::now());
        let (bundle, before) = (bundle("corp-ca"), Some("aa".to_owned()));
        assert!(matches!(read(&client, "shop", &bundle).await, Err(ReadError::Timeout)));
        assert_eq!(read_digest(&client, "shop", &bundle, before.clone()).await, before);
        assert!(start.elapsed() < 3 * READ_TIMEOUT, "{:?}", start.elapsed());
    }

    #[test]
    fn however_many_bundles_a_namespace_names_few_are_remembered_and_those_of_others_stay() {
        let (mut bundles, start) = (Bundles::default(), Instant::now());
        bundles.keep("honest", &bundle("corp-ca"), None, start);
        for number in 0..1_000 {
            bundles.keep("evil", &bundle(&format!("ca-{number}")), None, start + Duration::from_millis(number));
        }
        assert_eq!(bundles.0["evil"].len(), MOST);
        assert!(bundles.0["evil"].contains_key(&bundle("ca-999")));
        assert_eq!(bundles.0["honest"].len(), 1);
        bundles.keep("third", &bundle("corp-ca"), None, start + 2 * UNUSED);
        assert_eq!(bundles.0.len(), 1, "what nobody asks for is forgotten");
    }
}
