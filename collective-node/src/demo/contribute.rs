//! Chapter 2: everybody seals, signs and sends; what is not right is refused.

use std::time::{Duration, Instant};

use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use collective::contribution::SignedContribution;
use collective::id::{ContributorId, Point};
use collective::seal::header::{FileKey, Header, Stanza};
use collective::seal::tagged::{TaggedIdentity, TaggedRecipient, TaggedStanza};
use collective::seal::{Recipient, contribution, seal};
use collective::terms::{Purpose, Terms};
use futures_util::{StreamExt, stream};

use super::election::{RESPONDENTS, records, terms};
use super::{Account, World};
use crate::client::ClientError;
use crate::contributor::{self, Destination, prepare, signed};
use crate::driver::fault_name;
use crate::intake::{MAX_UPLOAD_BYTES, join};

/// Requests under way at once: two cores seal about as fast as the node takes in.
const AT_ONCE: usize = 32;

/// Unix seconds at which the respondents' terms end: far enough for a story with days in it.
pub const TERMS_EXPIRE: u64 = 4_000_000_000;

pub async fn tell(world: &World, account: &mut Account) -> Result<()> {
    let uploads = seal_all(world).await?;
    let bytes: usize = uploads
        .iter()
        .map(|(entry, file)| join(entry, file).len())
        .sum();
    account.tell(
        "each wrote the record, chose purposes, sealed it with a sender proof, signed the leaf",
    );

    let started = Instant::now();
    let bar = account.progress(uploads.len() as u64, "contributing");
    let acknowledged = send_all(world, &uploads, &bar).await?;
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    account.check(
        "every contribution is acknowledged, which means: on the node's disk",
        acknowledged == RESPONDENTS,
        format!("{acknowledged} in {seconds:.1} s"),
    );
    account.figure(
        "contributions acknowledged per second",
        format!("{:.0}", acknowledged as f64 / seconds),
    );
    account.figure(
        "bytes per contribution, header and proof included",
        format!("{}", bytes / uploads.len()),
    );

    refusals(world, &uploads, account).await?;
    anchored(world, account).await
}

/// Seals everybody's record on two threads, as their own machines would.
async fn seal_all(world: &World) -> Result<Vec<(SignedContribution, Vec<u8>)>> {
    let recipient = world.recipient()?;
    let deployment = world.deployment;
    let people: Vec<(usize, PrivateKeySigner, Vec<u8>)> = world
        .contributors
        .iter()
        .cloned()
        .zip(records()?)
        .enumerate()
        .map(|(row, (account, record))| (row, account, record))
        .collect();
    let halves = people.chunks(people.len().div_ceil(2)).map(|half| {
        let (half, recipient) = (half.to_vec(), recipient.clone());
        tokio::task::spawn_blocking(move || -> Result<Vec<_>> {
            half.into_iter()
                .map(|(row, account, record)| {
                    let to = Destination {
                        deployment: &deployment,
                        recipient: &recipient,
                        source: "anes96",
                        terms: terms(row, TERMS_EXPIRE),
                    };
                    Ok(prepare(&to, &account, 0, &record, &mut rand::rng())?)
                })
                .collect()
        })
    });
    let mut uploads = Vec::with_capacity(people.len());
    for half in halves.collect::<Vec<_>>() {
        uploads.extend(half.await??);
    }
    Ok(uploads)
}

async fn send_all(
    world: &World,
    uploads: &[(SignedContribution, Vec<u8>)],
    bar: &indicatif::ProgressBar,
) -> Result<usize> {
    let answers: Vec<_> = stream::iter(uploads)
        .map(|(entry, file)| async move {
            let answer = world.client.contribute(join(entry, file)).await;
            bar.inc(1);
            answer
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut count = 0;
    for answer in answers {
        answer.context("a contribution was not taken")?;
        count += 1;
    }
    Ok(count)
}

/// Has every respondent contribute, without a word, and waits until all stand in a finalized block.
///
/// # Errors
/// Where a contribution is not taken or not anchored.
pub async fn populate(world: &World) -> Result<()> {
    let uploads = seal_all(world).await?;
    send_all(world, &uploads, &indicatif::ProgressBar::hidden()).await?;
    all_anchored(world).await
}

async fn all_anchored(world: &World) -> Result<()> {
    let node = world.node.as_ref().context("the node does not run")?;
    let mut view = node.view();
    let all = view.wait_for(|view| view.anchored().len() >= RESPONDENTS);
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .context("waiting for the batch")??;
    Ok(())
}

/// Waits until all stand in a finalized block and reads what that cost.
async fn anchored(world: &World, account: &mut Account) -> Result<()> {
    all_anchored(world).await?;
    let chain = world.reader().await?;
    let filter = alloy::rpc::types::Filter::new()
        .address(world.deployment.contributions)
        .event("BatchCommitted(address,address,bytes32,uint32,bytes32,bytes32)")
        .from_block(world.deployment.first_block);
    let logs = chain.provider().get_logs(&filter).await?;
    let mut gas = 0;
    for log in &logs {
        let hash = log.transaction_hash.context("a log without transaction")?;
        let receipt = chain.provider().get_transaction_receipt(hash).await?;
        gas += receipt.context("a log without receipt")?.gas_used;
    }
    let count = world.view()?.anchored().len();
    account.check(
        "all are anchored in finalized blocks; nobody paid gas but the node",
        count == RESPONDENTS,
        format!("{count} in {} batches", logs.len()),
    );
    account.figure(
        "gas per contribution",
        format!("{:.0}", gas as f64 / count as f64),
    );
    Ok(())
}

/// Each attack is one upload, and each has its own answer.
async fn refusals(
    world: &World,
    uploads: &[(SignedContribution, Vec<u8>)],
    account: &mut Account,
) -> Result<()> {
    let mallory = &world.contributors[1];
    let (victim, file) = &uploads[2];
    let recipient = world.recipient()?;
    let to = Destination {
        deployment: &world.deployment,
        recipient: &recipient,
        source: "anes96",
        terms: terms(1, TERMS_EXPIRE),
    };
    let record = &records()?[1];
    let (fresh, fresh_file) = prepare(&to, mallory, 1, record, &mut rand::rng())?;

    refused(
        world,
        account,
        "a replay",
        join(victim, file),
        (409, "already here"),
    )
    .await?;

    let mut forged = fresh.clone();
    forged.contribution.contributor = victim.contribution.contributor;
    let forged = contributor::signed(
        &world.deployment,
        mallory,
        forged.contribution,
        forged.commitment,
        forged.terms,
    );
    let what = "a leaf in another's name, signed by Mallory";
    refused(
        world,
        account,
        what,
        join(&forged, &fresh_file),
        (403, "another contributor, signed it"),
    )
    .await?;

    let mut widened = victim.clone();
    widened.terms = Terms {
        purposes: Purpose::ALL.into_iter().collect(),
        expiry: TERMS_EXPIRE,
    };
    widened.contribution.terms = widened.terms.digest();
    let what = "a leaf whose terms were widened under its signature";
    refused(
        world,
        account,
        what,
        join(&widened, file),
        (403, "does not match this leaf"),
    )
    .await?;

    let cut = &fresh_file[..fresh_file.len() - 7];
    refused(
        world,
        account,
        "a truncated file",
        join(&fresh, cut),
        (422, "the file was cut"),
    )
    .await?;

    let stranger = TaggedIdentity::random(&mut rand::rng()).recipient();
    let elsewhere = seal(&[Recipient::Tagged(stranger)], record, &mut rand::rng())?;
    let what = "a file sealed to another key";
    refused(
        world,
        account,
        what,
        resigned(world, mallory, &fresh, &elsewhere)?,
        (422, "sealed to another key"),
    )
    .await?;

    let oversize = vec![0; MAX_UPLOAD_BYTES + 1];
    refused(
        world,
        account,
        "an oversize body",
        oversize,
        (413, "more than"),
    )
    .await?;

    let copied = resigned(world, mallory, &fresh, file)?;
    refused(
        world,
        account,
        "a copy of a victim's file under Mallory's name",
        copied,
        (422, "sender proof"),
    )
    .await?;

    let planted = planted_multiple(&recipient, &victim.contribution.point, file)?;
    let what = "a planted multiple (−E) of a victim's point";
    refused(
        world,
        account,
        what,
        resigned(world, mallory, &fresh, &planted)?,
        (422, "no sender proof"),
    )
    .await?;

    let nobody = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x5a))?;
    let (entry, sealed) = prepare(&to, &nobody, 0, record, &mut rand::rng())?;
    refused(
        world,
        account,
        "somebody who is not admitted",
        join(&entry, &sealed),
        (403, "not admitted"),
    )
    .await
}

pub(super) async fn refused(
    world: &World,
    account: &mut Account,
    what: &str,
    upload: Vec<u8>,
    (status, words): (u16, &str),
) -> Result<()> {
    let answer = world.client.contribute(upload).await;
    let (holds, seen) = match answer {
        Ok(_) => (false, "it was taken".to_owned()),
        Err(ClientError::Refused(problem)) => {
            let holds = problem.status == status && problem.detail.contains(words);
            let fault = fault_name(problem.fault);
            (
                holds,
                format!("{}, fault: {fault}: {}", problem.status, problem.detail),
            )
        }
        Err(error) => (false, error.to_string()),
    };
    account.check(format!("refused: {what}"), holds, seen);
    Ok(())
}

/// Mallory's own, rightly signed leaf over a file that she did not make.
fn resigned(
    world: &World,
    mallory: &PrivateKeySigner,
    own: &SignedContribution,
    file: &[u8],
) -> Result<Vec<u8>> {
    let (header, payload) = contributor::split_file(file).context("not an age file")?;
    let mut commitment = own.commitment.clone();
    commitment.header = collective::id::sha256(header);
    commitment.payload = collective::contribution::payload_root(payload);
    commitment.length = payload.len() as u64;
    let mut contribution = own.contribution.clone();
    contribution.contributor = ContributorId::from_address(mallory.address());
    contribution.commitment = commitment.digest();
    contribution.point = Point(collective::id::sha256(header));
    let entry = signed(
        &world.deployment,
        mallory,
        contribution,
        commitment,
        own.terms,
    );
    Ok(join(&entry, file))
}

/// A file of Mallory's with −E in the place of the victim's E: same x, other y. Whoever is given the
/// Diffie–Hellman value of one has that of the other, so this file must never be opened for her.
fn planted_multiple(recipient: &TaggedRecipient, victim: &Point, file: &[u8]) -> Result<Vec<u8>> {
    const LABEL: &[u8] = b"age-encryption.org/mlkem768p256tag";
    let field = U256::from_str_radix(
        "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        16,
    )?;
    let (header, payload) = Header::parse(file)?;
    let stanza = header
        .stanzas()
        .iter()
        .find(|stanza| stanza.kind() == "mlkem768p256tag");
    let stanza = stanza.context("the victim's file has a collective stanza")?;
    let mut enc = STANDARD_NO_PAD.decode(&stanza.arguments()[1])?;
    let y = enc.len() - 32;
    let negated = field - U256::from_be_slice(&enc[y..]);
    enc[y..].copy_from_slice(&negated.to_be_bytes::<32>());
    let name = collective::id::sha256(recipient.point().uncompressed());
    let key = hmac::Key::new(hmac::HMAC_SHA256, LABEL);
    let tag = hmac::sign(&key, &[&enc[..], &name[..4]].concat());
    let arguments = vec![
        stanza.kind().to_owned(),
        STANDARD_NO_PAD.encode(&tag.as_ref()[..4]),
        STANDARD_NO_PAD.encode(&enc),
    ];
    let planted = Stanza::new(arguments, stanza.body().to_vec())?;
    let tagged = TaggedStanza::parse(&planted)?.context("it is a collective stanza")?;
    ensure!(tagged.is_for(recipient.point()), "it is for the collective");
    ensure!(
        contribution::point_id(tagged.point()) == victim.0.0,
        "it has the victim's x"
    );
    let header = Header::new(vec![planted], &FileKey::random(&mut rand::rng()))?;
    Ok([header.as_bytes(), payload].concat())
}
