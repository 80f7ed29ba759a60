//! What one peer, or a stranger, can take from the others.

use super::*;

#[tokio::test]
async fn an_answer_over_the_limit_is_cut_off() {
    let ada = ada_knows(&[BEN]);
    let error = client(BEN)
        .post(&ada.remote(), &BABBLE, Bytes::new())
        .await
        .expect_err("one byte too many");
    match error {
        WireError::AnswerOversize { limit, .. } => assert_eq!(limit, BABBLE.max_answer_bytes),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_honest_node_says_that_its_answer_is_too_long() {
    let ada = ada_knows(&[BEN]);
    // The answer repeats the question after some words.
    let body = Bytes::from(vec![b'x'; ECHO.max_request_bytes]);
    let error = client(BEN)
        .post(&ada.remote(), &ECHO, body)
        .await
        .expect_err("too long");
    match &error {
        WireError::Refused { problem, .. } => assert_eq!(problem.status, 500),
        other => panic!("{other}"),
    }
    assert_eq!(error.fault(), Fault::Peer, "her operator is our peer");
}

#[tokio::test]
async fn a_question_over_the_limit_is_refused_here_and_there() {
    let ada = ada_knows(&[BEN]);
    let body = Bytes::from(vec![b'x'; ECHO.max_request_bytes + 1]);
    let error = client(BEN)
        .post(&ada.remote(), &ECHO, body.clone())
        .await
        .expect_err("too long");
    assert!(
        matches!(error, WireError::RequestOversize { .. }),
        "{error}"
    );
    // A client that believes in another limit.
    let generous: &'static Exchange = Box::leak(Box::new(Exchange {
        max_request_bytes: 1024 * 1024,
        ..ECHO
    }));
    let error = client(BEN)
        .post(&ada.remote(), generous, body)
        .await
        .expect_err("too long");
    match error {
        WireError::Refused { problem, .. } => assert_eq!(problem.status, 413),
        other => panic!("{other}"),
    }
    assert!(ada.connections().is_empty(), "no handler ran");
}

#[tokio::test]
async fn a_slow_answer_costs_one_time_out_and_nobody_else() {
    let ada = ada_knows(&[BEN]);
    let ben = client(BEN);
    let started = Instant::now();
    let error = ben
        .post(&ada.remote(), &SLEEP, Bytes::new())
        .await
        .expect_err("she sleeps");
    assert!(matches!(error, WireError::TimedOut { .. }), "{error}");
    assert!(started.elapsed() < SLEEP.timeout * 5);
    ask(&ben, &ada.remote()).await.expect("an answer");
}

#[tokio::test]
async fn stalled_handshakes_hold_up_nobody() {
    let ada = ada_knows(&[BEN]);
    // Twice as many as there is room for; they say nothing, or begin and stop.
    let mut stalled = Vec::new();
    for index in 0..2 * MAX_HANDSHAKES {
        let mut stream = TcpStream::connect(ada.address).await.expect("a connection");
        if index % 2 == 0 {
            // The head of a ClientHello of 512 bytes.
            stream
                .write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc])
                .await
                .expect("sent");
        }
        stalled.push(stream);
    }
    let started = Instant::now();
    ask(&client(BEN), &ada.remote()).await.expect("an answer");
    assert!(started.elapsed() < HANDSHAKE_TIME / 2, "no time-out passed");
    // The oldest made room, the newest runs into the time limit.
    let mut byte = [0];
    let mut first = stalled.swap_remove(1);
    let closed = tokio::time::timeout(HANDSHAKE_TIME / 2, first.read(&mut byte)).await;
    assert!(!matches!(closed, Ok(Ok(1..)) | Err(_)), "{closed:?}");
    let mut last = stalled.pop().expect("there are many");
    let closed = tokio::time::timeout(HANDSHAKE_TIME * 2, last.read(&mut byte)).await;
    assert!(!matches!(closed, Ok(Ok(1..)) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn one_peer_cannot_take_all_connections() {
    let ada = ada_knows(&[BEN, MALLORY]);
    let mallory = Stranger::new(&TLS13, Identity::Key(MALLORY));
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS_PER_PEER {
        let mut connection = mallory.connect(ada.address).await.expect("a connection");
        assert_eq!(strangers::ask(&mut connection).await, Ok(StatusCode::OK));
        open.push(connection);
    }
    let mut connection = mallory.connect(ada.address).await.expect("TLS is through");
    assert!(strangers::hung_up(&mut connection).await);
    ask(&client(BEN), &ada.remote()).await.expect("his own");
    // Places come back.
    open.clear();
    let deadline = Instant::now() + Duration::from_secs(5);
    while mallory.ask_or_hung_up(ada.address).await != Some(StatusCode::OK) {
        assert!(Instant::now() < deadline, "no place came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_question_that_stops_in_the_middle_is_given_up() {
    let ada = ada_knows(&[BEN]);
    let ben = Stranger::new(&TLS13, Identity::Key(BEN));
    let mut connection = ben.connect(ada.address).await.expect("a connection");
    let head = strangers::head(&SLEEP, 2);
    let status = strangers::status(&mut connection, &head).await;
    assert_eq!(status.expect("an answer"), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_head_that_stops_in_the_middle_holds_up_no_end() {
    let ada = ada_knows(&[BEN]);
    let ben = Stranger::new(&TLS13, Identity::Key(BEN));
    let mut connection = ben.connect(ada.address).await.expect("a connection");
    connection.write_all(b"POST /echo HTT").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(ada.stop);
    let ended = tokio::time::timeout(SHUTDOWN_TIME * 2, ada.serving).await;
    ended.expect("in time").expect("no panic").expect("an end");
}
