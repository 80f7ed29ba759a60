//! A malicious compute node anchors what it likes, and key holders index it: nothing of it opens a victim's file, and nothing
//! takes the victim's place.
//!
//! Alice contributes. Mallory is an admitted contributor and the compute node at once, so he sees every header, chooses what
//! is anchored and in which order, and says what manifests and headers key holders get. The attacks on the decryption
//! itself are shown to work in `collective/tests/seal_attacks.rs`.

#[path = "../../../collective/tests/seal/forge.rs"]
mod forge;

use crate::committee_world;
use crate::committee_world::CommitteeWorld;
use alloy::primitives::B256;
use collective::contribution::{Batch, Commitment, Contribution, SignedContribution, payload_root};
use collective::id::{BlobId, ContributorId, Point};
use collective::seal::contribution::{self, ContributionHeader};
use collective::seal::curve::{self, SecretScalar};
use collective::seal::header::{FileKey, Header, Stanza};
use collective::seal::proof::SenderContext;
use collective::terms::Purpose;
use collective_node::blobs::Blobs;
use collective_node::contributor::{signed, split_file};
use collective_node::demo::{TERMS_EXPIRE, election};
use collective_node::follower::{FollowError, Follower, View};
use collective_node::headers::Headers;
use collective_node::intake::sender_context;
use forge::{from_projective, projective};
use p256::elliptic_curve::Group;

const ALICE: usize = 0;
const BOB: usize = 1;
const MALLORY: usize = 10;

async fn founded() -> CommitteeWorld {
    let mut world = CommitteeWorld::found(2, 3).await;
    let source = world.source.client();
    world.start_members(&source).await;
    world.settle_in().await;
    world
}

fn context(world: &CommitteeWorld, row: usize, nonce: u64) -> SenderContext {
    let address = world.world.contributors[row].address();
    sender_context(
        &world.world.deployment,
        ContributorId::from_address(address),
        nonce,
    )
}

/// A leaf of Mallory's own over any header, naming any point. Its header is given out.
fn planted(
    world: &CommitteeWorld,
    nonce: u64,
    header: &[u8],
    point: [u8; 32],
) -> SignedContribution {
    let deployment = &world.world.deployment;
    let account = &world.world.contributors[MALLORY];
    let terms = election::terms(MALLORY, TERMS_EXPIRE);
    let commitment = Commitment {
        header: BlobId::of(header).0,
        payload: payload_root(b"planted"),
        length: 7,
        source: "anes96".into(),
    };
    let contribution = Contribution {
        collective: deployment.collective,
        contributor: ContributorId::from_address(account.address()),
        point: Point(B256::from(point)),
        commitment: commitment.digest(),
        terms: terms.digest(),
        nonce,
    };
    let entry = signed(deployment, account, contribution, commitment, terms);
    world.source.put_header(entry.contribution.leaf(), header);
    entry
}

/// A header of these stanzas with a MAC under a key that Mallory knows.
fn header(stanzas: Vec<Stanza>) -> Vec<u8> {
    let header = Header::new(stanzas, &FileKey::from_bytes([0; 16])).expect("a header");
    header.as_bytes().to_vec()
}

/// How many contributions count with each member, which all agree on.
fn counted(world: &CommitteeWorld) -> Vec<SignedContribution> {
    let counted = |seat: &committee_world::Seat| {
        let view = seat
            .holder
            .as_ref()
            .expect("it runs")
            .view()
            .borrow()
            .clone();
        view.anchored()
            .iter()
            .map(|anchored| anchored.entry.clone())
            .collect()
    };
    let mut each: Vec<Vec<SignedContribution>> = world.seats.iter().map(counted).collect();
    each.dedup();
    assert_eq!(each.len(), 1, "members have different indexes");
    each.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mallory_plants_before_alice_counts_for_nothing_and_takes_nothing_from_her() {
    let world = founded().await;
    let (alices, file) = world.contribution(ALICE, 0);
    let (alices_header, _) = split_file(&file).expect("a header");
    let recipient = world.certificate.recipient();
    let (read, _) =
        contribution::parse(&file, recipient, &context(&world, ALICE, 0)).expect("hers");
    let (own_file, stolen) = (
        world.contribution(MALLORY, 99).1,
        read.header().stanzas().to_vec(),
    );
    let (own, _) =
        contribution::parse(&own_file, recipient, &context(&world, MALLORY, 99)).expect("his");

    for (nonce, (what, header, point)) in
        (0..).zip(plans(&world, &read, &stolen, &own, alices_header))
    {
        let entry = planted(&world, nonce, &header, point);
        world.anchor(vec![entry], true).await;
        world.settle_in().await;
        assert_eq!(counted(&world), [], "{what} counts");
        println!("| {what} | counts for nothing |");
    }

    // Alice's leaf with wider terms under her old signature: the batch counts for nothing, Bob's leaf in it included.
    let mut wider = alices.clone();
    wider.terms.purposes = Purpose::ALL.into_iter().collect();
    wider.terms.expiry += 1;
    wider.contribution.terms = wider.terms.digest();
    let (bobs, bobs_file) = world.contribution(BOB, 0);
    let (bobs_header, _) = split_file(&bobs_file).expect("a header");
    world
        .source
        .put_header(wider.contribution.leaf(), alices_header);
    world
        .source
        .put_header(bobs.contribution.leaf(), bobs_header);
    world.anchor(vec![wider, bobs.clone()], true).await;
    world.settle_in().await;
    assert_eq!(counted(&world), [], "a forged leaf counts");

    // A manifest that does not hash to the root, and bytes that are no manifest.
    let batch = Batch::new(vec![bobs.clone()]).expect("a batch");
    world.source.put_blob(&batch.manifest());
    world.source.put_blob(b"no manifest");
    world
        .commit(B256::repeat_byte(1), 1, BlobId::of(&batch.manifest()))
        .await;
    world
        .commit(batch.tree().root(), 1, BlobId::of(b"no manifest"))
        .await;
    world.settle_in().await;
    assert_eq!(counted(&world), [], "a batch of another root counts");

    // After all of that they contribute as ever, and once.
    world
        .source
        .put_header(alices.contribution.leaf(), alices_header);
    world.anchor(vec![alices.clone(), bobs.clone()], true).await;
    world.anchor(vec![alices.clone()], true).await;
    world.settle_in().await;
    assert_eq!(counted(&world), [alices.clone(), bobs]);
    let others = world.populate(2..4).await;
    world.settle_in().await;

    // What is released holds Alice's file once and nothing of Mallory's.
    let job = world.released(&[0, 2]).await;
    let files = world.files(job).await;
    assert_eq!(files.headers().len(), 2 + others.len());
    let points: Vec<[u8; 32]> = files
        .headers()
        .iter()
        .map(ContributionHeader::point_id)
        .collect();
    assert!(points.contains(&read.point_id()));
    let opened = world.open_with(job, &[0, 1]).await;
    assert!(opened.files.iter().all(Result::is_ok));
}

/// What Mallory anchors before Alice's leaf: header, and the point that his leaf names.
fn plans(
    world: &CommitteeWorld,
    alices: &ContributionHeader,
    stolen: &[Stanza],
    own: &ContributionHeader,
    alices_header: &[u8],
) -> Vec<(&'static str, Vec<u8>, [u8; 32])> {
    let recipient = world.certificate.recipient().classical();
    let victim = alices.stanza().point();
    let (e, r) = (projective(victim), SecretScalar::random(&mut rand::rng()));
    let multiples = [
        ("E + rG", e + projective(&r.public())),
        ("2E", e.double()),
        ("−E", -e),
    ];
    let mut plans = vec![
        (
            "a copy of her header, anchored first",
            alices_header.to_vec(),
            alices.point_id(),
        ),
        (
            "her stanza without her proof",
            header(vec![stolen[0].clone()]),
            alices.point_id(),
        ),
        (
            "his own header under her point",
            own.header().as_bytes().to_vec(),
            alices.point_id(),
        ),
        (
            "his own header with a proof for another nonce",
            own.header().as_bytes().to_vec(),
            own.point_id(),
        ),
        (
            "his own stanza with her proof",
            header(vec![own.header().stanzas()[0].clone(), stolen[1].clone()]),
            own.point_id(),
        ),
        (
            "her stanza beside his own",
            header([own.header().stanzas(), &stolen[..1]].concat()),
            own.point_id(),
        ),
        (
            "both proofs",
            header([own.header().stanzas(), &stolen[1..]].concat()),
            own.point_id(),
        ),
        (
            "no header at all",
            b"age-encryption.org/v1\n".to_vec(),
            own.point_id(),
        ),
    ];
    for (what, point) in multiples {
        let point = from_projective(point);
        let stanza = forge::stanza(&point, &[0; 32], &recipient);
        plans.push((what, header(vec![stanza.clone()]), curve_name(&point)));
        plans.push((
            what,
            header(vec![stanza, stolen[1].clone()]),
            curve_name(&point),
        ));
    }
    plans
}

fn curve_name(point: &curve::Point) -> [u8; 32] {
    contribution::point_id(point)
}

/// What is not shown is not skipped: it may prove something. Holders wait, and go on when it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_or_a_manifest_that_is_withheld_stops_the_index_and_is_not_skipped() {
    let world = founded().await;
    let honest = world.populate(1..4).await;
    world.settle_in().await;
    assert_eq!(counted(&world), honest);

    let (entry, file) = world.contribution(ALICE, 0);
    let (header, _) = split_file(&file).expect("a header");
    let leaf = entry.contribution.leaf();
    let stays = async |what: &str, expected: &str| {
        let Err(error) = index(&world).await else {
            panic!("{what}: a new index passes over it")
        };
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert_eq!(counted(&world), honest, "{what}");
        println!("| {what} | the index waits: {error} |");
    };
    let manifest = world.anchor(vec![entry.clone()], false).await;
    world.finalize();
    stays("a manifest that is withheld", "404").await;
    world.source.put_endless_blob(manifest);
    stays("a manifest without an end", "more than").await;
    let batch = Batch::new(vec![entry.clone()]).expect("a batch");
    world.source.put_blob(&batch.manifest());
    stays("a header that is withheld", "404").await;
    world
        .source
        .put_header(leaf, b"age-encryption.org/v1\nother bytes");
    stays(
        "another header than the leaf commits to",
        "no header here that leaf",
    )
    .await;
    world.source.put_endless_header(leaf);
    stays("a header without an end", "more than 16384 bytes").await;

    world.source.put_header(leaf, header);
    world.settle_in().await;
    assert_eq!(counted(&world), [honest, vec![entry]].concat());
}

/// An index made now, from the chain's first block on, by somebody who has nothing yet.
async fn index(world: &CommitteeWorld) -> Result<View, FollowError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = world.source.client();
    let kept = Blobs::mirror(folder.path(), node.clone()).expect("a store");
    let headers = Headers::Mirror {
        kept: kept.clone(),
        node,
    };
    let (chain, aggregator) = (world.reader.clone(), world.world.keys.address());
    let (_, view) = Follower::start(chain, kept, headers, aggregator).await?;
    let view = view.borrow().clone();
    Ok(view)
}
