//! Digests that the contracts compute too. The values come from `eth-account`, an independent
//! implementation of EIP-712, and stand in SPEC.md and in `contracts/test/Vectors.t.sol`.

use alloy_primitives::{Address, B256, U256, address, b256, keccak256};
use collective::admission::AdmissionList;
use collective::contribution::{
    Contribution, Registry, acknowledgement_hash, batch_head, direct_head,
};
use collective::id::{
    BlobId, CommitmentDigest, ContributorId, KeysHash, Leaf, ManifestDigest, NodeId, Point,
    TermsDigest,
};
use collective::liveness::{self, Custody, Epoch, Results, Verdict};
use collective::receipt::{BlockRef, CommitteeStatement, Escrow, Outcome, Receipt, Release, Usage};
use collective::reward::{Earning, RewardLedger, RewardRoot};

const CHAIN: u64 = 31_337;
const CONTRACT: Address = address!("000000000000000000000000000000000000c0de");
const COLLECTIVE: Address = address!("00000000000000000000000000000000000000aa");
const CONTRIBUTOR: Address = address!("7E5F4552091A69125d5DfCb7b8C2659029395Bdf");

fn word(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

fn block(number: u64, hash: u8, time: u64) -> BlockRef {
    BlockRef {
        number,
        hash: word(hash),
        time,
    }
}

#[test]
fn contribution() {
    let contribution = Contribution {
        collective: COLLECTIVE,
        contributor: ContributorId::from_address(CONTRIBUTOR),
        point: Point(word(1)),
        commitment: CommitmentDigest(word(2)),
        terms: TermsDigest(word(3)),
        nonce: 7,
    };
    let registry = Registry {
        chain_id: CHAIN,
        address: CONTRACT,
    };
    assert_eq!(
        contribution.signing_hash(&registry),
        b256!("32653ae594de19bbffb533b5c42ad49efbdebda70a7436f0ef525798d96f13e6")
    );
    assert_eq!(
        contribution.leaf().0,
        b256!("c442c4cee9a51900b04cb1e7daebd35a09053dbfd7364575b84434ff7d98daf9")
    );
    assert_eq!(
        acknowledgement_hash(&registry, COLLECTIVE, contribution.leaf()),
        b256!("3b428eae5c90803fa641f3bf86ae28d9b402250da279b2e111014f53c9de5c7e")
    );
    assert_eq!(
        direct_head(B256::ZERO, contribution.leaf(), keccak256(b"details")),
        b256!("5e57d5bb8410e1de468d329c14abf4e2acf4787324ed91203a5fd3cd98091d1b")
    );
}

#[test]
fn committee() {
    let statement = CommitteeStatement {
        collective: COLLECTIVE,
        epoch: 1,
        threshold: 2,
        sender_proof: true,
        recipient: BlobId(word(4)),
        certificate: BlobId(word(19)),
        members: vec![NodeId(word(5)), NodeId(word(6))],
    };
    assert_eq!(
        statement.struct_hash(),
        b256!("f02987bc03458ef8fc33cd50aafed2fdff622ace6c55ec95170b891fa9e5ee89")
    );
    assert_eq!(
        statement.signing_hash(CHAIN, CONTRACT),
        b256!("17d1f3fc82c74eac047c176f36fd54b8999951723889fe1c8663f510a0dec6df")
    );
}

#[test]
fn release() {
    let release = Release {
        job: 1,
        attempt: 1,
        collective: COLLECTIVE,
        manifest: ManifestDigest(word(10)),
        node: NodeId(word(5)),
        keys: KeysHash(word(11)),
        allow: block(100, 12, 0),
        deny: block(200, 13, 0),
        input_root: word(14),
        input_count: 944,
        epoch: 1,
    };
    assert_eq!(
        release.signing_hash(&Escrow {
            chain_id: CHAIN,
            address: CONTRACT
        }),
        b256!("9ea2328d5b25cb30a99974a760e4c407734cda3d2a3f3d7d73e487aa8ede6274")
    );
}

#[test]
fn receipt() {
    let receipt = Receipt {
        job: 1,
        attempt: 1,
        manifest: ManifestDigest(word(10)),
        allow_hash: word(12),
        deny_hash: word(13),
        input_root: word(14),
        input_count: 944,
        outcome: Outcome::Ran,
        output: BlobId(word(15)),
        output_bytes: 4_096,
        usage: Usage {
            fuel: 1_000_000,
            memory_bytes: 65_536,
            milliseconds: 250,
        },
        sandbox: word(16),
        evidence: B256::ZERO,
        lag: 100,
        quorum: BlobId(word(21)),
    };
    assert_eq!(
        receipt.struct_hash(),
        b256!("01bc261bd91f306d9b1ab163adef0064f409e136171d82fdffe4f1636369e361")
    );
    assert_eq!(
        receipt.signing_hash(&Escrow {
            chain_id: CHAIN,
            address: CONTRACT
        }),
        b256!("12794a2e843791c7771363a4575498285547d4c4928182a20f000ab609222661")
    );
}

#[test]
fn reward_root() {
    let root = RewardRoot {
        collective: COLLECTIVE,
        token: address!("00000000000000000000000000000000000000ee"),
        root: word(17),
        total: U256::from(1_000),
        manifest: BlobId(word(18)),
        sequence: 1,
        epoch: 1,
    };
    assert_eq!(
        root.signing_hash(CHAIN, CONTRACT),
        b256!("530cb592e9590bbfcd47573d09ccfbe8d56f4383948f124e0ecad4a83e556fad")
    );
}

#[test]
fn leaves_and_heads() {
    let id = ContributorId::from_address(CONTRIBUTOR);
    let alone = AdmissionList::new([id]).expect("one id");
    assert_eq!(
        alone.root(),
        b256!("f36a8b87aafd9478d7d2381b28af812b645a6b4ef1df15781b38e01ef44d0b5c")
    );
    let mut ledger = RewardLedger::default();
    let earning = Earning::equal(U256::from(42), [id]);
    ledger
        .credit(&earning, COLLECTIVE)
        .expect("one contributor");
    assert_eq!(
        ledger.tree().expect("somebody earned").root(),
        b256!("7784cec83137aee6235ca0317b1bb5c498f56eb7a3c6f16f9442c5ec0d706053")
    );
    assert_eq!(
        batch_head(B256::ZERO, word(1), 944, BlobId(word(2))),
        b256!("eeb0c0a49b15c24d1d7b441d61400d69855f686ffb766821b9fc9d0845c58e19")
    );
}

#[test]
fn liveness() {
    let (epoch, pool) = (
        Epoch::new(COLLECTIVE, 20_833, word(7)),
        [(Leaf(word(1)), 200_000), (Leaf(word(2)), 1_025)],
    );
    assert_eq!(
        epoch.seed,
        b256!("354fbddf5aac175de4cc2832f92c3b1cc8a1e0b49e17c63be9541b4eb9e07207")
    );
    let challenges = epoch.challenges(&pool);
    let drawn: Vec<_> = challenges.iter().map(|it| it.index).take(5).collect();
    assert_eq!(drawn, [102, 0, 110, 187, 97]);

    let held = Verdict::Asked(Custody::Connected, liveness::Outcome::Held);
    let mut verdicts = vec![held; challenges.len()];
    verdicts[1] = Verdict::Asked(Custody::Escrow, liveness::Outcome::Offline);
    let results = Results {
        collective: COLLECTIVE,
        epoch: 20_833,
        randomness: word(7),
        verdicts,
    };
    let root = b256!("62848da463a0a95051344da9fdcbedb07eb4f00956a0a91dad7d3bf643e6c1fd");
    assert_eq!(results.root(&challenges), Some(root));
    assert_eq!(
        String::from_utf8(results.to_bytes()).expect("JSON"),
        format!(
            r#"{{"collective":"{COLLECTIVE:#x}","epoch":"20833","randomness":"{}","verdicts":"Ho{}"}}"#,
            word(7),
            "H".repeat(44)
        )
    );
}
