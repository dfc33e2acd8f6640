//! A crowd that is full, one seat at a time: who gets in, who goes, and who never does.

use futures::FutureExt;
use tokio::time::advance;

use super::*;

/// A seat that was taken a second after the one before.
async fn enter(crowd: &Arc<Crowd>) -> Option<(Arc<Seat>, bool)> {
    advance(Duration::from_secs(1)).await;
    crowd.enter()
}

async fn stranger(crowd: &Arc<Crowd>) -> Arc<Seat> {
    enter(crowd).await.expect("a seat").0
}

async fn admitted(crowd: &Arc<Crowd>) -> Arc<Seat> {
    let seat = stranger(crowd).await;
    seat.begin().admit();
    seat
}

/// A request whose body has begun to come.
fn uploading(seat: &Arc<Seat>) -> (UnderWay, Arc<Upload>) {
    let (mut request, upload) = (seat.begin(), Arc::new(Upload::of(seat)));
    request.upload = Some(Arc::clone(&upload));
    (request, upload)
}

/// The places of those who had to go.
fn gone(seats: &[Arc<Seat>]) -> Vec<usize> {
    (0..seats.len()).filter(|nth| seats[*nth].given_away().now_or_never().is_some()).collect()
}

#[tokio::test(start_paused = true)]
async fn strangers_have_a_quarter_and_the_one_idle_longest_goes() {
    let crowd = Crowd::new(8);
    let mut seats = Vec::new();
    for _ in 0..8 {
        seats.push(admitted(&crowd).await);
    }
    assert_eq!(gone(&seats), [] as [usize; 0], "there was room");
    advance(Duration::from_secs(1)).await;
    drop(seats[0].begin());
    let mut flood = Vec::new();
    for _ in 0..20 {
        let (seat, went) = enter(&crowd).await.expect("a newcomer gets a seat");
        assert!(went);
        flood.push(seat);
    }
    assert_eq!(gone(&seats), [1, 2], "the first was in use after them");
    assert_eq!(gone(&flood), (0..18).collect::<Vec<_>>());
    drop(flood.remove(0));
    drop(seats.remove(1));
    assert_eq!(lock(&crowd.room).taken, 8, "their seats are others'");
    drop(flood.pop());
    assert!(!enter(&crowd).await.expect("a seat").1, "room again");
}

#[tokio::test(start_paused = true)]
async fn an_answer_makes_no_stranger_admitted_and_a_token_does() {
    let crowd = Crowd::new(2);
    let (answered, known) = (stranger(&crowd).await, stranger(&crowd).await);
    drop(answered.begin());
    known.begin().admit();
    known.begin().admit();
    let seats = [known, answered];
    let newcomer = stranger(&crowd).await;
    assert_eq!(gone(&seats), [1]);
    newcomer.begin().admit();
    assert_eq!(lock(&crowd.room).strangers, 0);
    drop((seats, newcomer));
    let room = lock(&crowd.room);
    assert_eq!((room.taken, room.strangers), (0, 0));
    assert!(room.idle_strangers.is_empty() && room.idle_admitted.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_away_while_something_is_under_way() {
    let crowd = Crowd::new(1);
    for is_admitted in [false, true] {
        let seat = stranger(&crowd).await;
        let (first, second) = (seat.begin(), seat.begin());
        if is_admitted {
            first.admit();
        }
        assert!(crowd.enter().is_none());
        drop(first);
        assert!(crowd.enter().is_none(), "another is");
        drop(second);
        drop(seat.begin());
        let (_next, went) = crowd.enter().expect("a seat");
        assert!(went);
    }
}

#[tokio::test(start_paused = true)]
async fn a_seat_outlives_its_connection_for_what_is_under_way() {
    let crowd = Crowd::new(1);
    let seat = stranger(&crowd).await;
    let tunnel = seat.begin();
    drop(seat);
    assert!(crowd.enter().is_none());
    drop(tunnel);
    assert!(!crowd.enter().expect("a seat").1);
}

#[tokio::test(start_paused = true)]
async fn only_an_admitted_caller_gets_time_to_leave_and_a_request_that_just_came_all_of_it() {
    for (is_admitted, is_asking, ends) in [(false, false, 0), (true, false, 2), (true, true, 9), (false, true, 9)] {
        let crowd = Crowd::new(1);
        let seat = if is_admitted { admitted(&crowd).await } else { stranger(&crowd).await };
        assert!(seat.over().now_or_never().is_none());
        let _newcomer = stranger(&crowd).await;
        let request = is_asking.then(|| seat.begin());
        let began = Instant::now();
        let _ = tokio::time::timeout(Duration::from_secs(9), seat.over()).await;
        assert_eq!(began.elapsed().as_secs(), ends, "{is_admitted} {is_asking}");
        drop(request);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_word_to_leave_is_answered() {
    let crowd = Crowd::new(1);
    let seat = admitted(&crowd).await;
    let _newcomer = stranger(&crowd).await;
    let mut over = std::pin::pin!(seat.over());
    assert!(over.as_mut().now_or_never().is_none());
    let request = seat.begin();
    assert!(tokio::time::timeout(Duration::from_secs(9), over).await.is_err());
    drop(request);
    seat.over().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_lets_us_wait_for_a_request_is_idle_since_it_last_sent_enough_of_it() {
    let crowd = Crowd::new(4);
    let (mut seats, mut requests) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let seat = stranger(&crowd).await;
        requests.push(uploading(&seat));
        requests[seats.len()].1.waits(1);
        seats.push(seat);
    }
    drop(requests.remove(2));
    // One in steps, one byte by byte.
    for (nth, came) in [(0, ADVANCE / 2), (0, ADVANCE / 2), (1, 1), (1, 1)] {
        advance(Duration::from_secs(1)).await;
        requests[nth].1.goes_on();
        requests[nth].1.waits(came);
    }
    let mut newcomers = Vec::new();
    for expected in [&[1][..], &[1, 2], &[1, 2, 3], &[0, 1, 2, 3]] {
        newcomers.push(enter(&crowd).await.expect("a seat"));
        assert_eq!(gone(&seats), expected);
    }
    drop((seats, requests, newcomers));
    let room = lock(&crowd.room);
    assert_eq!((room.taken, room.strangers, room.idle_strangers.len()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_us_or_the_app_keeps_its_seat_and_so_do_those_beside_it() {
    let crowd = Crowd::new(1);
    let seat = stranger(&crowd).await;
    let (first, coming) = uploading(&seat);
    assert!(crowd.enter().is_none(), "it is judged");
    coming.waits(0);
    let beside = seat.begin();
    assert!(crowd.enter().is_none(), "another is under way");
    drop(beside);
    coming.goes_on();
    assert!(crowd.enter().is_none(), "the app takes it");
    coming.waits(9);
    first.is_answered();
    assert!(crowd.enter().is_none(), "it is answered before its end");
    coming.goes_on();
    coming.waits(9);
    assert!(crowd.enter().is_none());
    let (second, stalled) = uploading(&seat);
    stalled.waits(0);
    assert!(crowd.enter().is_none(), "one of two");
    drop(first);
    stalled.goes_on();
    assert!(crowd.enter().is_none(), "more has come");
    stalled.waits(0);
    assert!(crowd.enter().is_some());
    drop(second);
    stalled.goes_on();
    assert_eq!(seat.guest.state().0, 0);
}

#[tokio::test(start_paused = true)]
async fn an_admitted_caller_takes_its_time_for_what_it_sends() {
    let crowd = Crowd::new(1);
    let seat = stranger(&crowd).await;
    let (public, coming) = uploading(&seat);
    coming.waits(0);
    // On another stream.
    seat.begin().admit();
    assert!(crowd.enter().is_none());
    coming.goes_on();
    coming.waits(0);
    assert!(crowd.enter().is_none());
    drop(public);
    assert!(crowd.enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_word_to_leave_and_then_lets_us_wait_ends() {
    let crowd = Crowd::new(1);
    let seat = stranger(&crowd).await;
    let (request, coming) = uploading(&seat);
    coming.waits(0);
    let _newcomer = stranger(&crowd).await;
    coming.goes_on();
    let mut over = std::pin::pin!(seat.over());
    assert!(over.as_mut().now_or_never().is_none(), "more has just come");
    let answered = seat.begin();
    coming.waits(1);
    assert!(over.as_mut().now_or_never().is_none(), "another is to be answered");
    drop(answered);
    assert!(tokio::time::timeout(Duration::from_secs(9), over).await.is_ok());
    drop(request);
}
