//! Committees: every quorum opens, fewer do not, and whoever cheats is named.

#[path = "seal/forge.rs"]
#[allow(dead_code)]
mod forge;

use collective::committee::equality::{EqualityProof, ProofContext, ProveError, VerifyError};
use collective::committee::{
    self, CertificateError, CombineError, KeyShare, Member, Partial, Quorum, QuorumError,
    ReleaseError, ShareCertificate, equality::verify_partials,
};
use collective::seal::contribution::{self, ContributionHeader};
use collective::seal::curve::{DhValue, Point, SecretScalar};
use collective::seal::header::{Header, StanzaError};
use collective::seal::payload;
use collective::seal::proof::SenderContext;
use collective::seal::tagged::{MlKemKey, TaggedIdentity};
use p256::{ProjectivePoint, Scalar};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn rng(seed: u64) -> ChaCha20Rng {
    println!("seed {seed}");
    ChaCha20Rng::seed_from_u64(seed)
}

const CONTEXT: SenderContext = SenderContext {
    chain_id: 31337,
    registry: [1; 20],
    collective: [2; 20],
    contributor: [3; 32],
    nonce: [4; 32],
};

const GRANT: ProofContext = ProofContext {
    collective: [2; 20],
    grant: [5; 32],
    grantee: [6; 32],
};

fn member(number: u16) -> Member {
    Member::new(number).unwrap()
}

/// Every choice of `count` members among 1 to `size`.
fn choices(size: u16, count: u16) -> Vec<Vec<Member>> {
    (0u32..1 << size)
        .filter(|bits| bits.count_ones() == u32::from(count))
        .map(|bits| {
            (1..=size)
                .filter(|i| bits >> (i - 1) & 1 == 1)
                .map(member)
                .collect()
        })
        .collect()
}

/// A file to a committee: what its members see, and what the grantee gets.
struct Sealed {
    file: Vec<u8>,
    header: ContributionHeader,
}

impl Sealed {
    fn new(certificate: &ShareCertificate, plaintext: &[u8], rng: &mut ChaCha20Rng) -> Self {
        let recipient = certificate.recipient();
        let file = contribution::seal(recipient, &CONTEXT, plaintext, rng).unwrap();
        let (header, _) = contribution::parse(&file, recipient, &CONTEXT).unwrap();
        Self { file, header }
    }

    fn open(&self, shares: &[&KeyShare], quorum: &Quorum) -> Option<Vec<u8>> {
        let certificate = shares[0].certificate();
        let releases: Vec<_> = shares
            .iter()
            .map(|share| share.release(quorum, &self.header).unwrap())
            .collect();
        let partials: Vec<_> = releases
            .iter()
            .map(|release| release.partial.clone())
            .collect();
        let dh = committee::combine(quorum, &partials).ok()?;
        let (header, body) = Header::parse(&self.file).unwrap();
        let ml_kem = releases[0].ml_kem.as_ref();
        let file_key = committee::open_header(
            certificate.recipient(),
            &header,
            self.header.stanza(),
            &dh,
            ml_kem,
        );
        payload::open(&file_key.ok()?, body).ok()
    }

    /// What members can try with what they have and without asking anybody; enough for t of them.
    fn opens_by_hand(&self, shares: &[KeyShare], members: &[Member]) -> bool {
        let certificate = shares[0].certificate();
        let threshold = usize::from(certificate.threshold());
        let rest = (1..=certificate.size()).map(member);
        let rest = rest.filter(|other| !members.contains(other));
        let quorum: Vec<Member> = members
            .iter()
            .copied()
            .chain(rest)
            .take(threshold)
            .collect();
        let (mut sum, mut interpolated) = (ProjectivePoint::IDENTITY, ProjectivePoint::IDENTITY);
        for &own in members {
            let share = &shares[usize::from(own.number()) - 1];
            let whole = Quorum::new(certificate, &quorum).unwrap();
            let partial = share.partial(&whole, self.header.stanza().point()).unwrap();
            let partial = forge::projective(partial.point());
            sum += partial;
            let undone = lagrange(&quorum, own).invert().unwrap();
            interpolated += partial * (undone * lagrange(members, own));
        }
        let ml_kem = shares[0].release(
            &Quorum::new(certificate, &with_first(&quorum)).unwrap(),
            &self.header,
        );
        let ml_kem = ml_kem.unwrap().ml_kem;
        [sum, interpolated]
            .into_iter()
            .filter(|&point| point != ProjectivePoint::IDENTITY)
            .any(|point| {
                let dh = DhValue::from_point(forge::from_projective(point));
                let (recipient, header) = (certificate.recipient(), self.header.header());
                let stanza = self.header.stanza();
                committee::open_header(recipient, header, stanza, &dh, ml_kem.as_ref()).is_ok()
            })
    }
}

/// A quorum with member 1 in it, which gives the ML-KEM secret that every member has.
fn with_first(quorum: &[Member]) -> Vec<Member> {
    let others = quorum.iter().copied().filter(|&other| other != member(1));
    [member(1)]
        .into_iter()
        .chain(others)
        .take(quorum.len())
        .collect()
}

/// λ at 0, written apart from the library's.
fn lagrange(members: &[Member], own: Member) -> Scalar {
    let x = |member: Member| Scalar::from(u64::from(member.number()));
    let others = || {
        members
            .iter()
            .filter(|&&other| other != own)
            .map(|&other| x(other))
    };
    let below: Scalar = others().map(|other| other - x(own)).product();
    others().product::<Scalar>() * below.invert().unwrap()
}

/// All 2ⁿ subsets of every committee: t or more open, whichever t of them compute; fewer do not, whether they add up what
/// they gave for a quorum or interpolate among themselves.
#[test]
fn t_members_open_and_fewer_never_in_every_committee_up_to_seven() {
    let mut rng = rng(31);
    let (mut opened, mut closed) = (0, 0);
    for size in 1..=7 {
        for threshold in 1..=size {
            let identity = TaggedIdentity::random(&mut rng);
            let recipient = identity.recipient();
            let shares = committee::split(identity, 7, threshold, size, &mut rng).unwrap();
            let certificate = shares[0].certificate();
            assert_eq!(
                (certificate.threshold(), certificate.size()),
                (threshold, size)
            );
            assert_eq!(
                (certificate.recipient(), certificate.epoch()),
                (&recipient, 7)
            );
            let sealed = Sealed::new(certificate, b"record", &mut rng);
            for count in 0..=size {
                for members in choices(size, count) {
                    let story = format!("{threshold} of {size}: {members:?}");
                    if count < threshold {
                        let refused = Quorum::new(certificate, &members).err();
                        assert_eq!(refused, Some(QuorumError::Size { threshold }), "{story}");
                        assert!(!sealed.opens_by_hand(&shares, &members), "{story}");
                        closed += 1;
                        continue;
                    }
                    if count == threshold {
                        assert!(sealed.opens_by_hand(&shares, &members), "{story}");
                    }
                    // The last t of them: over all subsets that is every quorum.
                    let chosen = &members[usize::from(count - threshold)..];
                    let quorum = Quorum::new(certificate, chosen).unwrap();
                    let chosen: Vec<_> = shares
                        .iter()
                        .filter(|share| chosen.contains(&share.member()))
                        .collect();
                    let plain = sealed.open(&chosen, &quorum);
                    assert_eq!(plain.as_deref(), Some(&b"record"[..]), "{story}");
                    opened += 1;
                }
            }
        }
    }
    // Σ n·2ⁿ for n from 1 to 7.
    assert_eq!(opened + closed, 1538);
    println!("{opened} subsets open, {closed} do not");
}

#[test]
fn a_committee_of_one_is_the_trusted_node() {
    let mut rng = rng(32);
    let identity = TaggedIdentity::random(&mut rng);
    let string = identity.to_secret_string();
    let share = KeyShare::sole(identity, 0);
    let certificate = share.certificate().clone();
    assert_eq!((certificate.threshold(), certificate.size()), (1, 1));
    // What `sole` writes without checking passes the checks.
    let again = ShareCertificate::new(
        certificate.recipient().clone(),
        0,
        1,
        vec![certificate.public_share(member(1)).unwrap().clone()],
    );
    assert_eq!(again.as_ref(), Ok(&certificate));
    let quorum = Quorum::new(&certificate, &[share.member()]).unwrap();
    let sealed = Sealed::new(&certificate, b"record", &mut rng);
    assert_eq!(
        sealed.open(&[&share], &quorum).as_deref(),
        Some(&b"record"[..])
    );
    let alone = collective::seal::open(&[string.parse().unwrap()], &sealed.file);
    assert_eq!(alone.as_deref(), Ok(&b"record"[..]));
}

#[test]
fn quorums_and_partials_must_fit() {
    let mut rng = rng(33);
    let shares = committee::split(TaggedIdentity::random(&mut rng), 0, 2, 3, &mut rng).unwrap();
    let certificate = shares[0].certificate();
    let size = Err(QuorumError::Size { threshold: 2 });
    let quorum = |numbers: &[u16]| {
        let members: Vec<_> = numbers.iter().map(|&number| member(number)).collect();
        Quorum::new(certificate, &members)
    };
    assert_eq!(quorum(&[1]), size);
    assert_eq!(quorum(&[1, 1]), size);
    assert_eq!(quorum(&[1, 2, 3]), size);
    assert_eq!(quorum(&[1, 4]), Err(QuorumError::NotAMember(member(4))));
    assert_eq!(quorum(&[3, 1]), quorum(&[1, 3]));
    let quorum = quorum(&[1, 2]).unwrap();
    let point = SecretScalar::random(&mut rng).public();
    let refused = shares[2].partial(&quorum, &point).err();
    assert_eq!(refused, Some(ReleaseError::NotInQuorum));
    let [one, two] = [0, 1].map(|i: usize| shares[i].partial(&quorum, &point).unwrap());
    let combine = |partials: &[&Partial]| {
        let partials: Vec<_> = partials.iter().map(|&partial| partial.clone()).collect();
        committee::combine(&quorum, &partials).err()
    };
    assert_eq!(combine(&[&two, &one]), None);
    let stranger = Partial::new(member(3), two.point().clone());
    for partials in [
        &[&one][..],
        &[&one, &one],
        &[&one, &two, &two],
        &[&one, &stranger],
        &[],
    ] {
        assert_eq!(combine(partials), Some(CombineError::NotTheQuorum));
    }
    let mut negative = *one.point().uncompressed();
    let minus = p256::PublicKey::from_sec1_bytes(&negative)
        .unwrap()
        .to_projective();
    use p256::elliptic_curve::sec1::ToEncodedPoint;
    negative.copy_from_slice((-minus).to_affine().to_encoded_point(false).as_bytes());
    let cancel = Partial::new(member(2), Point::from_uncompressed(&negative).unwrap());
    assert_eq!(combine(&[&one, &cancel]), Some(CombineError::NotADhValue));
}

#[test]
fn certificates_with_one_defect_each_are_refused() {
    let mut rng = rng(34);
    let shares = committee::split(TaggedIdentity::random(&mut rng), 0, 2, 4, &mut rng).unwrap();
    let certificate = shares[0].certificate();
    let recipient = certificate.recipient();
    let points: Vec<_> = (1..=4)
        .map(|i| certificate.public_share(member(i)).unwrap().clone())
        .collect();
    let new = |threshold, points: Vec<Point>| {
        ShareCertificate::new(recipient.clone(), 0, threshold, points).err()
    };
    assert_eq!(new(2, points.clone()), None);
    assert_eq!(new(0, points.clone()), Some(CertificateError::Threshold));
    assert_eq!(new(5, points.clone()), Some(CertificateError::Threshold));
    assert_eq!(new(1, vec![]), Some(CertificateError::Size));
    assert_eq!(
        new(2, vec![points[0].clone(); 65]),
        Some(CertificateError::Size)
    );
    // The recipient is the value at 0 of the shares' own polynomial, whatever t they claim.
    assert_eq!(new(1, points.clone()), Some(CertificateError::AnotherKey));
    let mut swapped = points.clone();
    swapped.swap(0, 1);
    assert_eq!(new(2, swapped), Some(CertificateError::AnotherKey));
    let mut cheated = points.clone();
    cheated[3] = SecretScalar::random(&mut rng).public();
    assert_eq!(
        new(2, cheated),
        Some(CertificateError::NotAShare(member(4)))
    );
    // A share must be the member's own, and its ML-KEM key the committee's.
    let identity = TaggedIdentity::random(&mut rng);
    let (scalar, ml_kem) = identity.into_parts();
    let seed = **ml_kem.seed();
    let refused = KeyShare::new(certificate.clone(), member(1), scalar, ml_kem).err();
    assert_eq!(refused, Some(CertificateError::NotAShare(member(1))));
    let sole = TaggedIdentity::random(&mut rng);
    let string = sole.to_secret_string();
    let certificate = KeyShare::sole(sole, 0).certificate().clone();
    let Ok(collective::seal::Identity::Tagged(sole)) = string.parse() else {
        panic!()
    };
    let (scalar, _) = sole.into_parts();
    let foreign = MlKemKey::from_seed(&seed);
    let refused = KeyShare::new(certificate, member(1), scalar, foreign).err();
    assert_eq!(refused, Some(CertificateError::AnotherKey));
    for (threshold, size, expected) in [
        (1, 0, CertificateError::Size),
        (1, 65, CertificateError::Size),
        (0, 3, CertificateError::Threshold),
        (4, 3, CertificateError::Threshold),
    ] {
        let identity = TaggedIdentity::random(&mut rng);
        let refused = committee::split(identity, 0, threshold, size, &mut rng).err();
        assert_eq!(refused, Some(expected));
    }
}

#[test]
fn shares_of_two_sharings_do_not_combine() {
    let mut rng = rng(35);
    let identity = TaggedIdentity::random(&mut rng);
    let string = identity.to_secret_string();
    let old = committee::split(identity, 0, 2, 3, &mut rng).unwrap();
    let Ok(collective::seal::Identity::Tagged(again)) = string.parse() else {
        panic!()
    };
    let new = committee::split(again, 1, 2, 3, &mut rng).unwrap();
    let sealed = Sealed::new(new[0].certificate(), b"record", &mut rng);
    let quorum = Quorum::new(new[0].certificate(), &[member(1), member(2)]).unwrap();
    assert!(sealed.open(&[&new[0], &new[1]], &quorum).is_some());
    assert!(sealed.open(&[&old[0], &old[1]], &quorum).is_some());
    assert!(sealed.open(&[&old[0], &new[1]], &quorum).is_none());
}

#[test]
fn a_hybrid_stanza_needs_its_ml_kem_secret_too() {
    let mut rng = rng(36);
    let share = KeyShare::sole(TaggedIdentity::random(&mut rng), 0);
    let certificate = share.certificate();
    let quorum = Quorum::new(certificate, &[share.member()]).unwrap();
    let sealed = Sealed::new(certificate, b"", &mut rng);
    let release = share.release(&quorum, &sealed.header).unwrap();
    let dh = committee::combine(&quorum, &[release.partial]).unwrap();
    let open = |ml_kem| {
        let stanza = sealed.header.stanza();
        committee::open_header(
            certificate.recipient(),
            sealed.header.header(),
            stanza,
            &dh,
            ml_kem,
        )
        .err()
    };
    assert_eq!(open(release.ml_kem.as_ref()), None);
    assert_eq!(open(None), Some(StanzaError::MlKemMissing.into()));
    let wrong = collective::seal::hpke::MlKemSecret::from_bytes([0; 32]);
    assert_eq!(open(Some(&wrong)), Some(StanzaError::NotAuthentic.into()));
    // A contribution to somebody else is not this member's to open.
    let other = KeyShare::sole(TaggedIdentity::random(&mut rng), 0);
    let foreign = Sealed::new(other.certificate(), b"", &mut rng);
    let refused = share.release(&quorum, &foreign.header).err();
    assert_eq!(refused, Some(ReleaseError::AnotherKey));
}

#[test]
fn one_proof_covers_a_batch_and_names_one_altered_partial_in_fifty() {
    let mut rng = rng(37);
    let shares = committee::split(TaggedIdentity::random(&mut rng), 3, 2, 3, &mut rng).unwrap();
    let certificate = shares[0].certificate().clone();
    let quorum = Quorum::new(&certificate, &[member(1), member(3)]).unwrap();
    let points: Vec<_> = (0..50)
        .map(|_| SecretScalar::random(&mut rng).public())
        .collect();
    let partials: Vec<_> = points
        .iter()
        .map(|point| shares[0].partial(&quorum, point).unwrap())
        .collect();
    let proof = shares[0]
        .prove_partials(&quorum, &GRANT, &points, &partials, &mut rng)
        .unwrap();
    let check = |context: &ProofContext, points: &[Point], partials: &[Partial]| {
        verify_partials(&certificate, &quorum, context, points, partials, &proof)
    };
    assert_eq!(check(&GRANT, &points, &partials), Ok(()));
    assert_eq!(
        EqualityProof::from_bytes(&proof.to_bytes()).as_ref(),
        Some(&proof)
    );
    assert_eq!(EqualityProof::from_bytes(&[0xff; 64]), None);

    let mut altered = partials.clone();
    altered[17] = Partial::new(member(1), SecretScalar::random(&mut rng).public());
    assert_eq!(check(&GRANT, &points, &altered), Err(VerifyError::Refused));
    let mut swapped = partials.clone();
    swapped.swap(3, 4);
    assert_eq!(check(&GRANT, &points, &swapped), Err(VerifyError::Refused));
    let others = [
        ProofContext {
            collective: [9; 20],
            ..GRANT
        },
        ProofContext {
            grant: [9; 32],
            ..GRANT
        },
        ProofContext {
            grantee: [9; 32],
            ..GRANT
        },
    ];
    for other in others {
        assert_eq!(check(&other, &points, &partials), Err(VerifyError::Refused));
    }
    assert_eq!(
        check(&GRANT, &points[..49], &partials),
        Err(VerifyError::Batch)
    );
    assert_eq!(check(&GRANT, &[], &[]), Err(VerifyError::Batch));
    let mixed = [
        partials[0].clone(),
        Partial::new(member(3), partials[1].point().clone()),
    ];
    assert_eq!(check(&GRANT, &points[..2], &mixed), Err(VerifyError::Batch));
    let stranger: Vec<_> = partials
        .iter()
        .map(|partial| Partial::new(member(2), partial.point().clone()))
        .collect();
    assert_eq!(
        check(&GRANT, &points, &stranger),
        Err(VerifyError::NotInQuorum)
    );
    // Another epoch's certificate and another quorum.
    let shares_points = (1..=3).map(|i| certificate.public_share(member(i)).unwrap().clone());
    let recipient = certificate.recipient().clone();
    let later = ShareCertificate::new(recipient, 4, 2, shares_points.collect()).unwrap();
    let refused = verify_partials(&later, &quorum, &GRANT, &points, &partials, &proof);
    assert_eq!(refused, Err(VerifyError::Refused));
    let other = Quorum::new(&certificate, &[member(1), member(2)]).unwrap();
    let refused = verify_partials(&certificate, &other, &GRANT, &points, &partials, &proof);
    assert_eq!(refused, Err(VerifyError::Refused));
    // A member cannot prove what is not its own.
    let refused = shares[2].prove_partials(&quorum, &GRANT, &points, &partials, &mut rng);
    let forged = refused.unwrap();
    let refused = verify_partials(&certificate, &quorum, &GRANT, &points, &partials, &forged);
    assert_eq!(refused, Err(VerifyError::Refused));
    let refused = shares[1].prove_partials(&quorum, &GRANT, &points, &partials, &mut rng);
    assert_eq!(refused, Err(ProveError::Release(ReleaseError::NotInQuorum)));
    let refused = shares[0].prove_partials(&quorum, &GRANT, &points[1..], &partials, &mut rng);
    assert_eq!(refused, Err(ProveError::Batch));
}
