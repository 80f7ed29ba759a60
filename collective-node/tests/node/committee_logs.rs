//! A job that two of three key holders released, as an auditor sees it who reads their logs.

use std::path::PathBuf;
use std::time::Duration;

use crate::committee_world::CommitteeWorld;
use bytes::Bytes;
use collective::committee::log::{Log, LogEvent};
use collective_node::blobs::Blobs;
use collective_node::chain::facts::JobState;
use collective_node::client::{Client, GivenLog};
use collective_node::headers::Headers;
use collective_node::intake::join;
use collective_node::keyholder::Keyholder;
use collective_node::node::{Node, NodeConfig};
use collective_node::verify::{self, Asked, Verdict};
use tokio::net::TcpListener;
use url::Url;

async fn start_node(world: &CommitteeWorld) -> (Node, Client) {
    let config = NodeConfig {
        bucket: None,
        data: world.world.data.clone(),
        deployment: world.world.deployment,
        node: world.world.node_id,
        wire: None,
        required_layers: vec![],
        programs: Default::default(),
        connected: false,
        max_payload: None,
        private_places: Default::default(),
        ipfs_gateway: None,
        executable: PathBuf::from(env!("CARGO_BIN_EXE_collective")),
        poll: Duration::from_millis(10),
        batch_every: Duration::from_millis(20),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (keys, chain) = (world.world.keys.clone(), world.chain.client());
    let node = Node::start(config, keys, chain, listener).await;
    let node = node.expect("the node starts");
    let url = format!("http://{}", node.address());
    let client = Client::new(url.parse().expect("a URL"));
    (node, client.expect("a client"))
}

/// Starts all members, each with a door for everybody; where these are.
async fn start_members(world: &mut CommitteeWorld, source: &Client) -> Vec<Url> {
    let mut urls = Vec::new();
    for place in 0..world.seats.len() {
        let mut config = world.config(place, source);
        config.public = Some(([127, 0, 0, 1], 0).into());
        let keys = world.seats[place].keys.clone();
        let holder = Keyholder::start(config, keys, world.chain.client()).await;
        let holder = holder.expect("the member starts");
        let public = holder.public().expect("it shows itself");
        urls.push(format!("http://{public}").parse().expect("a URL"));
        let seat = &mut world.seats[place];
        seat.door.lead_to(Some(holder.address()));
        seat.holder = Some(holder);
    }
    urls
}

async fn verify(world: &CommitteeWorld, node: &Client, job: u64, urls: &[Url]) -> Verdict {
    let mut holders = Vec::new();
    for url in urls {
        holders.push(Asked::ask(url.clone()).await.expect("a client"));
    }
    let (blobs, headers) = (Blobs::of_node(node.clone()), Headers::Node(node.clone()));
    let verdict = verify::receipt(&world.reader, &blobs, &headers, job, &holders).await;
    verdict.expect("chain and blobs answer")
}

fn failed(verdict: &Verdict) -> Vec<String> {
    let failed = verdict.findings.iter().filter(|finding| !finding.holds);
    failed
        .map(|it| format!("{}: {}", it.what, it.seen))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_of_two_in_three_tell_who_released() {
    let mut world = CommitteeWorld::found(2, 3).await;
    let (node, client) = start_node(&world).await;
    for row in 0..5 {
        let (entry, file) = world.contribution(row, 0);
        client.contribute(join(&entry, &file)).await.expect("taken");
    }
    let view = node.view();
    let all = async || view.borrow().anchored().len() == 5;
    world.until("five are anchored", all).await;
    let urls = start_members(&mut world, &client).await;
    world.settle_in().await;
    let job = world.request().await;
    world.reaches(job, JobState::Completed).await;

    let verdict = verify(&world, &client, job, &urls).await;
    assert_eq!(failed(&verdict), Vec::<String>::new());
    let beyond = |verdict: &Verdict| verdict.beyond.last().expect("a sentence").clone();
    assert!(beyond(&verdict).contains("2 holders together could give without a line"));
    // Who gave nothing says nothing, and that is right.
    let idle = verdict
        .findings
        .iter()
        .filter(|finding| finding.seen == "it was in no quorum");
    assert_eq!(idle.count(), 1);
    let one = verify(&world, &client, job, &urls[..1]).await;
    assert!(beyond(&one).contains("1 of 3 logs were read, and the other holders are a quorum"));
    let none = verify(&world, &client, job, &[]).await;
    assert!(beyond(&none).contains("--holder"));

    // A member that gave writes down, and signs, that it gave the same for a job that there is not.
    let (place, mut log, event) = giver(&urls).await;
    log.note(1, of_another_job(event));
    let escrow = world.world.deployment.job_escrow();
    let signature = world.seats[place]
        .keys
        .sign(log.head().signing_hash(&escrow));
    let each = log.lines().iter();
    let lines = each.flat_map(|line| [line.to_bytes(), b"\n".into()].concat());
    let told = Asked {
        url: urls[place].clone(),
        given: Ok(GivenLog {
            head: log.head(),
            signature: Bytes::copy_from_slice(&signature.as_bytes()),
            lines: lines.collect(),
        }),
    };
    let (blobs, headers) = (Blobs::of_node(client.clone()), Headers::Node(client));
    let verdict = verify::receipt(&world.reader, &blobs, &headers, job, &[told]).await;
    let failed = failed(&verdict.expect("chain and blobs answer"));
    let found = "something was released that no job shows";
    assert!(failed.len() == 1 && failed[0].contains(found), "{failed:?}");
}

/// The first member with a line in its log, and that line's event.
async fn giver(urls: &[Url]) -> (usize, Log, LogEvent) {
    for (place, url) in urls.iter().enumerate() {
        let holder = Client::new(url.clone()).expect("a client");
        let given = holder.log().await.expect("a log");
        let log = Log::verify(&given.lines).expect("a whole log");
        if let Some(event) = log.lines().first().map(|line| line.event.clone()) {
            return (place, log, event);
        }
    }
    panic!("two members gave")
}

fn of_another_job(mut event: LogEvent) -> LogEvent {
    if let LogEvent::Released { job, .. } = &mut event {
        *job = 99;
    }
    event
}
