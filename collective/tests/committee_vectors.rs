//! Vectors of SPEC "Partials on the wire", "Quorum record" and "Holder's log". The values were computed apart from this
//! library, from the text alone.

use alloy_primitives::{B256, address, b256};
use collective::committee::answer::Statement;
use collective::committee::log::{Log, LogEvent, LogHead, LogLine};
use collective::committee::question::Question;
use collective::committee::{Member, Quorum, split};
use collective::id::KeysHash;
use collective::receipt::Escrow;
use collective::seal::tagged::TaggedIdentity;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const ESCROW: Escrow = Escrow {
    chain_id: 31_337,
    address: address!("000000000000000000000000000000000000c0de"),
};

fn word(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

fn member(number: u16) -> Member {
    Member::new(number).expect("a small number")
}

fn question() -> Question {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let shares = split(TaggedIdentity::random(rng), 1, 2, 3, rng).expect("two of three");
    let quorum = Quorum::new(shares[0].certificate(), &[member(1), member(3)]).expect("members");
    Question::partials(word(1), 0, quorum)
}

#[test]
fn questions_and_what_is_signed_over_answers() {
    let question = question();
    let known = b256!("c872836cb873d5770df074cab8547c839fd8bc5307d14bcf9d95f569cf96102a");
    assert_eq!(question.digest(), known);
    let proof = question.proof(vec![0, 5]);
    let known = b256!("5bfb83709a35ebdd1df387fd8c19d4a29c731c5da4627accfc66057412b0666b");
    assert_eq!(proof.digest(), known);
    let log = LogHead {
        index: 1,
        hash: word(3),
    };
    let statement = Statement {
        question: question.digest(),
        member: member(3),
        ciphertext: word(2),
        log,
    };
    let known = b256!("f084228f7d571f600564a0d483ee2c78f23f857824a910cf7c3e7d3b89eaa0e8");
    assert_eq!(statement.signing_hash(&ESCROW), known);
    let known = b256!("dfa3ba6c8111e053f43ba80b8d18acc0f3bfc812572bedcd4861f7c8c3f1e6f7");
    assert_eq!(log.signing_hash(&ESCROW), known);
}

#[test]
fn a_line_of_the_log() {
    let event = LogEvent::Released {
        job: 7,
        attempt: 1,
        release: word(1),
        input_root: word(4),
        count: 2,
        keys: KeysHash(word(5)),
        quorum: vec![member(1), member(3)],
    };
    let mut log = Log::default();
    let line = log.note(1_700_000_000, event).expect("the first line");
    let text = format!(
        "{{\"event\":{{\"released\":{{\"attempt\":1,\"count\":2,\"inputRoot\":\"{}\",\"job\":\"7\",\"keys\":\"{}\",\
         \"quorum\":[1,3],\"release\":\"{}\"}}}},\"index\":\"1\",\"previous\":\"{}\",\"time\":\"1700000000\"}}",
        word(4),
        word(5),
        word(1),
        B256::ZERO
    );
    assert_eq!(line.to_bytes(), text.as_bytes());
    assert_eq!(LogLine::parse(text.as_bytes()).as_ref(), Ok(line));
    let known = b256!("ccd8dff64594d8801fada87923641f7fad0f386559fd3a0e313254bd3cce5c61");
    assert_eq!(
        log.head(),
        LogHead {
            index: 1,
            hash: known
        }
    );
}
