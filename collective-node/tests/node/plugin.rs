//! `age-plugin-collective`, spoken to as an age client does.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use collective::seal::contribution::{self, ContributionError, Sender};
use collective::seal::header::{FileKey, Header, Stanza};
use collective::seal::plugin::ContributionRecipient;
use collective::seal::proof::{ProofError, SenderContext};
use collective::seal::tagged::{TaggedIdentity, TaggedRecipient};
use collective::seal::{self, Identity};

const KEYS: [[u8; 16]; 2] = [[7; 16], [8; 16]];

/// More than any conversation here has.
const OKS: usize = 16;

struct Key {
    identity: Identity,
    hybrid: TaggedRecipient,
}

fn key() -> Key {
    let identity = TaggedIdentity::random(&mut rand::rng());
    let hybrid = identity.recipient();
    let identity = Identity::Tagged(identity);
    Key { identity, hybrid }
}

fn context() -> SenderContext {
    SenderContext {
        chain_id: 31337,
        registry: [1; 20],
        collective: [2; 20],
        contributor: [3; 32],
        nonce: [4; 32],
    }
}

fn to(recipient: TaggedRecipient) -> String {
    let context = context();
    ContributionRecipient { context, recipient }.to_string()
}

/// Starts the plugin and says all this; the answers of the second phase are sent ahead.
fn plugin(machine: &str, said: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_age-plugin-collective"))
        .arg(format!("--age-plugin={machine}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let mut input = child.stdin.take().expect("a pipe");
    // A plugin that has refused reads no more: that the pipe is broken is then right.
    let _ = input.write_all(said.as_bytes());
    drop(input);
    child.wait_with_output().expect("the plugin ends")
}

/// A whole conversation that the plugin ends well: what it said.
fn conversation(commands: &str) -> Vec<Stanza> {
    let said = format!("{commands}-> done\n\n{}", "-> ok\n\n".repeat(OKS));
    let output = plugin("recipient-v1", &said);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let mut answers = stanzas(&output.stdout);
    let last = answers.pop().expect("an answer");
    assert_eq!(
        (last.kind(), last.arguments(), last.body()),
        ("done", [].as_slice(), [].as_slice())
    );
    answers
}

/// Stanzas have one text form: a header around them reads them.
fn stanzas(text: &[u8]) -> Vec<Stanza> {
    let mac = format!("--- {}\n", BASE64.encode([0; 32]));
    let file = [b"age-encryption.org/v1\n", text, mac.as_bytes()].concat();
    let (header, _) = Header::parse(&file).expect("stanzas");
    header.stanzas().to_vec()
}

fn add_recipient(recipient: &str) -> String {
    format!("-> add-recipient {recipient}\n\n")
}

fn wrap(key: &[u8]) -> String {
    format!("-> wrap-file-key\n{}\n", BASE64.encode(key))
}

/// What the client puts in the header of this file.
fn of_file(answers: &[Stanza], file: &str) -> Vec<Stanza> {
    let mine =
        |stanza: &&Stanza| stanza.kind() == "recipient-stanza" && stanza.arguments()[0] == file;
    let inner = |stanza: &Stanza| {
        Stanza::new(stanza.arguments()[1..].to_vec(), stanza.body().to_vec()).expect("a stanza")
    };
    answers.iter().filter(mine).map(inner).collect()
}

fn proven(answers: &[Stanza], key: &Key, recipient: &TaggedRecipient) {
    for (index, file_key) in KEYS.into_iter().enumerate() {
        let stanzas = of_file(answers, &index.to_string());
        assert_eq!(stanzas.len(), 2);
        let file_key = FileKey::from_bytes(file_key);
        let header = Header::new(stanzas, &file_key).expect("a header");
        let file = header.as_bytes();
        let (read, _) = contribution::parse(file, recipient, &context()).expect("a contribution");
        assert_eq!(read.sender(), Sender::Proven);
        let opened = seal::unwrap(std::slice::from_ref(&key.identity), &header).expect("a key");
        assert_eq!(opened.expose(), file_key.expose());

        let elsewhere = [
            SenderContext {
                contributor: [9; 32],
                ..context()
            },
            SenderContext {
                nonce: [9; 32],
                ..context()
            },
            SenderContext {
                collective: [9; 20],
                ..context()
            },
            SenderContext {
                registry: [9; 20],
                ..context()
            },
            SenderContext {
                chain_id: 9,
                ..context()
            },
        ];
        for other in elsewhere {
            assert_eq!(
                contribution::parse(file, recipient, &other).err(),
                Some(ContributionError::Proof(ProofError::Refused)),
                "{other:?}"
            );
        }
    }
}

#[test]
fn file_keys_are_wrapped_with_a_proof_and_hybrid_ones_with_a_label() {
    let key = key();
    let files = format!("{}{}", wrap(&KEYS[0]), wrap(&KEYS[1]));
    let labels = "-> extension-labels\n\n";
    // What no version knows is passed over, wherever it stands.
    let grease = format!("-> grease-7 a b\n{}\nAAAA\n", "A".repeat(64));

    let hybrid = add_recipient(&to(key.hybrid.clone()));
    let answers = conversation(&format!("{grease}{hybrid}{labels}{files}{grease}"));
    assert_eq!(answers[0].kind(), "labels");
    assert_eq!(answers[0].arguments(), ["postquantum"]);
    assert_eq!(answers.len(), 5);
    proven(&answers, &key, &key.hybrid);
    let answers = conversation(&format!("{files}{hybrid}"));
    assert_eq!(answers.len(), 4, "labels were not negotiated");
    proven(&answers, &key, &key.hybrid);

    let twice = format!("{hybrid}{hybrid}{files}");
    let answers = conversation(&twice);
    assert_eq!(answers.len(), 4, "as many for each file as recipients");
    proven(&answers, &key, &key.hybrid);

    let classical = add_recipient(&to(key.hybrid.classical()));
    let answers = conversation(&format!("{classical}{labels}{files}"));
    assert_eq!(answers.len(), 4, "a classical recipient has no label");
    proven(&answers, &key, &key.hybrid.classical());
}

#[test]
fn what_cannot_be_wrapped_to_is_named_and_nothing_is_wrapped() {
    let good = add_recipient(&to(key().hybrid));
    let other = add_recipient(&to(key().hybrid));
    let native = add_recipient(&key().hybrid.to_string());
    let identity = "-> add-identity AGE-PLUGIN-COLLECTIVE-1QQQQ\n\n";
    let file = wrap(&KEYS[0]);
    let refused = [
        (
            format!("{good}{other}{file}"),
            "recipient 1",
            "one recipient",
        ),
        (
            format!("{good}{good}{good}{file}"),
            "recipient 2",
            "one recipient",
        ),
        (
            format!("{good}{native}{file}"),
            "recipient 1",
            "unknown kind of key",
        ),
        (
            format!("{file}{}", add_recipient("nobody")),
            "recipient 0",
            "Bech32",
        ),
        (
            format!("{good}{identity}{file}"),
            "identity 0",
            "not to identities",
        ),
        (file.clone(), "internal", "no recipient"),
        (
            format!("{good}{file}{}", wrap(&[7; 15])),
            "internal",
            "16 bytes",
        ),
    ];
    for (commands, of, words) in refused {
        let answers = conversation(&commands);
        let [fault] = &answers[..] else {
            panic!("{words}: {} answers", answers.len());
        };
        assert_eq!(
            (fault.kind(), fault.arguments().join(" ").as_str()),
            ("error", of)
        );
        let message = String::from_utf8_lossy(fault.body());
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_conversation_that_is_none_ends() {
    let good = format!("{}{}", add_recipient(&to(key().hybrid)), wrap(&KEYS[0]));
    let long = format!("-> {}\n\n", "a".repeat(1 << 15));
    let large = format!(
        "-> large\n{}\n",
        format!("{}\n", "A".repeat(64)).repeat(2000)
    );
    let wrong = [
        (good.clone(), "talking to the age client"),
        (format!("{good}-> done\n\n-> fail\n\n"), "did not accept"),
        (format!("{good}-> done\n\n"), "talking to the age client"),
        ("hello\n\n".to_owned(), "no well-formed command"),
        ("-> a  b\n\n".to_owned(), "no well-formed command"),
        ("-> add-recipient\n\n".to_owned(), "no well-formed command"),
        ("-> wrap-file-key\nA\n".to_owned(), "no well-formed command"),
        (long, "too long"),
        (large, "too long"),
    ];
    for (said, words) in wrong {
        let output = plugin("recipient-v1", &said);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(words), "{words}: {error}");
    }
    let output = plugin("identity-v1", &good);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
