//! Who is let in, who is believed, and who is let in no more.

use super::*;

#[tokio::test]
async fn questions_share_a_connection_and_another_pin_never_does() {
    let ada = ada_knows(&[BEN]);
    let ben = client(BEN);
    for _ in 0..5 {
        ask(&ben, &ada.remote()).await.expect("an answer");
    }
    assert_eq!(ada.connections().len(), 1, "one connection for all five");
    // Ben holds an open connection to this address, and the chain now names another key for it.
    let rotated = remote(ada.address, pin(MALLORY));
    let error = ask(&ben, &rotated).await.expect_err("another key");
    assert!(matches!(error, WireError::AnotherKey { .. }), "{error}");
    ask(&ben, &ada.remote()).await.expect("still her key");
    assert_eq!(ada.connections().len(), 1);
}

#[tokio::test]
async fn a_server_with_another_key_is_told_from_the_right_one_by_both_pins() {
    let ada = ada_knows(&[BEN]);
    let error = ask(&client(BEN), &remote(ada.address, pin(MALLORY)))
        .await
        .expect_err("not the pinned key");
    match &error {
        WireError::AnotherKey { remote, found } => {
            assert_eq!((remote.pin(), *found), (pin(MALLORY), pin(ADA)));
        }
        other => panic!("{other}"),
    }
    let text = error.to_string();
    assert!(text.contains(&pin(MALLORY).to_string()), "{text}");
    assert!(text.contains(&pin(ADA).to_string()), "{text}");
    assert_eq!(error.fault(), Fault::Peer);
    assert!(ada.connections().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn an_unknown_client_is_refused_and_told_so() {
    let ada = ada_knows(&[BEN]);
    // Often, because the refusal races with the question.
    for _ in 0..50 {
        let error = ask(&client(MALLORY), &ada.remote())
            .await
            .expect_err("not on the list");
        match &error {
            WireError::NotAllowed { own, .. } => assert_eq!(*own, pin(MALLORY)),
            other => panic!("{other}"),
        }
        assert_eq!(error.fault(), Fault::Operator);
    }
    assert!(ada.connections().is_empty(), "no handler ran");
}

#[tokio::test]
async fn a_client_that_sends_much_is_refused_with_the_reason_too() {
    let ada = ada_knows(&[BEN]);
    let big = Exchange {
        max_request_bytes: 8 * 1024 * 1024,
        ..ECHO
    };
    let big: &'static Exchange = Box::leak(Box::new(big));
    let body = Bytes::from(vec![0; big.max_request_bytes]);
    let error = client(MALLORY)
        .post(&ada.remote(), big, body)
        .await
        .expect_err("not on the list");
    assert!(matches!(error, WireError::NotAllowed { .. }), "{error}");
}

#[tokio::test]
async fn a_client_without_a_key_is_refused() {
    let ada = ada_knows(&[BEN]);
    let refused = Stranger::new(&TLS13, Identity::None).ask(ada.address).await;
    assert_eq!(refused, Err(AlertDescription::HandshakeFailure));
    // One that says it has a raw key, and then shows none.
    let silent = Stranger::new(&TLS13, Identity::Withheld);
    let refused = silent.ask(ada.address).await;
    assert_eq!(refused, Err(AlertDescription::CertificateRequired));
    // The same client with a key on the list gets through, so it was the key.
    let answered = Stranger::new(&TLS13, Identity::Key(BEN))
        .ask(ada.address)
        .await;
    assert_eq!(answered, Ok(StatusCode::OK));
}

#[tokio::test]
async fn a_client_that_borrows_a_public_key_is_refused() {
    let ada = ada_knows(&[BEN]);
    // Ben's pin is public, his key is not: Mallory shows the first and signs with the own.
    let thief = Identity::Borrowed {
        shown: BEN,
        held: MALLORY,
    };
    let refused = Stranger::new(&TLS13, thief).ask(ada.address).await;
    assert_eq!(refused, Err(AlertDescription::DecryptError));
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused() {
    let ada = ada_knows(&[BEN]);
    let old: &'static SupportedProtocolVersion = &TLS12;
    let refused = Stranger::new(old, Identity::Key(BEN))
        .ask(ada.address)
        .await;
    assert_eq!(refused, Err(AlertDescription::ProtocolVersion));
}

#[tokio::test]
async fn no_session_is_resumed() {
    let ada = ada_knows(&[BEN]);
    // This client would resume if it got a ticket.
    let stranger = Stranger::new(&TLS13, Identity::Key(BEN));
    for _ in 0..2 {
        assert_eq!(stranger.ask(ada.address).await, Ok(StatusCode::OK));
        assert_eq!(stranger.tickets(), 0);
    }
    ada.forget(BEN);
    let refused = stranger.ask(ada.address).await;
    assert_eq!(refused, Err(AlertDescription::CertificateUnknown));
}

#[tokio::test]
async fn plain_http_gets_nothing() {
    let ada = ada_knows(&[BEN]);
    let mut stream = TcpStream::connect(ada.address).await.expect("a connection");
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: ada\r\ncontent-length: 0\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // At most a TLS alert record (RFC 8446, 5.1: type 21, seven bytes), no HTTP.
    assert!(answer.len() <= 7, "{answer:?}");
    assert!(answer.first().is_none_or(|first| *first == 21));
    assert!(ada.connections().is_empty());
}

#[tokio::test]
async fn a_server_that_speaks_plain_http_is_no_node() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nno TLS here")
                .await;
        }
    });
    let error = ask(&client(BEN), &remote(address, pin(ADA)))
        .await
        .expect_err("no TLS");
    assert!(matches!(error, WireError::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn a_removed_peer_is_refused_on_open_and_on_new_connections() {
    let ada = ada_knows(&[BEN, MALLORY]);
    let (ben, mallory) = (client(BEN), client(MALLORY));
    ask(&ben, &ada.remote()).await.expect("an answer");
    ask(&mallory, &ada.remote()).await.expect("not caught yet");
    ada.forget(MALLORY);
    let error = ask(&mallory, &ada.remote()).await.expect_err("removed");
    match &error {
        // On the connection that was open.
        WireError::Refused { problem, .. } => assert_eq!(problem.status, 403),
        other => panic!("{other}"),
    }
    assert_eq!(error.fault(), Fault::Operator);
    // That one was closed with the refusal; the next one is not even opened.
    let error = ask(&mallory, &ada.remote()).await.expect_err("removed");
    assert!(matches!(error, WireError::NotAllowed { .. }), "{error}");
    ask(&ben, &ada.remote()).await.expect("he may still");
}

#[tokio::test]
async fn a_path_that_nobody_serves_is_refused_after_the_key() {
    let ada = ada_knows(&[BEN]);
    let nowhere: &'static Exchange = Box::leak(Box::new(Exchange {
        path: "/nowhere",
        ..ECHO
    }));
    let ben = client(BEN);
    let refused = async |expected: u16| {
        let error = ben
            .post(&ada.remote(), nowhere, Bytes::new())
            .await
            .expect_err("no such path");
        match error {
            WireError::Refused { problem, .. } => assert_eq!(problem.status, expected),
            other => panic!("{other}"),
        }
    };
    refused(404).await;
    ada.forget(BEN);
    refused(403).await;
}
