//! The ML-KEM half of the key is renewed: what was sealed before opens while it counts, who has left is out, and nobody keeps
//! the old seed.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::ceremony_world::{CeremonyWorld, copy};
use alloy::primitives::{B256, Signature};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket, ResponsePayload};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use alloy::transports::http::{Http, reqwest};
use alloy::transports::{TransportError, TransportFut};
use bytes::Bytes;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::plan::Plan;
use collective::committee::log::LogEvent;
use collective::committee::rewrap::{RewrapHead, RewrapRecord, Rewrapped};
use collective::contribution::SignedContribution;
use collective::epochs::RENEWAL_GRACE;
use collective::limits::MAX_MEMBERS;
use collective::seal::tagged::{MlKemKey, TaggedRecipient};
use collective_contracts::NodeRegistry::{CommitteeAccepted, CommitteePublished};
use collective_node::blobs::Blobs;
use collective_node::chain::Chain;
use collective_node::contributor::{Destination, prepare, revocation};
use collective_node::convening::ConveneError;
use collective_node::demo::{TERMS_EXPIRE, election};
use collective_node::follower::{FollowError, Follower};
use collective_node::headers::Headers;
use collective_node::holder::RenewalStatus;
use collective_node::holder::ceremony::question;
use collective_node::holder::serve::{CEREMONY, HolderStatus, RECORD, REWRAPPED, STATUS};
use collective_node::intake::join;
use collective_node::keystore::SignedRecord;
use collective_node::ledger::{Held, Kept, Ledger};
use collective_node::wire::{Exchange, Remote};
use tower::Service;

/// Two of three hand the key on to three of four and renew it; later it is renewed again, with who had left, and handed on
/// to one who never saw an old seed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_before_a_renewal_opens_after_it_and_the_old_seed_is_gone() {
    let mut at = CeremonyWorld::found(6).await;
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1, 2]), 2, 0).await;
    at.hold(plan.expect("a plan")).await.expect("a committee");
    let first = at.world.recipient().expect("a committee");
    for row in 0..5 {
        at.contribute(row).await;
    }
    at.all_anchored(5).await;
    assert_eq!(at.run().await, 5);

    // Renewed: member 0 leaves, 3 and 4 come.
    let plan = convening.plan_renewal(&at.ids(&[1, 2, 3, 4]), 3, 0).await;
    let plan = plan.expect("a plan");
    let epoch = plan.proposal().epoch;
    at.convene(&plan).await;
    at.hold(plan).await.expect("a renewed key");
    let second = at.world.recipient().expect("a committee");
    assert_eq!(second.point(), first.point());
    assert_ne!(second, first);
    at.only_epoch(&[1, 2, 3, 4], epoch).await;
    at.until("who has left keeps nothing", async || {
        at.epochs(0).is_empty()
    })
    .await;

    // While the old key's time runs, both open.
    at.contribute(5).await;
    at.all_anchored(6).await;
    assert_eq!(at.run().await, 6);
    for number in 1..5 {
        let stands = renewal(&at, number).await;
        assert_eq!((stands.epoch, stands.record), (epoch, None));
        assert!(stands.old_seed, "member {number} has lost the old seed");
    }
    // An upload to the old key is refused; what was taken in before and is anchored late counts.
    let (entry, file) = sealed(&at, 6, &first);
    let refused = at.world.client.contribute(join(&entry, &file)).await;
    let refused = refused.expect_err("the key is replaced").to_string();
    assert!(refused.contains("has replaced"), "{refused}");
    taken_in_before(&at, entry, file).await;
    at.all_anchored(7).await;
    assert_eq!(at.run().await, 7);
    // No share is dealt meanwhile.
    let plan = convening.plan_reshare(&at.ids(&[1, 2, 3, 4]), 3, 0).await;
    refused_until_over(&at, plan.expect("a plan")).await;

    // Respondent 0 takes back what was given; then the time is over.
    revoke(&at, 0).await;
    let seeds = at.folder.path().join("seeds");
    copy(&at.members[1].folder.join("keys.renewals"), &seeds);
    at.world.wait(RENEWAL_GRACE + 1).await.expect("an hour");
    at.world.chain.finalize().await.expect("final");
    let record = all_erased(&at, &[1, 2, 3, 4], epoch).await;
    let opened = at.members[2].keys.renewals().record(epoch).expect("kept");
    let share = at.members[2].keys.shares().newest().expect("a share");
    let opened = opened.record.open(share.ml_kem()).expect("its own");
    assert_eq!(opened.len(), 5, "the revoked one is closed for good");
    assert_eq!(at.run().await, 6);
    let (entry, file) = sealed(&at, 7, &first);
    taken_in_before(&at, entry, file).await;
    at.contribute(8).await;
    at.all_anchored(8).await;
    at.until("the late one is anchored, too", async || {
        at.world.view().expect("a node").index.len() == 9
    })
    .await;
    assert_eq!(
        at.run().await,
        7,
        "what is anchored too late does not count"
    );

    // The power goes at each step: with the record written and the seed there, and with zeros that no line tells of.
    for zeros in [false, true] {
        at.stop(1).await;
        let name = format!("epoch-{epoch}.seed.age");
        let mut seed = std::fs::read(seeds.join(&name)).expect("a seed");
        if zeros {
            seed.fill(0);
        }
        let put_back = at.members[1].folder.join("keys.renewals").join(&name);
        std::fs::write(&put_back, seed).expect("put back");
        at.stop(1).await;
        at.start(1).await.expect("it starts");
        at.until("the seed is erased again", async || !put_back.exists())
            .await;
        assert_eq!(erasures(&at, 1, epoch), [record]);
    }
    for number in 2..5 {
        at.stop(number).await;
        at.start(number).await.expect("it starts");
    }
    assert_eq!(at.run().await, 7);

    // Renewed again, with member 0: it takes no part before it has the record, and the record needs t signatures.
    let plan = convening.plan_renewal(&at.ids(&[1, 2, 3, 0]), 3, 0).await;
    let plan = plan.expect("a plan");
    let next = plan.proposal().epoch;
    at.convene(&plan).await;
    let said = ask(&at, 0, &CEREMONY, question(&plan, &Ask::Commit)).await;
    assert!(said.is_err_and(|said| said.contains("neither the ML-KEM seed")));
    records_that_are_not_signed(&at, epoch).await;
    at.hold(plan).await.expect("a key renewed twice");
    let third = at.world.recipient().expect("a committee");
    assert_eq!(third.point(), first.point());
    at.contribute(10).await;
    at.all_anchored(9).await;
    assert_eq!(at.run().await, 8);
    // Member 3 loses the record before: it makes none that lacks what is in there, and keeps the seed until it has another's.
    at.stop(3).await;
    let name = format!("keys.renewals/epoch-{epoch}.record");
    std::fs::remove_file(at.members[3].folder.join(name)).expect("kept");
    at.stop(3).await;
    at.start(3).await.expect("it starts");
    at.world.wait(RENEWAL_GRACE + 1).await.expect("an hour");
    at.world.chain.finalize().await.expect("final");
    all_erased(&at, &[0, 1, 2], next).await;
    let stands = renewal(&at, 3).await;
    assert_eq!((stands.record, stands.old_seed), (None, true));
    let whole = whole_record(&at, &[0, 1, 2], next).await;
    let given = ask(&at, 3, &REWRAPPED, whole.to_bytes().into()).await;
    given.expect("it takes the others' record");
    all_erased(&at, &[0, 1, 2, 3], next).await;
    assert_eq!(at.run().await, 8);
    assert!(at.members[1].keys.renewals().record(epoch).is_none());

    // Member 2 keeps signatures of nobody, and as many as fit.
    at.stop(2).await;
    let path = format!("keys.renewals/epoch-{next}.record");
    let path = at.members[2].folder.join(path);
    let kept = std::fs::read(&path).expect("a record");
    let mut kept = SignedRecord::parse(&kept).expect("a record");
    let junk = (1..=MAX_MEMBERS).map(|n| {
        let digest = B256::repeat_byte(u8::try_from(n).expect("a few"));
        at.members[5].keys.sign(digest)
    });
    kept.signatures = junk.collect();
    std::fs::write(&path, kept.to_bytes()).expect("written");
    at.stop(2).await;
    at.start(2).await.expect("it starts");

    // Handed on: who comes last never had an old seed, and opens everything with the others.
    let plan = convening.plan_reshare(&at.ids(&[5, 1, 0]), 2, 0).await;
    let plan = plan.expect("a plan");
    let last = plan.proposal().epoch;
    at.convene(&plan).await;
    at.hold(plan).await.expect("a smaller committee");
    assert_eq!(at.world.recipient().expect("a committee"), third);
    at.only_epoch(&[5, 1, 0], last).await;
    for number in [5, 1, 0] {
        let record = at.members[number].keys.renewals().record(next);
        let signed = record.expect("handed over").signatures.len();
        assert_eq!(signed, 3, "member {number} has those of 0, 1 and 2");
    }
    at.stop(1).await;
    assert_eq!(at.run().await, 8);
    assert!(erasures(&at, 5, next).is_empty());
}

/// Of four ceremonies from one committee the collective accepts one, whose end did not reach a member: it has share and old
/// seed from what it certified. What the others left behind of the old seed goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn no_copy_of_the_old_seed_outlives_it_whatever_ceremonies_came_to_nothing() {
    let mut at = CeremonyWorld::found(3).await;
    let members = at.ids(&[0, 1, 2]);
    let convening = at.convening().await;
    let plan = convening.plan_new(&members, 2, 0).await;
    at.hold(plan.expect("a plan")).await.expect("a committee");
    for row in 0..4 {
        at.contribute(row).await;
    }
    at.all_anchored(4).await;
    let mut held = Vec::new();
    for (attempt, renewed) in [true, true, true, false].into_iter().enumerate() {
        let attempt = u32::try_from(attempt).expect("a few");
        let plan = match renewed {
            true => convening.plan_renewal(&members, 2, attempt).await,
            false => convening.plan_reshare(&members, 2, attempt).await,
        };
        let certified = convening.hold(plan.expect("a plan")).await;
        held.push(certified.expect("a committee"));
    }
    let (chosen, epoch) = (&held[1], held[1].plan.proposal().epoch);
    assert_eq!(at.epochs(0).len(), 5, "the one in use and four more");
    at.stop(0).await;
    let folder = at.members[0].folder.clone();
    for file in ["shares/epoch-4.age", "renewals/epoch-4.seed.age"] {
        std::fs::remove_file(folder.join(format!("keys.{file}"))).expect("kept");
    }
    at.stop(0).await;
    at.start(0).await.expect("it starts");
    let by = at.world.provider(&at.world.deployer);
    let published = convening.publish(&by, chosen).await.expect("published");
    assert_eq!(epoch, 4);
    at.accept(published).await;
    at.until("the old shares are gone", async || {
        (0..3).all(|number| at.epochs(number) == [4, 5, 6])
    })
    .await;
    assert_eq!(at.run().await, 4);
    at.world.wait(RENEWAL_GRACE + 1).await.expect("an hour");
    at.world.chain.finalize().await.expect("final");
    all_erased(&at, &[0, 1, 2], epoch).await;
    for number in 0..3 {
        // Epoch 5 was to be renewed, too: its share has another key, which nobody accepted.
        assert_eq!(at.epochs(number), [4, 5]);
        let kept = at.members[number].folder.join("keys.ceremonies");
        assert_eq!(std::fs::read_dir(kept).expect("a folder").count(), 0);
    }
    // The power goes between the zeros and the end of a seed that was never renewed: the record of the one that was stays.
    at.stop(0).await;
    let zeros = folder.join("keys.renewals/epoch-5.seed.age");
    std::fs::write(&zeros, [0; 64]).expect("put back");
    at.stop(0).await;
    at.start(0).await.expect("it starts");
    at.until("the zeros are gone", async || !zeros.exists())
        .await;
    assert!(at.members[0].keys.renewals().record(epoch).is_some());
    assert!(erasures(&at, 0, 5).is_empty());
    assert_eq!(at.run().await, 4);
}

/// Of two ceremonies from one committee the one that renewed is accepted, then the one that did not, which brings the old key
/// back: every copy that is left of either key stays.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_erased_once_an_earlier_key_came_back() {
    let mut at = CeremonyWorld::found(3).await;
    let members = at.ids(&[0, 1, 2]);
    let convening = at.convening().await;
    let plan = convening.plan_new(&members, 2, 0).await;
    at.hold(plan.expect("a plan")).await.expect("a committee");
    let first = at.world.recipient().expect("a committee");
    for row in 0..4 {
        at.contribute(row).await;
    }
    at.all_anchored(4).await;
    let plan = convening.plan_renewal(&members, 2, 0).await;
    let renewed = convening.hold(plan.expect("a plan")).await;
    let renewed = renewed.expect("a renewed key");
    let plan = convening.plan_reshare(&members, 2, 1).await;
    let refreshed = convening.hold(plan.expect("a plan")).await;
    let refreshed = refreshed.expect("a committee");
    let by = at.world.provider(&at.world.deployer);
    let published = convening.publish(&by, &renewed).await.expect("published");
    at.accept(published).await;
    at.until("the old shares are gone", async || {
        (0..3).all(|number| at.epochs(number) == [3, 4])
    })
    .await;
    let published = convening.publish(&by, &refreshed).await.expect("published");
    // The vote takes longer than the old key's last hour: whoever looked in between would rightly erase what nobody accepted yet.
    for number in 0..3 {
        at.stop(number).await;
    }
    at.accept(published).await;
    for number in 0..3 {
        at.start(number).await.expect("it starts");
    }
    assert_eq!(at.world.recipient().expect("a committee"), first);
    at.world.wait(RENEWAL_GRACE + 1).await.expect("an hour");
    at.world.chain.finalize().await.expect("final");
    // Members look after their shares several times meanwhile.
    assert_eq!(at.run().await, 4);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for number in 0..3 {
        assert_eq!(at.epochs(number), [3, 4], "member {number}");
        let seeds = at.members[number].keys.renewals().with_seed();
        assert_eq!(seeds, [3], "member {number}");
    }
    assert_eq!(at.run().await, 4);
}

/// What a member of the committee whose key was never renewed, or not yet for good, refuses to take for a record.
async fn records_that_are_not_signed(at: &CeremonyWorld, epoch: u64) {
    let whole = whole_record(at, &[1, 2, 3, 4], epoch).await;
    assert_eq!(whole.signatures.len(), 4);
    let take = async |record: &RewrapRecord, signatures: &[Signature]| {
        let given = SignedRecord {
            record: record.clone(),
            signatures: signatures.to_vec(),
        };
        ask(at, 0, &REWRAPPED, given.to_bytes().into()).await
    };
    let [one, two, ..] = whole.signatures[..] else {
        panic!("four signatures");
    };
    let digest = whole.record.signing_hash();
    let stranger = at.members[5].keys.sign(digest);
    let left = at.members[0].keys.sign(digest);
    for signatures in [
        &[][..],
        &[one, two],
        &[one, two, two],
        &[one, two, stranger],
        &[one, two, left],
    ] {
        let said = take(&whole.record, signatures).await.expect_err("refused");
        assert!(said.contains("have signed the record"), "{said}");
    }
    // Signatures under other bytes, and a record of another epoch or place.
    let key = MlKemKey::from_seed(&[1; 64]);
    let other = |change: fn(&mut RewrapHead)| {
        let mut head = *whole.record.head();
        change(&mut head);
        RewrapRecord::make(head, &key, &key, &Rewrapped::default()).expect("empty")
    };
    let forged = other(|_| {});
    let said = take(&forged, &whole.signatures).await.expect_err("refused");
    assert!(said.contains("have signed the record"), "{said}");
    for record in [
        other(|head| head.epoch -= 1),
        other(|head| head.chain_id += 1),
        other(|head| head.collective.0[0] ^= 1),
        other(|head| head.node_registry.0[0] ^= 1),
    ] {
        let said = take(&record, &whole.signatures).await.expect_err("refused");
        assert!(said.contains("renewed no key"), "{said}");
    }
    let cut = Bytes::from_static(&[0, 1, 2]);
    let said = ask(at, 0, &REWRAPPED, cut).await.expect_err("refused");
    assert!(said.contains("not a signed record"), "{said}");
    assert!(at.members[0].keys.renewals().record(epoch).is_none());
}

/// The record that these members keep, with the signatures of all.
async fn whole_record(at: &CeremonyWorld, numbers: &[usize], epoch: u64) -> SignedRecord {
    let mut whole: Option<SignedRecord> = None;
    for &number in numbers {
        let body = Bytes::copy_from_slice(&epoch.to_be_bytes());
        let answer = ask(at, number, &RECORD, body).await.expect("a record");
        let said = SignedRecord::parse(&answer).expect("a record");
        match &mut whole {
            None => whole = Some(said),
            Some(whole) => {
                assert_eq!(whole.record, said.record);
                whole.signatures.extend(said.signatures);
            }
        }
    }
    whole.expect("members")
}

async fn refused_until_over(at: &CeremonyWorld, plan: Plan) {
    match at.convening().await.hold(plan).await {
        Err(ConveneError::GivenUp(refusals)) => {
            for (_, why) in refusals {
                assert!(why.contains("no share is dealt before"), "{why}");
            }
        }
        other => panic!(
            "{:?}",
            other.map(|_| "a committee").map_err(|e| e.to_string())
        ),
    }
}

/// Waits until these members have wrapped anew and erased, says the digest of the one record, and looks at disks and logs.
async fn all_erased(at: &CeremonyWorld, numbers: &[usize], epoch: u64) -> B256 {
    let mut records = Vec::new();
    for &number in numbers {
        let what = format!("member {number} has erased the old seed");
        at.until(&what, async || {
            let stands = renewal(at, number).await;
            stands.epoch == epoch && stands.record.is_some() && !stands.old_seed
        })
        .await;
        at.until("the log says so", async || {
            !erasures(at, number, epoch).is_empty()
        })
        .await;
        let record = renewal(at, number).await.record.expect("a record");
        assert_eq!(erasures(at, number, epoch), [record]);
        records.push(record);
        let folder = at.members[number].folder.join("keys.renewals");
        let only = [format!("epoch-{epoch}.record")];
        at.until("the record alone is left", async || {
            let left = std::fs::read_dir(&folder).expect("a folder").map(|entry| {
                let name = entry.expect("an entry").file_name();
                name.into_string().expect("a name")
            });
            left.collect::<Vec<String>>() == only
        })
        .await;
    }
    records.dedup();
    assert_eq!(records.len(), 1, "members have made different records");
    records[0]
}

/// The records named in the lines that tell of an erased seed.
fn erasures(at: &CeremonyWorld, number: usize, epoch: u64) -> Vec<B256> {
    let log = std::fs::read(at.members[number].folder.join("holder.log")).expect("a log");
    let log = collective::committee::log::Log::verify(&log).expect("a whole log");
    let lines = log.lines().iter();
    let told = lines.filter_map(|line| match line.event {
        LogEvent::SeedErased { epoch: of, record } if of == epoch => Some(record),
        _ => None,
    });
    told.collect()
}

async fn renewal(at: &CeremonyWorld, number: usize) -> RenewalStatus {
    let answer = ask(at, number, &STATUS, Bytes::new())
        .await
        .expect("a status");
    let status: HolderStatus = serde_json::from_slice(&answer).expect("a status");
    status.renewal.expect("the key was renewed")
}

fn sealed(
    at: &CeremonyWorld,
    row: usize,
    recipient: &TaggedRecipient,
) -> (SignedContribution, Vec<u8>) {
    let to = Destination {
        deployment: &at.world.deployment,
        recipient,
        source: "anes96",
        terms: election::terms(row, TERMS_EXPIRE),
    };
    let record = &election::records().expect("records")[row];
    let account = &at.world.contributors[row];
    prepare(&to, account, 0, record, &mut rand::rng()).expect("a sealed record")
}

/// Has the node hold a file that its door refuses now, as if it had taken it in before; it anchors it with the next batch.
async fn taken_in_before(at: &CeremonyWorld, entry: SignedContribution, file: Vec<u8>) {
    let file = at.world.client.keep(file).await.expect("kept");
    let ledger = Ledger::open(&at.world.data.join("ledger.sqlite")).await;
    let kept = ledger.expect("the ledger").keep(Held { entry, file }).await;
    assert_eq!(kept.expect("noted"), Kept::New);
}

async fn revoke(at: &CeremonyWorld, row: usize) {
    let account = &at.world.contributors[row];
    let signed = revocation(
        &at.world.deployment,
        account,
        &[0].into_iter().collect(),
        u64::MAX,
    );
    at.world.client.revoke(&signed).await.expect("relayed");
    at.world.chain.finalize().await.expect("final");
}

async fn ask(
    at: &CeremonyWorld,
    number: usize,
    exchange: &'static Exchange,
    body: Bytes,
) -> Result<Bytes, String> {
    let member = &at.members[number];
    let pin = member.keys.transport_key().pin();
    let remote = Remote::new(&format!("https://{}", member.listens_at), pin);
    let remote = remote.expect("an endpoint");
    let wire = at.convening().await.wire;
    let answer = wire.post(&remote, exchange, body).await;
    answer.map_err(|error| error.to_string())
}

/// Whether a log with these topics and this data is withheld.
type Withholds = fn(&[B256], &[u8]) -> bool;

/// An endpoint that keeps some logs to itself.
#[derive(Clone)]
struct Endpoint {
    chain: Http<reqwest::Client>,
    withholds: Withholds,
}

impl Service<RequestPacket> for Endpoint {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let asked = packet.as_single().map(|it| it.method().to_owned());
        let (answer, withholds) = (self.chain.call(packet), self.withholds);
        Box::pin(async move {
            let mut answer = answer.await?;
            if let (Some("eth_getLogs"), ResponsePacket::Single(single)) =
                (asked.as_deref(), &mut answer)
                && let ResponsePayload::Success(logs) = &single.payload
            {
                let mut logs: Vec<Log> = serde_json::from_str(logs.get()).expect("logs");
                logs.retain(|log| !withholds(log.topics(), &log.data().data));
                let logs = serde_json::value::to_raw_value(&logs).expect("JSON");
                single.payload = ResponsePayload::Success(logs);
            }
            Ok(answer)
        })
    }
}

/// What was accepted is proven in storage, so a log that lacks one of it, or a recipient that nobody shows, stops the index.
#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_the_endpoint_withholds_stops_the_index() {
    let at = CeremonyWorld::found(2).await;
    let convening = at.convening().await;
    let plan = convening.plan_new(&at.ids(&[0, 1]), 2, 0).await;
    at.hold(plan.expect("a plan")).await.expect("a committee");
    let start = async |withholds| {
        let chain = Http::new(at.world.chain.url().clone());
        let client = RpcClient::new(Endpoint { chain, withholds }, true);
        let chain = Chain::reader(client, at.world.deployment).await?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = at.world.client.clone();
        let blobs = Blobs::mirror(folder.path(), source.clone()).expect("a store");
        let aggregator = at.world.keys.address();
        Follower::start(chain, blobs, Headers::Node(source), aggregator).await
    };
    let (_, view) = start(|_, _| false).await.expect("an honest endpoint");
    let epochs = view.borrow().epochs.clone();
    let named: Vec<u64> = epochs.keys().iter().map(|key| key.epoch).collect();
    assert_eq!(named, [1, 2]);
    let withheld: [Withholds; 4] = [
        |topics, data| topics[0] == CommitteeAccepted::SIGNATURE_HASH && data.ends_with(&[1]),
        |topics, data| topics[0] == CommitteeAccepted::SIGNATURE_HASH && data.ends_with(&[2]),
        |topics, _| topics[0] == CommitteeAccepted::SIGNATURE_HASH,
        |topics, _| topics[0] == CommitteePublished::SIGNATURE_HASH,
    ];
    for withholds in withheld {
        let error = start(withholds).await.err();
        assert!(
            matches!(error, Some(FollowError::Acceptances { .. })),
            "{error:?}"
        );
    }
}
