//! Which operator acts: the one that holds the Lease. Decides when leadership is won and when it must be given up; it
//! must never say "leader" after the Lease may have passed on.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use thiserror::Error;

/// Name of the Lease, in the operator's namespace.
const LEASE: &str = "tollgate-operator";

/// A leader that is gone is followed after this at most.
const LEASE_SECONDS: u64 = 10;

/// The Lease is renewed 6 s after the last time, 4 s before it ends.
const RENEWAL_GRACE_SECONDS: u64 = 4;

/// A renewal that takes longer has failed. Then 2 s are left to stop in.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two tries to reach the Lease.
const CAMPAIGN_PAUSE: Duration = Duration::from_secs(1);

/// Why leadership is over.
#[derive(Debug, Error)]
pub(crate) enum Lost {
    /// Another operator has the Lease.
    #[error("another operator holds the Lease")]
    Taken,
    /// The Lease could not be renewed in time.
    #[error("the Lease could not be renewed")]
    NotRenewed(#[source] kube_lease_manager::LeaseManagerError),
}

/// An operator that would lead.
#[derive(Clone)]
pub(crate) struct Candidate {
    /// A client whose requests end after [`REQUEST_TIMEOUT`].
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) identity: String,
}

/// A term of leadership.
pub(crate) struct Term(LeaseManager);

impl Candidate {
    /// Waits until this operator leads.
    pub(crate) async fn elected(&self) -> Term {
        loop {
            match self.campaign().await {
                Ok(term) => return term,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the Lease cannot be reached");
                    tokio::time::sleep(CAMPAIGN_PAUSE).await;
                }
            }
        }
    }

    /// A new manager for each term: one that has failed would not report that it leads again.
    async fn campaign(&self) -> Result<Term, kube_lease_manager::LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(self.client.clone(), LEASE)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_field_manager(format!("tollgate.dev/leader-{}", self.identity))
            .with_duration(LEASE_SECONDS)
            .with_grace(RENEWAL_GRACE_SECONDS)
            .build()
            .await?;
        while !manager.changed().await? {}
        Ok(Term(manager))
    }
}

impl Term {
    /// Renews the Lease for as long as that works; why it no longer does.
    pub(crate) async fn lost(&self) -> Lost {
        loop {
            match self.0.changed().await {
                Ok(true) => {}
                Ok(false) => return Lost::Taken,
                Err(error) => return Lost::NotRenewed(error),
            }
        }
    }

    /// Gives the Lease up, so that another operator need not wait for its end. A failure only means that it does.
    pub(crate) async fn release(self) {
        // In a task of its own, for the manager panics on a conflict.
        let released = tokio::spawn(async move { self.0.release().await });
        match released.await {
            Ok(Ok(())) => tracing::info!("the Lease is given up"),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the Lease could not be given up");
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the Lease could not be given up"),
        }
    }
}
