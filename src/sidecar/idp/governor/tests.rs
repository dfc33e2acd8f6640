//! Waiting for a turn, with a clock that the test moves.

use std::net::IpAddr;

use futures::FutureExt;
use http::{HeaderName, HeaderValue};
use tokio::time::advance;

use super::*;

const OWN: Call = Call { lane: Lane::Trusted, payer: Payer::Own };

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn stranger(number: u32) -> Call {
    Call { lane: Lane::Stranger(IpAddr::from(number.to_be_bytes()).into()), payer: Payer::Own }
}

fn bucket() -> Arc<Bucket> {
    Governor::new(Duration::from_secs(60)).calls(&url("https://acme.okta.com/oauth2/default/v1/token"))
}

fn headers(limit: &'static str, remaining: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [("limit", limit), ("remaining", remaining), ("reset", "99999999999")] {
        let name: HeaderName = format!("x-rate-limit-{name}").parse().unwrap();
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

async fn admit(bucket: &Arc<Bucket>, call: Call) -> Result<Permit, IdpError> {
    bucket.admit(call).await
}

fn error(outcome: Result<Permit, IdpError>) -> IdpError {
    outcome.err().unwrap()
}

#[test]
fn calls_that_the_issuer_counts_together_share_a_bucket() {
    let governor = Governor::new(Duration::from_secs(60));
    let calls = |text| governor.calls(&url(text));
    let bucket = calls("https://acme.okta.com/oauth2/default/v1/token");
    assert!(Arc::ptr_eq(&bucket, &calls("https://acme.okta.com/oauth2/aus1/v1/introspect")));
    assert!(Arc::ptr_eq(&bucket, &calls("https://ACME.okta.com:443/oauth2/aus2/v1/token")));
    for other in [
        "https://acme.okta.com/oauth2/v1/introspect",
        "https://other.okta.com/oauth2/default/v1/token",
        "https://acme.okta.com:8443/oauth2/default/v1/token",
    ] {
        assert!(!Arc::ptr_eq(&bucket, &calls(other)), "{other}");
    }
    let documents = |text| governor.documents(&url(text));
    let keys = documents("https://acme.okta.com/oauth2/default/v1/keys");
    assert!(Arc::ptr_eq(&keys, &documents("https://acme.okta.com/.well-known/openid-configuration")));
    assert!(!Arc::ptr_eq(&keys, &bucket));
}

#[test]
fn buckets_that_nobody_holds_are_forgotten() {
    let governor = Governor::new(Duration::from_secs(60));
    for number in 0..10_000 {
        governor.calls(&url(&format!("https://host-{number}.example/token")));
    }
    assert_eq!(lock(&governor.buckets).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_answer_calls_go_one_by_one_and_then_together() {
    let bucket = bucket();
    let mut first = admit(&bucket, OWN).await.ok().unwrap();
    let waiting: Vec<_> = (0..30).map(|_| Box::pin(admit(&bucket, OWN))).collect();
    let mut waiting = futures::future::join_all(waiting);
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!((bucket.read().in_flight, bucket.read().waiting_trusted), (1, 30));
    first.answered(StatusCode::OK, &headers("6000", "5999"));
    drop(first);
    // Each ends as soon as it is begun: all get their turn.
    let admitted = waiting.await;
    assert_eq!(admitted.iter().filter(|outcome| outcome.is_ok()).count(), 12, "the others waited for those held here");
    drop(admitted);
    assert_eq!((bucket.read().in_flight, bucket.read().waiting_trusted), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_free_goes_to_who_waits() {
    let bucket = bucket();
    let held = admit(&bucket, OWN).await;
    let waiting = tokio::spawn({
        let bucket = Arc::clone(&bucket);
        async move { bucket.admit(OWN).await.is_ok() }
    });
    tokio::task::yield_now().await;
    advance(Duration::from_millis(1_500)).await;
    assert!(!waiting.is_finished());
    drop(held);
    assert!(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_passes_the_turn_on() {
    let bucket = bucket();
    let held = admit(&bucket, OWN).await;
    let mut leaving = Box::pin(admit(&bucket, OWN));
    let mut staying = Box::pin(admit(&bucket, OWN));
    assert!((&mut leaving).now_or_never().is_none() && (&mut staying).now_or_never().is_none());
    drop(held);
    drop(leaving);
    assert!(staying.await.is_ok());
    assert_eq!(bucket.read().waiting_trusted, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_two_seconds_and_to_have_waited_in_vain_is_no_outage() {
    let bucket = bucket();
    let held = (admit(&bucket, OWN).await, admit(&bucket, stranger(1)).await);
    for (call, expected) in [(OWN, IdpError::Busy), (stranger(2), IdpError::Crowded { retry_after: COME_BACK })] {
        let begun = Instant::now();
        assert_eq!(error(admit(&bucket, call).await), expected);
        assert_eq!(Instant::now() - begun, LONGEST_WAIT);
        assert!(!expected.is_outage());
    }
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn over_the_share_our_own_calls_hear_of_the_limit_and_all_others_that_we_are_busy() {
    let bucket = bucket();
    let mut first = admit(&bucket, OWN).await.ok().unwrap();
    first.answered(StatusCode::OK, &headers("600", "60"));
    drop(first);
    let caller = Call { payer: Payer::claiming("0oa1", crate::idp::Standing::Known), ..OWN };
    assert!(matches!(error(admit(&bucket, OWN).await), IdpError::RateLimited { .. }));
    assert!(matches!(error(admit(&bucket, caller).await), IdpError::Crowded { .. }));
    assert!(matches!(error(admit(&bucket, stranger(1)).await), IdpError::Crowded { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_429_is_told_to_everybody_it_concerns() {
    let bucket = bucket();
    let mut first = admit(&bucket, OWN).await.ok().unwrap();
    let limited_for = first.answered(StatusCode::TOO_MANY_REQUESTS, &headers("600", "0"));
    assert_eq!(limited_for, Some(Duration::from_secs(120)), "bounded, whatever the header says");
    drop(first);
    for call in [OWN, stranger(1)] {
        assert!(matches!(error(admit(&bucket, call).await), IdpError::RateLimited { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_waits_in_its_own_queue_and_is_turned_away_when_it_is_full() {
    let bucket = bucket();
    let held = admit(&bucket, stranger(0)).await;
    let mut waiting: Vec<_> = (0..200).map(|number| Box::pin(admit(&bucket, stranger(number)))).collect();
    let turned_away = waiting.iter_mut().filter_map(|one| one.now_or_never()).map(error);
    assert_eq!(turned_away.filter(|error| *error == IdpError::Crowded { retry_after: COME_BACK }).count(), 200 - 64);
    assert!(admit(&bucket, OWN).await.is_ok(), "trusted calls are not in that queue");
    assert_eq!(bucket.read().waiting_strangers, 64);
    drop((waiting, held));
    assert_eq!((bucket.read().waiting_strangers, bucket.read().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_arrived_costs_nothing() {
    let bucket = bucket();
    bucket.divide(Some(1));
    let mut first = admit(&bucket, OWN).await.ok().unwrap();
    first.answered(StatusCode::OK, &headers("4", "4"));
    first.never_arrived();
    drop(first);
    let mut second = admit(&bucket, OWN).await.ok().unwrap();
    second.never_arrived();
    drop(second);
    drop(admit(&bucket, OWN).await.ok().unwrap());
    assert!(matches!(error(admit(&bucket, OWN).await), IdpError::RateLimited { .. }), "one a minute, and it was made");
}

#[tokio::test]
async fn without_limits_any_number_of_strangers_asks_at_once_and_a_429_still_counts() {
    let governor = Governor::without_limits(Duration::from_secs(60));
    let bucket = governor.calls(&url("http://127.0.0.1/introspect"));
    let mut permits = Vec::new();
    for _ in 0..300 {
        permits.push(admit(&bucket, stranger(1)).await.unwrap());
    }
    permits[0].answered(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
    assert!(admit(&bucket, stranger(1)).await.is_err());
}
