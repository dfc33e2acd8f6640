//! Okta is gone for ten minutes, in each of the ways in which a server goes: what can be checked keeps passing, what
//! cannot is 503, nothing is 401 for Okta's fault, and all is well again within five seconds of its return.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tests::endurance::{is_full, length};
use tests::issuer::Outage;
use tests::mint::other_key;
use tests::wait::{eventually, throughout};
use tokio::time::Instant;
use tollgate_contract::{OnOutage, ValidationMode};

use crate::outage::{asking, lenient, sound};
use crate::world::{PATIENCE, World};

/// How soon after Okta all must be well again; held to where nothing else uses the machine.
const RECOVERY: Duration = Duration::from_secs(5);

/// What was seen in one outage.
struct Figures {
    requests: usize,
    recovery: Duration,
}

#[tokio::test]
async fn every_outage_is_lived_through_and_ends_soon_after_okta_is_back() {
    let each = length(Duration::from_secs(2), Duration::from_secs(100));
    let mut all = Vec::new();
    if is_full() {
        for outage in Outage::ALL {
            all.push((outage, Box::pin(live_through(outage, each)).await));
        }
    } else {
        all = join_all(Outage::ALL.map(|outage| async move { (outage, live_through(outage, each).await) })).await;
    }
    for (outage, Figures { requests, recovery }) in all {
        println!("{outage:?} for {each:?}: {requests} requests as promised; well again after {recovery:?}");
        assert!(!is_full() || recovery <= RECOVERY, "{outage:?}: {recovery:?}");
    }
}

async fn live_through(outage: Outage, period: Duration) -> Figures {
    let (local, strict, open) = tokio::join!(
        World::ready(ValidationMode::Local),
        asking(OnOutage::Reject, 60_000),
        asking(lenient(Duration::from_secs(900)), 60_000),
    );
    let revoked = open.issuer.active(&open.issuer.token());
    open.issuer.revoke(&revoked);
    assert_eq!(open.get(&revoked).await.verdict(), (401, "inactive"));
    let remembered = sound(&strict);
    assert_eq!(strict.get(&remembered).await.status, 200);
    for world in [&local, &strict, &open] {
        world.issuer.suffer(outage);
    }
    let passed_before = strict.app_hits();
    let requests = AtomicUsize::new(0);
    let expect = async |world: &World, token: &str, expected: &[u16]| {
        let answer = world.get(token).await;
        requests.fetch_add(1, Ordering::Relaxed);
        if expected.contains(&answer.status) { Ok(()) } else { Err(format!("{outage:?}: {answer:?}")) }
    };
    tokio::join!(
        throughout("known keys go on checking", period, async || {
            expect(&local, &local.issuer.token().signed(), &[200]).await?;
            expect(&local, &local.issuer.token().signed_by(other_key()), &[401]).await
        }),
        throughout("a key that could not be looked up is 503", period, async || {
            let unknown = local.issuer.token().header("kid", json!(other_key().kid)).signed_by(other_key());
            expect(&local, &unknown, &[503]).await
        }),
        throughout("what was not checked is 503", period, async || expect(&strict, &sound(&strict), &[503]).await),
        throughout("what is sound passes where the policy says so", period, async || {
            expect(&open, &sound(&open), &[200]).await
        }),
        throughout("what is known or seen to be bad does not pass", period, async || {
            expect(&open, &revoked, &[401]).await?;
            expect(&open, &open.issuer.token().signed_by(other_key()), &[401]).await?;
            expect(&open, "opaque", &[401]).await
        }),
    );
    assert_eq!(strict.app_hits(), passed_before, "nothing passed unchecked");
    if period < Duration::from_secs(50) {
        assert_eq!(strict.get(&remembered).await.status, 200, "{outage:?}: its answer is fresh");
    }
    let revoked_unseen = sound(&open);
    open.issuer.revoke(&revoked_unseen);
    assert_eq!(open.get(&revoked_unseen).await.status, 200, "nobody could say so");
    assert!(open.metric("tollgate_outage_acceptances_total{issuer=\"okta\"}").await > 0);
    let (back, patience) = (Instant::now(), PATIENCE * 2);
    for world in [&local, &strict, &open] {
        world.issuer.mend();
    }
    let asked_again = eventually("questions are answered again", patience, || async {
        match strict.get(&sound(&strict)).await.verdict() {
            (200, _) => Ok(back.elapsed()),
            other => Err(format!("{outage:?}: {other:?}")),
        }
    });
    let noticed = eventually("what was revoked in the outage is refused", patience, || async {
        match open.get(&revoked_unseen).await.verdict() {
            (401, "inactive") => Ok(back.elapsed()),
            other => Err(format!("{outage:?}: {other:?}")),
        }
    });
    let (asked_again, noticed) = tokio::join!(asked_again, noticed);
    Figures { requests: requests.into_inner(), recovery: asked_again.max(noticed) }
}
