//! Files that their contributors keep behind a password (WebDAV) and in IPFS: who is shown the password, what a gateway may do, and
//! whose fault it is when it does not; and that the members have to allow it.

use crate::by_hand;
use crate::kept;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Instant;

use crate::by_hand::refusal;
use crate::kept::{Answer, Kept, Server, TOKEN, basic};
use collective::contribution::{Place, PlaceUrl};
use collective_node::contributor::{outline, place, prepare, sign, split_file};
use collective_node::intake::ConnectedUpload;

const CID: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";

/// What a gateway has to ask nobody for, and what it is.
const PROBE: (&str, &[u8]) = ("ipfs/bafkqabtimvwgy3yk", b"hello\n");

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_shown_to_its_origin_alone() {
    let mut kept = Kept::start();
    kept.seal();
    let (server, other) = (kept.server.clone(), Server::start());
    let listed = format!("{}\"]", server.address);
    let both = format!("{}\", \"{}\"]", server.address, other.address);
    kept.configure(&listed, &both);
    let own = format!("http://me:{TOKEN}@{}", server.address);
    let file = kept.file.clone();
    let locked = Answer::Locked(basic(), file.clone());

    // Nobody is asked who is not public, or over http and not listed, whatever stands before the @.
    let inside = TcpListener::bind("127.0.0.1:0").expect("a port");
    inside.set_nonblocking(true).expect("a socket");
    let port = inside.local_addr().expect("an address").port();
    let not_public = "none of the public internet";
    for (url, words) in [
        (format!("https://me:{TOKEN}@127.0.0.1:{port}/"), not_public),
        (
            format!("https://{}:{TOKEN}@127.0.0.1:{port}/", server.address.ip()),
            not_public,
        ),
        (format!("http://me:{TOKEN}@127.0.0.1:{port}/"), "only https"),
    ] {
        kept.refuses_place(&url, words);
        kept.refuses(Answer::To(url), "an address with a user name or password");
    }
    let spoken_to = inside.accept().expect_err("nobody came");
    assert_eq!(spoken_to.kind(), ErrorKind::WouldBlock);

    server.set("dav/record.age", locked.clone());
    kept.refuses_place(
        &format!("http://{}/dav/record.age", server.address),
        "answered 401",
    );
    let wrong = format!("http://me:{TOKEN}2@{}/dav/record.age", server.address);
    kept.refuses_place(&wrong, "answered 401");

    // Within the origin it goes along, to another it does not: this one is as much listed as the first.
    other.set("record.age", Answer::Status(404));
    server.set(
        "away",
        Answer::To(format!("http://{}/record.age", other.address)),
    );
    kept.refuses_place(&format!("{own}/away"), "answered 404");
    assert_eq!(
        other
            .shown
            .lock()
            .expect("no panic")
            .drain(..)
            .collect::<Vec<_>>(),
        [None]
    );
    server.set("moved", Answer::To("/dav/record.age".into()));
    let leaf = kept.contributed(&format!("{own}/moved"));

    // An audit shows it, too, and a move to where nothing is asked for forgets it.
    server.shown.lock().expect("no panic").clear();
    kept.next_day(true).await;
    assert_eq!(kept.standing(&leaf), ("held".into(), true));
    let shown: Vec<_> = server.shown.lock().expect("no panic").drain(..).collect();
    assert!(
        !shown.is_empty() && shown.iter().all(|it| *it == Some(basic())),
        "{shown:?}"
    );
    other.set("record.age", Answer::File(file));
    let key = kept.world.key("contributor-0");
    let url = format!("http://{}/record.age", other.address);
    kept.world.json(&format!(
        "contributions place {leaf} --place {url} --key {key}"
    ));
    assert!(
        other
            .shown
            .lock()
            .expect("no panic")
            .iter()
            .all(Option::is_none)
    );
    kept.has_kept_the_secret();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_not_believed_and_its_failures_cost_no_contributor() {
    let mut kept = Kept::start();
    kept.seal();
    let (server, file) = (kept.server.clone(), kept.file.clone());
    let (path, url) = (
        format!("ipfs/{CID}/record.age"),
        format!("ipfs://{CID}/record.age"),
    );
    kept.refuses_place(&url, "its operator names no gateway");

    // One that is neither public nor listed is none that a node starts with.
    let config = kept.world.path("node.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let unlisted = kept.world.path("unlisted.toml");
    let gateway = "ipfs_gateway = \"https://127.0.0.1:1\"\n";
    std::fs::write(&unlisted, format!("{text}{gateway}")).expect("a written file");
    kept.node = None;
    let started = kept.world.run(&format!("node --config {unlisted}"));
    refusal(started, "a gateway inside", "has to be in private_places");
    let was = "connected = true\n";
    let is = format!("{was}ipfs_gateway = \"http://{}\"\n", server.address);
    kept.configure(was, &is);

    let (probe, expected) = PROBE;
    server.set(probe, Answer::File(expected.to_vec()));
    let refuses = |answer: Answer, words: &str| {
        server.set(&path, answer);
        kept.refuses_place(&url, words);
    };
    let mut bent = file.clone();
    *bent.last_mut().expect("a byte") ^= 4;
    refuses(Answer::Status(404), "answered 404");
    refuses(Answer::File(bent), "bytes are not those");
    refuses(Answer::Slow, "took too long");
    let inside = format!("https://127.0.0.1:{}/", server.address.port() ^ 1);
    refuses(Answer::To(inside), "none of the public internet");
    names_content_and_nothing_else(&kept).await;

    // What it does not give for itself, or where it does not even have what it has to ask nobody for, is its operator's fault.
    let is_operators = |words: &str| {
        let refused = kept.contribute(&url);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains("fault: operator"), "{error}");
        refusal(refused, words, words);
    };
    for status in [401, 403, 429, 502, 503, 504] {
        server.set(&path, Answer::Status(status));
        is_operators(&format!("gateway answered {status}"));
    }
    let is_down = |server: &Server| {
        server.set(&path, Answer::Status(502));
        server.set(probe, Answer::Status(502));
    };
    is_down(&server);
    is_operators("gateway does not work");
    // It is asked before anything is taken in: what it loses later would never be noticed.
    server.set(&path, Answer::Whole(file.clone()));
    is_operators("gateway does not work");

    server.set(probe, Answer::File(expected.to_vec()));
    let leaf = kept.contributed(&url);
    kept.next_day(true).await;
    assert_eq!(kept.standing(&leaf), ("held".into(), true));
    is_down(&server);
    for _ in 0..3 {
        kept.next_day(false).await;
        assert_eq!(kept.standing(&leaf), ("unasked".into(), false));
    }
    server.set(probe, Answer::File(expected.to_vec()));
    server.set(&path, Answer::File(file.clone()));
    kept.next_day(true).await;
    let standing = kept.standing(&leaf);
    assert_eq!(
        standing,
        ("held".into(), true),
        "three days away would cost it"
    );
    // Where nothing comes through it at all it may as well be the gateway.
    server.set(&path, Answer::Status(404));
    kept.next_day(false).await;
    assert_eq!(kept.standing(&leaf), ("unasked".into(), false));
    another_comes_through(&kept).await;
    kept.next_day(false).await;
    assert_eq!(
        kept.standing(&leaf),
        ("error".into(), true),
        "one day is borne"
    );
}

/// Somebody else's file, below the same identifier.
async fn another_comes_through(kept: &Kept) {
    let (client, deployment) = (kept.client(), kept.deployment());
    let answer = client.collective().await.expect("a collective");
    let recipient = answer.recipient.parse().expect("a recipient");
    let to = kept::destination(&deployment, &recipient);
    let account = kept.account("contributor-1");
    let sealed = prepare(
        &to,
        &account,
        7,
        b"0,7,7,1,6,6,36,3,1,1\n",
        &mut rand::rng(),
    );
    let (entry, file) = sealed.expect("sealed");
    let (header, _) = split_file(&file).expect("a sealed file");
    let outline = outline(&file[..]).expect("bytes").expect("a sealed file");
    let leaf = entry.contribution.leaf();
    let url = PlaceUrl::try_from(format!("ipfs://{CID}/other.age"));
    let at = Place {
        leaf,
        number: 1,
        url: url.expect("printable"),
    };
    let upload = ConnectedUpload {
        entry,
        header: header.to_vec().into(),
        outline: outline.to_bytes().into(),
        place: place(&deployment, &account, at),
    };
    let path = format!("ipfs/{CID}/other.age");
    kept.server.set(&path, Answer::File(file));
    client.connect(&upload).await.expect("taken in");
    kept.world.json(&format!("contributions {leaf} --wait"));
}

/// What a client of another make sends the node refuses as well.
async fn names_content_and_nothing_else(kept: &Kept) {
    let (client, deployment) = (kept.client(), kept.deployment());
    let answer = client.collective().await.expect("a collective");
    let recipient = answer.recipient.parse().expect("a recipient");
    let to = kept::destination(&deployment, &recipient);
    let account = kept.account("contributor-0");
    let entry = sign(&to, &account, 7, &kept.file[..]).expect("a sealed file");
    let (header, _) = split_file(&kept.file).expect("a sealed file");
    let outline = outline(&kept.file[..])
        .expect("bytes")
        .expect("a sealed file");
    let no_content = "it is no ipfs://CID/path";
    for (url, words) in [
        ("ipfs://127.0.0.1/record.age".to_owned(), no_content),
        (format!("ipfs://me:{TOKEN}@{CID}/"), no_content),
        (format!("ipfs://{CID}/record.age?format=car"), no_content),
        (format!("ipfs://{CID}/..\\..\\record.age"), "leads out"),
        (format!("ipfs://{CID}/..%2f..%2frecord.age"), "leads out"),
        (format!("https://m%E9:{TOKEN}@cloud.example/"), "no UTF-8"),
    ] {
        let at = Place {
            leaf: entry.contribution.leaf(),
            number: 1,
            url: PlaceUrl::try_from(url.clone()).expect("printable"),
        };
        let upload = ConnectedUpload {
            entry: entry.clone(),
            header: header.to_vec().into(),
            outline: outline.to_bytes().into(),
            place: place(&deployment, &account, at),
        };
        let said = client
            .connect(&upload)
            .await
            .expect_err("refused")
            .to_string();
        assert!(said.contains(words), "{url}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_what_the_charter_does_not_let_them_keep() {
    let mut kept = Kept::start();
    kept.seal();
    kept.server.set("record", Answer::File(kept.file.clone()));
    let answer = kept.client().collective().await.expect("a collective");
    let mut charter = answer.charter.expect("a charter");
    assert!(charter.may_be_kept("anes96"));
    charter.connected.clear();
    let file: PathBuf = kept.folder.path().join("charter.json");
    std::fs::write(&file, charter.to_bytes()).expect("a written file");
    let founder = kept.world.key("founder-0");
    let opened = kept.world.json(&format!(
        "propose --charter {} --key {founder}",
        file.display()
    ));
    let proposal = [opened["proposal"].as_str().expect("an id")];
    kept.world.agree(&proposal);
    // What was allowed when the look at a place began is looked at again at its end.
    let runtime = tokio::runtime::Handle::current();
    let late = tokio::task::block_in_place(|| {
        let is_set = || {
            let answer = runtime.block_on(kept.client().collective());
            let charter = answer.expect("a collective").charter;
            !charter.expect("a charter").may_be_kept("anes96")
        };
        kept.while_looked_at(
            |url| kept.contribute(url),
            || {
                kept.world.execute(&proposal);
                let began = Instant::now();
                while !is_set() {
                    assert!(began.elapsed() < by_hand::PATIENCE, "it is not set");
                    kept.world.pass("12");
                }
            },
        )
    });
    refusal(late, "looked at", "the charter lets nobody keep");
    let asked = || kept.server.asked.lock().expect("no panic").len();
    let before = asked();
    kept.refuses_place(&kept.server.url("record"), "the charter lets nobody keep");
    assert_eq!(asked(), before, "no place is asked");
    // Sent whole, it is taken.
    let sealed = kept.folder.path().join("record.age");
    kept.world
        .json(&format!("{} --sealed {}", kept.terms(), sealed.display()));
}
