//! Payloads: every way to seal gives the same bytes, every way to open gives the same plaintext or the same refusal, and no
//! single defect passes.

use std::io::{Read, Write};
use std::num::NonZeroUsize;

use collective::limits::{MAX_HEADER_BYTES, MIN_PARALLEL_BYTES};
use collective::seal::header::{FileKey, Header, HeaderError, Stanza};
use collective::seal::payload::{self, CHUNK, Decryptor, Encryptor, NONCE_LEN, PayloadError};
use proptest::prelude::*;

const SEALED_CHUNK: usize = CHUNK + 16;

fn key() -> FileKey {
    FileKey::from_bytes(*b"YELLOW SUBMARINE")
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn seal(plaintext: &[u8], threads: NonZeroUsize) -> Vec<u8> {
    let mut out = vec![0; payload::sealed_len(plaintext.len())];
    payload::seal_into(&key(), [7; NONCE_LEN], plaintext, &mut out, threads);
    out
}

/// What a stream gives out and how it ends, read in steps of `step` bytes.
fn stream(body: &[u8], step: usize) -> Result<Vec<u8>, PayloadError> {
    let refused = |error: std::io::Error| {
        *error
            .get_ref()
            .unwrap()
            .downcast_ref::<PayloadError>()
            .expect("a payload error")
    };
    let mut stream = Decryptor::new(&key(), body).map_err(refused)?;
    let (mut out, mut buffer) = (Vec::new(), vec![0; step]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(out),
            Ok(count) => out.extend_from_slice(&buffer[..count]),
            Err(error) => {
                let error = refused(error);
                // A failure stays.
                assert_eq!(refused(stream.read(&mut buffer).unwrap_err()), error);
                return Err(error);
            }
        }
    }
}

/// Lengths at, before and after each boundary of the first three chunks.
fn boundary_lengths() -> impl Iterator<Item = usize> {
    [0, 1, 15, 16, 17]
        .into_iter()
        .chain((1..=3).flat_map(|n| [n * CHUNK - 1, n * CHUNK, n * CHUNK + 1]))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn slices_and_streams_give_the_same_bytes() {
    for len in boundary_lengths() {
        let plaintext = pattern(len);
        let sealed = seal(&plaintext, NonZeroUsize::MIN);
        for step in [1 << 12, CHUNK - 1, CHUNK, CHUNK + 1, 1 << 20] {
            let mut writer = Encryptor::new(&key(), [7; NONCE_LEN], Vec::new()).unwrap();
            plaintext
                .chunks(step)
                .for_each(|part| writer.write_all(part).unwrap());
            assert_eq!(writer.finish().unwrap(), sealed, "{len} in steps of {step}");
            assert_eq!(stream(&sealed, step).as_ref(), Ok(&plaintext));
        }
        assert_eq!(payload::opened_len(&sealed), Ok(len));
        assert_eq!(payload::open(&key(), &sealed).as_ref(), Ok(&plaintext));
    }
}

#[test]
fn threads_do_not_change_the_bytes() {
    for len in [
        0,
        MIN_PARALLEL_BYTES - 1,
        MIN_PARALLEL_BYTES,
        17 * CHUNK,
        18 * CHUNK - 1,
        33 * CHUNK + 5,
    ] {
        let plaintext = pattern(len);
        let one = seal(&plaintext, threads(1));
        for count in [2, 3, 7, 64] {
            assert_eq!(seal(&plaintext, threads(count)), one, "{len} on {count}");
            let opened = payload::open_with_threads(&key(), &one, threads(count));
            assert_eq!(opened.as_ref(), Ok(&plaintext));
        }
    }
}

#[test]
fn the_first_damaged_chunk_is_named_whatever_the_threads() {
    let sealed = seal(&pattern(40 * CHUNK), threads(1));
    let mut damaged = sealed.clone();
    for chunk in [31, 12] {
        damaged[NONCE_LEN + chunk * SEALED_CHUNK + 5] ^= 1;
        for count in [1, 2, 5] {
            let refused = payload::open_with_threads(&key(), &damaged, threads(count));
            assert_eq!(
                refused,
                Err(PayloadError::NotAuthentic {
                    chunk: chunk as u64
                })
            );
        }
    }
}

#[test]
fn truncation_and_trailing_bytes_are_told_apart() {
    let sealed = seal(&pattern(3 * CHUNK), NonZeroUsize::MIN);
    let end_of = |chunks: usize| NONCE_LEN + chunks * SEALED_CHUNK;
    let garbage = |tail: &[u8]| [&sealed, tail].concat();
    let short = seal(b"short", NonZeroUsize::MIN);
    let cases: Vec<(&str, Vec<u8>, PayloadError)> = vec![
        ("nothing", vec![], PayloadError::NoNonce),
        ("half a nonce", sealed[..8].to_vec(), PayloadError::NoNonce),
        (
            "only a nonce",
            sealed[..NONCE_LEN].to_vec(),
            PayloadError::Truncated,
        ),
        (
            "one chunk less",
            sealed[..end_of(2)].to_vec(),
            PayloadError::Truncated,
        ),
        (
            "a byte less",
            sealed[..end_of(3) - 1].to_vec(),
            PayloadError::NotAuthentic { chunk: 2 },
        ),
        (
            "half a tag",
            sealed[..end_of(2) + 8].to_vec(),
            PayloadError::NotAuthentic { chunk: 2 },
        ),
        (
            "a tag alone",
            sealed[..end_of(2) + 16].to_vec(),
            PayloadError::EmptyLastChunk,
        ),
        ("a byte more", garbage(&[0]), PayloadError::Trailing),
        (
            "twenty bytes more",
            garbage(&[0; 20]),
            PayloadError::Trailing,
        ),
        (
            "the last chunk twice",
            garbage(&sealed[end_of(2)..]),
            PayloadError::Trailing,
        ),
        (
            "a short one and a byte",
            [&short[..], &[0]].concat(),
            PayloadError::NotAuthentic { chunk: 0 },
        ),
    ];
    for (name, body, expected) in cases {
        assert_eq!(payload::open(&key(), &body), Err(expected), "{name}");
        assert_eq!(stream(&body, CHUNK), Err(expected), "{name}");
    }
    // Chunks in another order, and under another key.
    let mut swapped = sealed.clone();
    swapped[NONCE_LEN..end_of(2)].rotate_left(SEALED_CHUNK);
    assert_eq!(
        payload::open(&key(), &swapped),
        Err(PayloadError::NotAuthentic { chunk: 0 })
    );
    let other = FileKey::from_bytes([0; 16]);
    assert_eq!(
        payload::open(&other, &sealed),
        Err(PayloadError::NotAuthentic { chunk: 0 })
    );
}

#[test]
fn an_encryptor_that_is_not_finished_leaves_a_truncated_file() {
    let mut out = Vec::new();
    let mut writer = Encryptor::new(&key(), [7; NONCE_LEN], &mut out).unwrap();
    writer.write_all(&pattern(2 * CHUNK)).unwrap();
    drop(writer);
    assert_eq!(payload::open(&key(), &out), Err(PayloadError::Truncated));
}

#[test]
fn headers_stop_at_their_limits() {
    let line = |len: usize| [b"-> ".as_slice(), &vec![b'a'; len], b"\n\n"].concat();
    let mac = format!("--- {}\n", "A".repeat(43));
    let header = |stanzas: &[u8]| [b"age-encryption.org/v1\n", stanzas, mac.as_bytes()].concat();
    let room = MAX_HEADER_BYTES - header(b"").len() - line(0).len();
    assert!(Header::parse(&header(&line(room))).is_ok());
    assert_eq!(
        Header::parse(&header(&line(room + 1))).unwrap_err(),
        HeaderError::TooLong
    );
    // The limit holds for the line that is never ended, too.
    let endless = [
        b"age-encryption.org/v1\n-> ".as_slice(),
        &vec![b'a'; 1 << 20],
    ]
    .concat();
    assert_eq!(Header::parse(&endless).unwrap_err(), HeaderError::TooLong);
    assert_eq!(
        Header::parse(&endless[..1000]).unwrap_err(),
        HeaderError::Cut
    );
    assert!(Header::parse(&header(&line(1).repeat(32))).is_ok());
    assert_eq!(
        Header::parse(&header(&line(1).repeat(33))).unwrap_err(),
        HeaderError::TooManyStanzas
    );
    for (bytes, expected) in [
        (b"".as_slice(), HeaderError::Cut),
        (b"age-enc", HeaderError::Cut),
        (b"age-encryption.org/v1", HeaderError::Cut),
        (b"age-encryption.org/v2\n", HeaderError::Version),
        (b"age-encryption.org/v1\r\n", HeaderError::Version),
        (b"PK\x03\x04", HeaderError::NotAge),
        (&header(b""), HeaderError::NoStanza),
        (
            &header(b"-> scrypt\n\n-> a\n\n"),
            HeaderError::ScryptNotAlone,
        ),
        (&header(b"-> a  b\n\n"), HeaderError::Stanza),
        (&header(b"-> a\nAB\n"), HeaderError::Stanza),
        (
            b"age-encryption.org/v1\n-> a\n\n--- AAAA\n",
            HeaderError::MacLine,
        ),
        (
            b"age-encryption.org/v1\n-> a\n\n---\n",
            HeaderError::MacLine,
        ),
        (b"age-encryption.org/v1\n-> a\n\nx\n", HeaderError::MacLine),
    ] {
        assert_eq!(
            Header::parse(bytes).unwrap_err(),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }
}

proptest! {
    // A failure prints its case; files of old cases are not kept.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// No byte of a payload can change unseen.
    #[test]
    fn any_altered_byte_is_refused(len in 0usize..3 * CHUNK, at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut sealed = seal(&pattern(len), NonZeroUsize::MIN);
        let at = at.index(sealed.len());
        sealed[at] ^= flip;
        prop_assert!(payload::open(&key(), &sealed).is_err());
        prop_assert!(stream(&sealed, CHUNK).is_err());
    }

    /// No prefix of a payload opens.
    #[test]
    fn any_prefix_is_refused(len in 0usize..3 * CHUNK, cut in any::<prop::sample::Index>()) {
        let sealed = seal(&pattern(len), NonZeroUsize::MIN);
        let cut = &sealed[..cut.index(sealed.len())];
        prop_assert!(payload::open(&key(), cut).is_err());
        prop_assert!(stream(cut, CHUNK).is_err());
    }

    /// A header that is written reads back as the same stanzas and the same bytes, and its MAC holds for its key only.
    #[test]
    fn headers_read_back(
        stanzas in prop::collection::vec(
            (prop::collection::vec("[!-~]{1,40}", 1..4), prop::collection::vec(any::<u8>(), 0..200)),
            1..8,
        ),
        rest in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let stanzas: Vec<_> = stanzas
            .into_iter()
            .map(|(arguments, body)| Stanza::new(arguments, body).unwrap())
            .collect();
        let scrypt = stanzas.iter().any(|stanza| stanza.kind() == "scrypt");
        prop_assume!(!scrypt);
        let header = Header::new(stanzas.clone(), &key()).unwrap();
        let file = [header.as_bytes(), &rest].concat();
        let (read, left) = Header::parse(&file).unwrap();
        prop_assert_eq!(&read, &header);
        prop_assert_eq!(read.stanzas(), stanzas.as_slice());
        prop_assert_eq!(left, rest.as_slice());
        prop_assert!(read.verify_mac(&key()).is_ok());
        prop_assert!(read.verify_mac(&FileKey::from_bytes([1; 16])).is_err());
    }

    /// Whatever parses is written in one way only: nothing that was read differs from what would be written.
    #[test]
    fn headers_have_one_encoding(bytes in mutated_header()) {
        if let Ok((header, rest)) = Header::parse(&bytes) {
            let written = Header::new(header.stanzas().to_vec(), &key()).unwrap();
            let mac = header.as_bytes().len() - 44;
            prop_assert_eq!(&header.as_bytes()[..mac], &written.as_bytes()[..mac]);
            prop_assert_eq!(header.as_bytes().len() + rest.len(), bytes.len());
        }
    }
}

/// A good header with one byte replaced, removed or put in.
fn mutated_header() -> impl Strategy<Value = Vec<u8>> {
    let stanzas = vec![
        Stanza::new(vec!["X25519".into(), "abc".into()], vec![5; 48]).unwrap(),
        Stanza::new(vec!["g".into()], vec![6; 31]).unwrap(),
    ];
    let good = Header::new(stanzas, &key()).unwrap().as_bytes().to_vec();
    (any::<prop::sample::Index>(), any::<u8>(), 0..3).prop_map(move |(at, byte, what)| {
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        match what {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        bytes
    })
}
