//! A committee, a node and some contributions, with every signature real.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Signature, U256};
use collective::admission::Admission;
use collective::approval::Selector;
use collective::committee::answer::Statement;
use collective::committee::assembly::{Health, Peer};
use collective::committee::log::{Log, LogEvent, LogHead};
use collective::committee::question::{Question, Wanted};
use collective::committee::released::{NodeKeys, ReleasedFiles};
use collective::committee::rewrap::EarlierKeys;
use collective::committee::{self, KeyShare, Member, Quorum, ShareCertificate};
use collective::contribution::{Commitment, Contribution, SignedContribution};
use collective::id::{BlobId, ContributorId, ManifestDigest, NodeId, Point, TransportPin, sha256};
use collective::input::{Anchored, InputSet, Revocations, Scope};
use collective::receipt::{BlockRef, Escrow, Release};
use collective::seal::contribution::{self, ContributionError, ContributionHeader, Sender};
use collective::seal::header::{FileKey, Header};
use collective::seal::payload;
use collective::seal::proof::{ProofError, SenderContext};
use collective::seal::tagged::{MlKemKey, TaggedIdentity, TaggedRecipient};
use collective::seal::{self, Identity, Recipient};
use collective::terms::{Purpose, Terms};
use k256::ecdsa::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub const ESCROW: Escrow = Escrow {
    chain_id: 31_337,
    address: Address::repeat_byte(0xe5),
};
const COLLECTIVE: Address = Address::repeat_byte(0xc0);

pub fn member(number: u16) -> Member {
    Member::new(number).expect("a small number")
}

/// A node that may be granted files: its identity, and its entry in NodeRegistry.
pub struct Node {
    pub identity: Identity,
    pub recipient: TaggedRecipient,
    pub keys: NodeKeys,
}

impl Node {
    pub fn new(rng: &mut ChaCha20Rng) -> Self {
        let identity = TaggedIdentity::random(rng);
        // Sealing to the classical string is quicker, and the same code.
        let recipient = identity.recipient().classical();
        let keys = NodeKeys {
            node: NodeId(B256::repeat_byte(0x4e)),
            operator: Address::repeat_byte(0x0b),
            signer: Address::repeat_byte(0x51),
            recipient: sha256(recipient.to_string().as_bytes()),
            roles: U256::from(1),
            measurement: B256::ZERO,
            transport: TransportPin(B256::ZERO),
        };
        Self {
            identity: Identity::Tagged(identity),
            recipient,
            keys,
        }
    }
}

/// How a contribution is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Hybrid,
    Classical,
    /// Its sender proof holds, and it was sealed to another ML-KEM key.
    Garbage,
    /// A good stanza under an altered MAC.
    Altered,
}

pub struct World {
    pub shares: Vec<KeyShare>,
    pub signers: Vec<SigningKey>,
    pub node: Node,
    pub release: Release,
    pub input: InputSet,
    /// By place in the input set.
    pub sealed: Vec<Vec<u8>>,
    pub headers: Vec<ContributionHeader>,
    pub plain: Vec<Vec<u8>>,
}

impl World {
    pub fn new(threshold: u16, size: u16, kinds: &[Kind], seed: u64) -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        let identity = TaggedIdentity::random(rng);
        let shares = committee::split(identity, 3, threshold, size, rng).expect("a committee");
        let signers = (0..size).map(|_| signer(rng)).collect();
        let recipient = shares[0].certificate().recipient().clone();
        let files: Vec<_> = (0u8..)
            .zip(kinds)
            .map(|(n, &kind)| file(n, kind, &recipient, rng))
            .collect();
        Self::of(shares, signers, files, rng)
    }

    /// A world whose input set has one file `count` times over: for pages, not for rules.
    pub fn repeated(threshold: u16, size: u16, count: u16) -> Self {
        let mut world = Self::new(threshold, size, &[Kind::Classical], 1);
        let one = world.input.members()[0].clone();
        let members: Vec<Anchored> = (1..=count)
            .map(|n| {
                let mut copy = one.clone();
                let contributor = Address::left_padding_from(&n.to_be_bytes());
                copy.entry.contribution.contributor = ContributorId::from_address(contributor);
                copy
            })
            .collect();
        world.input = derive(&members);
        world.release.input_root = world.input.root();
        world.release.input_count = world.input.count();
        let count = usize::from(count);
        world.headers = vec![world.headers[0].clone(); count];
        world.sealed = vec![world.sealed[0].clone(); count];
        world.plain = vec![world.plain[0].clone(); count];
        world
    }

    /// The same committee and node with other files: another job.
    pub fn another(
        &self,
        kinds: &[Kind],
        job: u64,
        rng: &mut ChaCha20Rng,
    ) -> (Release, ReleasedFiles) {
        let recipient = self.certificate().recipient();
        let files: Vec<_> = (100u8..)
            .zip(kinds)
            .map(|(n, &kind)| file(n, kind, recipient, rng))
            .collect();
        let (input, headers, ..) = input(files, recipient);
        let release = Release {
            job,
            input_root: input.root(),
            input_count: input.count(),
            ..self.release.clone()
        };
        let released = ReleasedFiles::new(
            &ESCROW,
            &release,
            &input,
            &self.node.keys,
            self.node.recipient.clone(),
            headers,
        );
        (release, released.expect("it fits"))
    }

    fn of(
        shares: Vec<KeyShare>,
        signers: Vec<SigningKey>,
        files: Vec<(Anchored, Vec<u8>, Vec<u8>)>,
        rng: &mut ChaCha20Rng,
    ) -> Self {
        let certificate = shares[0].certificate();
        let (input, headers, sealed, plain) = input(files, certificate.recipient());
        let node = Node::new(rng);
        let block = |number| BlockRef {
            number,
            hash: B256::with_last_byte(number as u8),
            time: number * 12,
        };
        let release = Release {
            job: 1,
            attempt: 1,
            collective: COLLECTIVE,
            manifest: ManifestDigest(B256::repeat_byte(0xaa)),
            node: node.keys.node,
            keys: node.keys.hash(),
            allow: block(100),
            deny: block(101),
            input_root: input.root(),
            input_count: input.count(),
            epoch: certificate.epoch(),
        };
        Self {
            shares,
            signers,
            node,
            release,
            input,
            sealed,
            headers,
            plain,
        }
    }

    pub fn certificate(&self) -> &ShareCertificate {
        self.shares[0].certificate()
    }

    pub fn files(&self) -> ReleasedFiles {
        ReleasedFiles::new(
            &ESCROW,
            &self.release,
            &self.input,
            &self.node.keys,
            self.node.recipient.clone(),
            self.headers.clone(),
        )
        .expect("all parts fit")
    }

    pub fn signers(&self) -> BTreeMap<Member, Address> {
        let accounts = self.signers.iter().map(account);
        (1..).map(member).zip(accounts).collect()
    }

    pub fn peers(&self) -> Vec<Peer> {
        self.signers()
            .into_iter()
            .map(|(member, signer)| Peer {
                member,
                signer,
                health: Health::default(),
            })
            .collect()
    }

    /// Whether this is the key of the file at this place: its payload opens with it.
    pub fn opens(&self, place: usize, key: &FileKey) -> bool {
        let (_, body) = Header::parse(&self.sealed[place]).expect("it was parsed before");
        payload::open(key, body).is_ok_and(|plain| plain == self.plain[place])
    }

    pub fn share(&self, member: Member) -> &KeyShare {
        &self.shares[usize::from(member.number()) - 1]
    }

    pub fn signer(&self, member: Member) -> &SigningKey {
        &self.signers[usize::from(member.number()) - 1]
    }

    /// What an honest member with a new log answers to these bytes.
    pub fn honest(
        &self,
        member: Member,
        question: &[u8],
        files: &ReleasedFiles,
        rng: &mut ChaCha20Rng,
    ) -> Vec<u8> {
        let question = Question::parse(self.certificate(), question).expect("from the assembly");
        let share = self.share(member);
        if *question.wanted() != Wanted::Partials {
            return share.prove(&question, files, rng).expect("a proof");
        }
        let log = log_of(&question, &self.release);
        let answer = share
            .answer(&question, files, &EarlierKeys::default(), log, rng)
            .expect("an answer");
        answer.to_bytes(&sign(
            self.signer(member),
            answer.statement().signing_hash(&ESCROW),
        ))
    }

    /// What an honest member gives for each file: an encoded point, then ss_pq of a hybrid one.
    pub fn honest_files(
        &self,
        member: Member,
        quorum: &Quorum,
        headers: &[ContributionHeader],
    ) -> Vec<(Vec<u8>, Option<[u8; 32]>)> {
        let given = headers.iter().map(|header| {
            let given = self
                .share(member)
                .release(quorum, header)
                .expect("in the quorum");
            let secret = given.ml_kem.as_ref().map(|secret| *secret.expose());
            (given.partial.point().uncompressed().to_vec(), secret)
        });
        given.collect()
    }

    /// An answer of the shape that SPEC has, with this content and this signer; written apart from the library's encoder.
    pub fn craft(
        &self,
        question: B256,
        member: Member,
        files: &[(Vec<u8>, Option<[u8; 32]>)],
        recipient: &TaggedRecipient,
        signer: &SigningKey,
        rng: &mut ChaCha20Rng,
    ) -> Vec<u8> {
        let number = member.number().to_be_bytes();
        let mut plain = [question.as_slice(), &number].concat();
        for (partial, secret) in files {
            plain.extend(partial);
            plain.extend(secret.iter().flatten());
        }
        let recipient = Recipient::Tagged(recipient.clone());
        let ciphertext = seal::seal(&[recipient], &plain, rng).expect("one recipient");
        self.envelope(question, member, &ciphertext, signer)
    }

    /// Version, kind, statement and signature around any bytes.
    pub fn envelope(
        &self,
        question: B256,
        member: Member,
        ciphertext: &[u8],
        signer: &SigningKey,
    ) -> Vec<u8> {
        let number = member.number().to_be_bytes();
        let log = LogHead {
            index: 1,
            hash: B256::repeat_byte(7),
        };
        let statement = Statement {
            question,
            member,
            ciphertext: sha256(ciphertext),
            log,
        };
        let signature = sign(signer, statement.signing_hash(&ESCROW)).as_bytes();
        let head = [&log.index.to_be_bytes()[..], log.hash.as_slice()].concat();
        [
            &[1, 3],
            question.as_slice(),
            &number,
            &head,
            &signature,
            ciphertext,
        ]
        .concat()
    }
}

/// The head of a holder's log that has one line: this release.
pub fn log_of(question: &Question, release: &Release) -> LogHead {
    let mut log = Log::default();
    let event = LogEvent::Released {
        job: release.job,
        attempt: release.attempt,
        release: question.release(),
        input_root: release.input_root,
        count: release.input_count,
        keys: release.keys,
        quorum: question.quorum().members().to_vec(),
    };
    log.note(1_700_000_000, event).expect("the first line");
    log.head()
}

pub fn signer(rng: &mut ChaCha20Rng) -> SigningKey {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    SigningKey::from_slice(&bytes).expect("below the order but once in 2^128")
}

pub fn account(key: &SigningKey) -> Address {
    Address::from_private_key(key)
}

pub fn sign(key: &SigningKey, hash: B256) -> Signature {
    key.sign_prehash_recoverable(hash.as_slice())
        .expect("any digest is signed")
        .into()
}

/// One contribution: what is anchored, the file, the plaintext.
fn file(
    n: u8,
    kind: Kind,
    recipient: &TaggedRecipient,
    rng: &mut ChaCha20Rng,
) -> (Anchored, Vec<u8>, Vec<u8>) {
    let context = context(n);
    let to = match kind {
        Kind::Hybrid => recipient.clone(),
        Kind::Garbage => foreign_ml_kem().recipient(recipient.point().clone()),
        Kind::Classical | Kind::Altered => recipient.classical(),
    };
    let plain = format!("record {n}\n").into_bytes();
    let mut file = contribution::seal(&to, &context, &plain, rng).expect("sealed");
    if kind == Kind::Altered {
        let text = String::from_utf8_lossy(&file);
        let mac = text.find("\n--- ").expect("a MAC line") + 5;
        file[mac] = if file[mac] == b'A' { b'B' } else { b'A' };
    }
    (anchored(n, &file, recipient), file, plain)
}

/// The ML-KEM key of a contributor who seals to the committee's P-256 key and this one: what the members decapsulate opens
/// nothing. See [`header`].
pub fn foreign_ml_kem() -> MlKemKey {
    MlKemKey::from_seed(&[9; 64])
}

pub fn context(n: u8) -> SenderContext {
    SenderContext {
        chain_id: 31_337,
        registry: [1; 20],
        collective: COLLECTIVE.into(),
        contributor: ContributorId::from_address(Address::with_last_byte(n + 1))
            .0
            .0,
        nonce: B256::with_last_byte(1).0,
    }
}

/// The header as the index has it. A file to [`foreign_ml_kem`] stands for one whose maker, who knows the secret of its
/// point, has proven it for the committee's key all the same: no proof says that a ciphertext decapsulates to what was used.
pub fn header(n: u8, file: &[u8], recipient: &TaggedRecipient) -> ContributionHeader {
    match contribution::parse(file, recipient, &context(n)) {
        Err(ContributionError::Proof(ProofError::Refused)) => {
            contribution::recall(file, recipient, Sender::Proven).expect("a stanza of ours")
        }
        parsed => parsed.expect("a contribution").0,
    }
}

fn anchored(n: u8, file: &[u8], recipient: &TaggedRecipient) -> Anchored {
    let header = header(n, file, recipient);
    let terms = Terms {
        purposes: [Purpose::Statistics].into_iter().collect(),
        expiry: 1 << 40,
    };
    let commitment = Commitment {
        header: header.sha256().into(),
        payload: B256::ZERO,
        length: 0,
        source: "poll".into(),
    };
    let contribution = Contribution {
        collective: COLLECTIVE,
        contributor: ContributorId::from_address(Address::with_last_byte(n + 1)),
        point: Point(header.point_id().into()),
        commitment: commitment.digest(),
        terms: terms.digest(),
        nonce: 1,
    };
    Anchored {
        entry: SignedContribution {
            contribution,
            commitment,
            terms,
            signature: Signature::new(U256::from(1), U256::from(1), false),
        },
        block: 5,
        time: 60,
    }
}

type Input = (
    InputSet,
    Vec<ContributionHeader>,
    Vec<Vec<u8>>,
    Vec<Vec<u8>>,
);

fn derive<'a>(anchored: impl IntoIterator<Item = &'a Anchored>) -> InputSet {
    let selector = Selector {
        source: "poll".into(),
        declaration: BlobId(B256::ZERO),
        columns: vec!["age".into()],
        since: None,
        until: None,
    };
    let scope = Scope {
        selector: &selector,
        purposes: Purpose::Statistics.into(),
        allow_block: 100,
        deny_time: 1_000,
        admission: Admission::Open,
        list: None,
        revocations: &Revocations::default(),
    };
    InputSet::derive(&scope, anchored).expect("files")
}

fn input(files: Vec<(Anchored, Vec<u8>, Vec<u8>)>, recipient: &TaggedRecipient) -> Input {
    let input = derive(files.iter().map(|(anchored, ..)| anchored));
    let (mut headers, mut sealed, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for member in input.members() {
        let found = files.iter().find(|(anchored, ..)| anchored == member);
        let (anchored, file, text) = found.expect("it came from there");
        let n = anchored.entry.contribution.contributor.0[31] - 1;
        headers.push(header(n, file, recipient));
        sealed.push(file.clone());
        plain.push(text.clone());
    }
    (input, headers, sealed, plain)
}
