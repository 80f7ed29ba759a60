//! The library as an age client: seals or opens standard input to standard output, for people and for `interop/`.
//!
//! ```text
//! age key                 a new collective key, one per line: identity, age1tag1… and age1tagpq1…
//! age seal RECIPIENT      to age1…, age1tag1… or age1tagpq1…
//! age open IDENTITY       AGE-SECRET-KEY-1… or COLLECTIVE-SECRET-KEY-1…; an armored file opens too
//! age recipient RECIPIENT CONTEXT the age1collective1… string of one contribution, for age-plugin-collective
//! age check RECIPIENT CONTEXT     what a node asks of a contribution, sender proof included; prints the point's name
//! age quorum IDENTITY CONTEXT     the key shared over three holders: a contribution as every two of them open it
//! ```
//!
//! CONTEXT is SPEC's, in hexadecimal: chain id, registry, collective, contributor, nonce.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};

use alloy_primitives::hex;
use collective::committee::{self, KeyShare, Quorum};
use collective::seal::payload;
use collective::seal::plugin::ContributionRecipient;
use collective::seal::proof::SenderContext;
use collective::seal::tagged::{TaggedIdentity, TaggedRecipient};
use collective::seal::{self, Identity, Recipient, armor, contribution};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = match arguments[..] {
        ["key"] => key()?,
        ["seal", recipient] => {
            let recipient: Recipient = recipient.parse()?;
            seal::seal(&[recipient], &input()?, &mut randomness()?)?
        }
        ["open", identity] => {
            let identity: Identity = identity.parse()?;
            open(&identity, input()?)?
        }
        ["recipient", recipient, context] => {
            let contribution = ContributionRecipient {
                context: SenderContext::from_bytes(&hex::decode_to_array(context)?),
                recipient: recipient.parse()?,
            };
            format!("{contribution}\n").into_bytes()
        }
        ["check", recipient, context] => {
            let recipient: TaggedRecipient = recipient.parse()?;
            let context = SenderContext::from_bytes(&hex::decode_to_array(context)?);
            check(&recipient, &context, &input()?)?
        }
        ["quorum", identity, context] => {
            let Identity::Tagged(identity) = identity.parse()? else {
                return Err("only the collective's key can be shared".into());
            };
            let context = SenderContext::from_bytes(&hex::decode_to_array(context)?);
            quorum(identity, &context, &input()?)?
        }
        _ => {
            return Err(
                "usage: age key | seal RECIPIENT | open IDENTITY | {recipient,check} RECIPIENT CONTEXT | quorum IDENTITY CONTEXT"
                    .into(),
            );
        }
    };
    Ok(io::stdout().write_all(&output)?)
}

fn key() -> io::Result<Vec<u8>> {
    let identity = TaggedIdentity::random(&mut randomness()?);
    let hybrid = identity.recipient();
    let lines = format!(
        "{}\n{}\n{}\n",
        *identity.to_secret_string(),
        hybrid.classical(),
        hybrid
    );
    Ok(lines.into_bytes())
}

fn open(identity: &Identity, file: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
    let file = if armor::is_armored(&file) {
        armor::decode(&file)?
    } else {
        file
    };
    Ok(seal::open(std::slice::from_ref(identity), &file)?)
}

fn check(
    recipient: &TaggedRecipient,
    context: &SenderContext,
    file: &[u8],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let (header, _) = contribution::parse(file, recipient, context)?;
    let name = header.require_proof()?.point_id();
    Ok(format!("{}\n", hex::encode(name)).into_bytes())
}

/// Shares the key 2-of-3, and opens the contribution with each pair of shares.
fn quorum(
    identity: TaggedIdentity,
    context: &SenderContext,
    file: &[u8],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let recipient = identity.recipient();
    let (header, body) = contribution::parse(file, &recipient, context)?;
    let shares = committee::split(identity, 1, 2, 3, &mut randomness()?)?;
    let mut opened = Vec::new();
    for pair in [[0, 1], [0, 2], [1, 2]].map(|pair| pair.map(|place: usize| &shares[place])) {
        let quorum = Quorum::new(pair[0].certificate(), &pair.map(KeyShare::member))?;
        let first = pair[0].release(&quorum, &header)?;
        let second = pair[1].release(&quorum, &header)?;
        let dh = committee::combine(&quorum, &[first.partial, second.partial])?;
        let (stanza, ml_kem) = (header.stanza(), first.ml_kem.as_ref());
        let key = committee::open_header(&recipient, header.header(), stanza, &dh, ml_kem)?;
        opened.push(payload::open(&key, body)?);
    }
    match opened.iter().all(|other| *other == opened[0]) {
        true => Ok(opened.swap_remove(0)),
        false => Err("two pairs open it to different bytes".into()),
    }
}

fn input() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A generator seeded by the machine: the library takes its randomness as an argument.
fn randomness() -> io::Result<ChaCha20Rng> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(ChaCha20Rng::from_seed(seed))
}
