//! The attacks on a linear decryption, and the rule that shuts them out.
//!
//! Alice contributes. Mallory sees every header that Alice sends, and wants Alice's file. The committee has two of three
//! members, as the attacks need somebody who hands out partial decryptions. Each attack is first shown to work.

use collective::committee::{self, KeyShare, Member, Quorum, ReleaseError};
use collective::seal::contribution::{self, ContributionError, ContributionHeader, Sender};
use collective::seal::curve::{DhValue, Point, SecretScalar};
use collective::seal::header::{FileKey, Header, Stanza};
use collective::seal::payload;
use collective::seal::proof::{ProofError, SenderContext};
use collective::seal::tagged::{TaggedIdentity, TaggedRecipient};
use p256::elliptic_curve::Group;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

#[path = "seal/forge.rs"]
mod forge;

use forge::{from_projective, projective};

const RECORD: &[u8] = b"age,vote\n42,yes\n";

fn rng(seed: u64) -> ChaCha20Rng {
    println!("seed {seed}");
    ChaCha20Rng::seed_from_u64(seed)
}

fn context(contributor: u8) -> SenderContext {
    SenderContext {
        chain_id: 31337,
        registry: [1; 20],
        collective: [2; 20],
        contributor: [contributor; 32],
        nonce: [4; 32],
    }
}

const ALICE: u8 = 0xa1;
const MALLORY: u8 = 0xbd;

fn parse(
    file: &[u8],
    recipient: &TaggedRecipient,
    context: &SenderContext,
) -> Result<ContributionHeader, ContributionError> {
    contribution::parse(file, recipient, context).map(|(header, _)| header)
}

/// The file with another list of stanzas and the MAC of whoever knows some file key.
fn with_stanzas(stanzas: Vec<Stanza>, body: &[u8], file_key: &FileKey) -> Vec<u8> {
    let header = Header::new(stanzas, file_key).expect("a writable header");
    [header.as_bytes(), body].concat()
}

/// Alice's file, the committee that holds the key, and a quorum of it.
struct Scene {
    recipient: TaggedRecipient,
    shares: Vec<KeyShare>,
    quorum: Quorum,
    file: Vec<u8>,
    rng: ChaCha20Rng,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut rng = rng(seed);
        let identity = TaggedIdentity::random(&mut rng);
        let recipient = identity.recipient().classical();
        let mut shares = committee::split(identity, 1, 2, 3, &mut rng).unwrap();
        shares.truncate(2);
        let members: Vec<Member> = shares.iter().map(KeyShare::member).collect();
        let quorum = Quorum::new(shares[0].certificate(), &members).unwrap();
        let file = contribution::seal(&recipient, &context(ALICE), RECORD, &mut rng).unwrap();
        Self {
            recipient,
            shares,
            quorum,
            file,
            rng,
        }
    }

    fn alice(&self) -> ContributionHeader {
        parse(&self.file, &self.recipient, &context(ALICE)).unwrap()
    }

    /// A header of Mallory's own with this point in the collective stanza, addressed as it must be.
    fn planted(&self, point: &Point) -> Vec<u8> {
        let stanza = forge::stanza(point, &[0; 32], &self.recipient);
        with_stanzas(vec![stanza], b"planted", &FileKey::from_bytes([0; 16]))
    }

    /// The point that the quorum's partials for `point` add up to, as the grantee sees it.
    fn decrypt(&self, point: &Point) -> p256::ProjectivePoint {
        let partials = self
            .shares
            .iter()
            .map(|share| share.partial(&self.quorum, point).unwrap());
        partials.map(|partial| projective(partial.point())).sum()
    }

    /// Opens Alice's file with a Diffie–Hellman point.
    fn open_alice(&self, dh: p256::ProjectivePoint) -> Option<Vec<u8>> {
        let (header, body) = Header::parse(&self.file).unwrap();
        let stanza = self.alice().stanza().clone();
        let point = from_projective(dh);
        let dh = DhValue::from_point(point);
        let file_key = committee::open_header(&self.recipient, &header, &stanza, &dh, None).ok()?;
        payload::open(&file_key, body).ok()
    }
}

#[test]
fn planted_multiples_of_alices_point_open_her_file_where_no_proof_is_asked_for() {
    let mut scene = Scene::new(5);
    let victim = scene.alice().stanza().point().clone();
    let e = projective(&victim);
    let r = SecretScalar::random(&mut scene.rng);
    let r_scalar = Option::<p256::Scalar>::from(
        <p256::Scalar as p256::elliptic_curve::PrimeField>::from_repr((*r.to_bytes()).into()),
    )
    .unwrap();
    let y = projective(scene.recipient.point());
    let half = Option::<p256::Scalar>::from(p256::Scalar::from(2u64).invert()).unwrap();
    type Undo = Box<dyn Fn(p256::ProjectivePoint) -> p256::ProjectivePoint>;
    let attacks: [(&str, p256::ProjectivePoint, Undo); 3] = [
        (
            "E + rG",
            e + projective(&r.public()),
            Box::new(move |dh| dh - y * r_scalar),
        ),
        ("2E", e.double(), Box::new(move |dh| dh * half)),
        ("-E", -e, Box::new(|dh| -dh)),
    ];
    for (name, planted, undo) in attacks {
        let planted = from_projective(planted);
        let file = scene.planted(&planted);
        let header = parse(&file, &scene.recipient, &context(MALLORY)).unwrap();
        assert_eq!(
            header.sender(),
            Sender::Unproven,
            "{name}: Mallory has no proof"
        );

        // The attack is real: a holder that multiplies any point gives Alice's file away.
        let leaked = scene.decrypt(&planted);
        assert_eq!(
            scene.open_alice(undo(leaked)).as_deref(),
            Some(RECORD),
            "{name}"
        );

        // With the rule it ends here.
        for share in &scene.shares {
            let refused = share.release(&scene.quorum, &header).err();
            assert_eq!(refused, Some(ReleaseError::ProofMissing), "{name}");
        }
        // Alice's proof does not help Mallory, under either name.
        let alices = scene.alice().header().stanzas()[1].clone();
        let stanza = forge::stanza(&planted, &[0; 32], &scene.recipient);
        let stolen = with_stanzas(vec![stanza, alices], b"", &FileKey::from_bytes([0; 16]));
        for name in [ALICE, MALLORY] {
            let refused = parse(&stolen, &scene.recipient, &context(name)).unwrap_err();
            assert_eq!(refused, ContributionError::Proof(ProofError::Refused));
        }
    }
    // −E opens even without undoing anything, so it must count as the same point.
    let negative = from_projective(-e);
    assert_eq!(
        contribution::point_id(&negative),
        contribution::point_id(&victim)
    );
    assert_ne!(
        contribution::point_id(&from_projective(e.double())),
        contribution::point_id(&victim)
    );
}

#[test]
fn a_copied_header_is_refused_under_another_name_and_its_unproven_copy_gives_nothing() {
    let scene = Scene::new(6);
    let refused = parse(&scene.file, &scene.recipient, &context(MALLORY)).unwrap_err();
    assert_eq!(refused, ContributionError::Proof(ProofError::Refused));
    // Mallory cuts the proof off: the stanza is the same, the point has the same name, and no holder multiplies it.
    let tagged = scene.alice().header().stanzas()[0].clone();
    let copy = with_stanzas(vec![tagged], b"", &FileKey::from_bytes([0; 16]));
    let header = parse(&copy, &scene.recipient, &context(MALLORY)).unwrap();
    assert_eq!(header.point_id(), scene.alice().point_id());
    let refused = scene.shares[0].release(&scene.quorum, &header).err();
    assert_eq!(refused, Some(ReleaseError::ProofMissing));
}

#[test]
fn the_grantee_opens_a_proven_file_and_nobody_opens_it_with_fewer_partials() {
    let scene = Scene::new(7);
    let header = scene.alice();
    let releases: Vec<_> = scene
        .shares
        .iter()
        .map(|share| share.release(&scene.quorum, &header).unwrap().partial)
        .collect();
    let dh = committee::combine(&scene.quorum, &releases).unwrap();
    let (age, body) = Header::parse(&scene.file).unwrap();
    let file_key =
        committee::open_header(&scene.recipient, &age, header.stanza(), &dh, None).unwrap();
    assert_eq!(payload::open(&file_key, body).unwrap(), RECORD);
    assert_eq!(scene.open_alice(projective(releases[0].point())), None);
    assert_eq!(
        committee::combine(&scene.quorum, &releases[..1]).err(),
        Some(committee::CombineError::NotTheQuorum)
    );
}
