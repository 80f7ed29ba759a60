//! Takes a contribution in: everything that can be checked without a key, then the disk.
//!
//! `Upload = u32 length ‖ JSON SignedContribution ‖ age file` (SPEC "Upload"). What is acknowledged
//! is on the disk. The plaintext is never seen here. What is larger than a MiB comes in parts (`resumable`).

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Signature};
use bytes::Bytes;
use collective::contribution::{
    BLOCK_BYTES, Contribution, ContributionRefusal, LEAF_BYTES, MAX_ENTRY_BYTES, MAX_PLACE_BYTES,
    PayloadOutline, PlaceUrl, SignatureRefusal, SignedContribution, SignedPlace,
    acknowledgement_hash, blocks, payload_root,
};
use collective::id::{ContributorId, Leaf};
use collective::limits::MAX_HEADER_BYTES;
use collective::permit::Fault;
use collective::seal::contribution::{self, ContributionError, ContributionHeader};
use collective::seal::payload::sealed_len;
use collective::seal::proof::SenderContext;
use collective::seal::tagged::TaggedRecipient;
use collective::source::Source;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::blobs::{BlobError, Blobs};
use crate::chain::Deployment;
use crate::chain::facts::Rotation;
use crate::crash::Step;
use crate::follower::View;
use crate::keystore::Keystore;
use crate::ledger::{Held, Kept, Ledger, LedgerError};
use crate::places::{PlaceError, Places};
use crate::stub::{Stub, StubDraft, stub_length};
use crate::uploads::{MAX_IDLE_SECONDS, Uploads};

pub use resumable::{Appended, Progress};

mod resumable;

/// Bytes of an upload in one request: a record, its header and its seals, with room to grow.
pub const MAX_UPLOAD_BYTES: usize = 1024 * 1024;

/// Bytes of a payload, whatever a source says: a year's archive of a person's conversations with their pictures, and what the
/// disk of a small node has room for several times over.
pub const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// Bytes of an upload whose payload stays where its contributor keeps it: header and outline in hexadecimal, entry and place.
pub const MAX_CONNECTED_BYTES: usize =
    2 * (MAX_HEADER_BYTES + MAX_OUTLINE_BYTES + MAX_PLACE_BYTES) + MAX_ENTRY_BYTES;

/// Bytes of a payload's outline: a hash for each MiB.
const MAX_OUTLINE_BYTES: usize = (MAX_PAYLOAD_BYTES / BLOCK_BYTES) as usize * 32;

/// For a place to give a whole payload before the node takes it in, or takes over its new place: 64 MiB at 3.6 Mbit/s; a GiB at 57.
pub const LOOK_LIMIT: Duration = Duration::from_secs(150);

/// For waiting until the node may ask, beyond what the place leaves of [`LOOK_LIMIT`].
pub const LOOK_WAIT: Duration = Duration::from_secs(20);

/// For a request that has the node look at a place: 20 s for what is sent, [`MAX_CONNECTED_BYTES`] at 50 kbit/s, then the look, then
/// 50 s to keep the hashes, of a GiB 32 MiB, in a bucket at 6 Mbit/s. Where others are kept first that takes longer, and goes on.
pub const LOOK_REQUEST: Duration = LOOK_LIMIT
    .saturating_add(LOOK_WAIT)
    .saturating_add(Duration::from_secs(20 + 50));

/// An upload whose payload stays where its contributor keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectedUpload {
    /// The signed leaf and its openings.
    pub entry: SignedContribution,
    /// The sealed file's header.
    pub header: alloy::primitives::Bytes,
    /// The hashes of the payload's blocks ([`PayloadOutline::to_bytes`]), with which the first wrong MiB at the place is found.
    pub outline: alloy::primitives::Bytes,
    /// Where the sealed file is.
    pub place: SignedPlace,
}

/// What a contributor gets: this leaf is on the disk here and will be anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The leaf, by which its batch, its proof and its uses are asked for later.
    pub leaf: Leaf,
    /// The node's signature over it, with which the contributor can anchor it without the node
    /// ([`collective::contribution::DirectContribution`]).
    pub signature: Signature,
}

/// The place of this leaf's file holds from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The leaf.
    pub leaf: Leaf,
}

/// Why an upload is not taken in. Each is one fact, and the contributor can act on most.
#[derive(Debug, Error)]
pub enum IntakeRefusal {
    /// The length prefix or the JSON.
    #[error("the upload is malformed: {0}")]
    Malformed(String),
    /// Over the limit.
    #[error("the upload has more than {MAX_UPLOAD_BYTES} bytes: send it in parts")]
    Oversize,
    /// Parts are appended where the last one ended.
    #[error("the upload stands at byte {0}: go on there")]
    AnotherOffset(u64),
    /// The network, most likely.
    #[error("the part was cut off: ask where the upload stands, and go on there")]
    Interrupted,
    /// Of two requests the newer one goes on.
    #[error("another request goes on with this upload")]
    Superseded,
    /// It never began, or is over.
    #[error(
        "no upload {0} is under way here: it was refused, cancelled or left alone for {MAX_IDLE_SECONDS} s, or never began"
    )]
    NoUpload(Leaf),
    /// One contributor's share.
    #[error("the contributor has several uploads under way: finish or cancel one of them")]
    TooManyUploads,
    /// All are in the way of each other.
    #[error("this node has no room for another upload just now: send it again later")]
    NoRoom,
    /// For somebody else.
    #[error("the contribution names collective {0}, this node serves another")]
    AnotherCollective(Address),
    /// The charter is not known yet.
    #[error("the collective has set no charter yet: nobody is admitted")]
    NoCharter,
    /// No committee is known yet.
    #[error("the collective has accepted no committee yet: there is no key to seal to")]
    NoCommittee,
    /// No such source.
    #[error("the collective declares no source '{0}'")]
    UnknownSource(String),
    /// Not in the admission list.
    #[error("contributor {0} is not admitted: admission is set by the members' vote")]
    NotAdmitted(ContributorId),
    /// The account's key was lost or stolen.
    #[error(
        "another key has taken over what contributor {0} has: nothing more is contributed under it; contribute under an account of your own"
    )]
    Rotated(ContributorId),
    /// Digests beside the leaf.
    #[error(transparent)]
    Contribution(ContributionRefusal),
    /// Somebody else's signature.
    #[error("the leaf names {contributor}, but {signer}, another contributor, signed it")]
    AnotherSigner {
        /// Whose key signed.
        signer: Address,
        /// Whom the leaf names.
        contributor: ContributorId,
    },
    /// A leaf that was changed after it was signed.
    #[error("the signature does not match this leaf: something in it was changed after signing")]
    SignatureMismatch,
    /// The age header.
    #[error(transparent)]
    Sealed(#[from] ContributionError),
    /// The key was replaced since, or in between.
    #[error("the file is sealed to a key that the collective has replaced: seal the record again")]
    ReplacedKey,
    /// The header is not the one that was signed.
    #[error("the file's header is not the one that the commitment names")]
    AnotherHeader,
    /// The file was cut or changed.
    #[error(
        "the payload has {found} bytes, the commitment names {expected}: the file was cut or extended"
    )]
    Truncated {
        /// Signed.
        expected: u64,
        /// Sent.
        found: u64,
    },
    /// The file was changed.
    #[error("the payload's bytes are not those that the commitment names")]
    AnotherPayload,
    /// Of another file, or none.
    #[error("the outline is not that of the payload that the commitment names")]
    AnotherOutline,
    /// Nothing, or more than is taken.
    #[error("a payload has 1 to {limit} bytes here, the commitment names {found}")]
    PayloadSize {
        /// Taken.
        limit: u64,
        /// Signed.
        found: u64,
    },
    /// The place of another contribution.
    #[error("the place is that of leaf {0}, another contribution")]
    AnotherPlace(Leaf),
    /// Not the contributor's word.
    #[error("the place is not signed by the contributor: {0}")]
    PlaceSignature(SignatureRefusal),
    /// Where the file should be it is not.
    #[error("{error}{remedy}", error = .0, remedy = .0.remedy())]
    Place(#[from] PlaceError),
    /// An old word.
    #[error(
        "a place with number {0} or a higher one is known already, or the node has this file itself"
    )]
    OldPlace(u64),
    /// Nobody contributed this here.
    #[error("no contribution {0} here")]
    Unknown(Leaf),
    /// The operator keeps all files.
    #[error(
        "this node takes no files that their contributors keep: send it whole, without a place"
    )]
    EscrowOnly,
    /// The members have not allowed it.
    #[error(
        "the charter lets nobody keep files of source '{0}' themselves: send it whole, without a place; the members can allow it by a charter"
    )]
    KeptByNobody(String),
    /// Nobody asks for it any more.
    #[error("contribution {0} is withdrawn: no place of it is asked any more")]
    Withdrawn(Leaf),
    /// The leaf's point is not the file's.
    #[error("the leaf's point is not that of the file's stanza")]
    AnotherPoint,
    /// Sent before.
    #[error("this contribution is already here: ask for its receipt by leaf {0}")]
    Replay(Leaf),
    /// The nonce is in use.
    #[error("contributor and nonce {0} are in use for another leaf: take the next nonce")]
    NonceTaken(u64),
    /// A copy of somebody's header.
    #[error("this ephemeral point was contributed before: seal the record afresh")]
    PointTaken,
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl IntakeRefusal {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Ledger(_)
            | Self::Blob(_)
            | Self::NoRoom
            | Self::NoCharter
            | Self::NoCommittee => Fault::Operator,
            Self::Place(error) => error.fault(),
            _ => Fault::Contributor,
        }
    }
}

/// Everything that taking in needs.
#[derive(Clone)]
pub struct Intake {
    /// Where the collective lives.
    pub deployment: Deployment,
    /// Chain facts.
    pub view: watch::Receiver<View>,
    /// Signs what is acknowledged.
    pub keys: Arc<Keystore>,
    /// Contributions held.
    pub ledger: Ledger,
    /// Sealed files.
    pub blobs: Blobs,
    /// Those that are on their way.
    pub uploads: Uploads,
    /// Those that contributors keep.
    pub places: Places,
    /// Whether contributors may keep their files themselves.
    pub connected: bool,
    /// Bytes of a payload that the operator takes, whatever the source needs.
    pub max_payload: Option<u64>,
}

impl Intake {
    /// Checks an upload and keeps it.
    ///
    /// # Errors
    /// The first check that fails; nothing is then kept that anybody could read.
    pub async fn accept(&self, upload: Bytes) -> Result<Acknowledgement, IntakeRefusal> {
        let (entry, file) = split(&upload)?;
        self.check(&entry, |recipient, proof_required| {
            check_file(&entry, &file, &self.deployment, recipient, proof_required).map(drop)
        })?;
        let contribution = entry.contribution.clone();
        let kept = match self.ledger.used(&contribution).await? {
            Some(used) => used,
            // Only now: a contributor could fill the disk with files of one nonce.
            None => {
                let file = self.blobs.put(file).await?;
                self.ledger.keep(Held { entry, file }).await?
            }
        };
        self.acknowledge(&contribution, kept)
    }

    /// Checks a contribution whose file its contributor keeps, the file as it is there once, and keeps header, hashes and place.
    ///
    /// # Errors
    /// The first check that fails; nothing is then kept that anybody could read.
    pub async fn accept_connected(
        &self,
        upload: ConnectedUpload,
    ) -> Result<Acknowledgement, IntakeRefusal> {
        if !self.connected {
            return Err(IntakeRefusal::EscrowOnly);
        }
        let outline = self.may_connect(&upload)?;
        let contribution = &upload.entry.contribution;
        if let Some(used) = self.ledger.used(contribution).await? {
            return self.acknowledge(contribution, used);
        }
        // Only now: a place is asked once for each contribution, and not for each try to use a nonce again.
        let places = self.for_a_stranger()?;
        let ConnectedUpload { entry, header, .. } = &upload;
        let url = &upload.place.place.url;
        let stub = self.look(&places, url, entry, header, &outline).await?;
        let intake = self.clone();
        to_its_end(async move {
            // So many drafts are on the disk as strangers are served, and no more.
            let _turn = places;
            intake.keep_connected(upload, stub).await
        })
        .await
    }

    /// Keeps what was looked at, if it may still be contributed.
    async fn keep_connected(
        &self,
        upload: ConnectedUpload,
        stub: StubDraft,
    ) -> Result<Acknowledgement, IntakeRefusal> {
        let _alone = self.uploads.taking_in().await;
        // All that took its time: the charter, the key or the account's controller may be others by now, and the nonce in use.
        self.may_connect(&upload)?;
        let contribution = upload.entry.contribution.clone();
        let kept = match self.ledger.used(&contribution).await? {
            Some(used) => used,
            None => {
                let file = stub.keep(&self.blobs).await?;
                let (entry, place) = (upload.entry, upload.place.place);
                let held = Held { entry, file };
                self.ledger.keep_connected(held, Some(place)).await?
            }
        };
        self.acknowledge(&contribution, kept)
    }

    /// All that is checked without its place; what the payload there has to be.
    fn may_connect(&self, upload: &ConnectedUpload) -> Result<PayloadOutline, IntakeRefusal> {
        let ConnectedUpload { entry, header, .. } = upload;
        self.check(entry, |recipient, proof_required| {
            let (_, rest) =
                check_header(entry, header, &self.deployment, recipient, proof_required)?;
            no_payload(rest)
        })?;
        let outline = PayloadOutline::parse(&upload.outline, &entry.commitment);
        let outline = outline.ok_or(IntakeRefusal::AnotherOutline)?;
        self.may_be_kept(&entry.commitment.source)?;
        self.check_place(&upload.place, entry)?;
        Ok(outline)
    }

    /// The node's word that it has a leaf's file: the same signature each time (RFC 6979).
    pub fn acknowledgement(&self, leaf: Leaf) -> Acknowledgement {
        let (registry, collective) = (self.deployment.registry(), self.deployment.collective);
        let signature = self
            .keys
            .sign(acknowledgement_hash(&registry, collective, leaf));
        Acknowledgement { leaf, signature }
    }

    fn acknowledge(
        &self,
        contribution: &Contribution,
        kept: Kept,
    ) -> Result<Acknowledgement, IntakeRefusal> {
        let leaf = contribution.leaf();
        match kept {
            Kept::New => {
                Step::KeptNotAcknowledged.reached();
                Ok(self.acknowledgement(leaf))
            }
            Kept::Replay => Err(IntakeRefusal::Replay(leaf)),
            Kept::NonceTaken => Err(IntakeRefusal::NonceTaken(contribution.nonce)),
            Kept::PointTaken => Err(IntakeRefusal::PointTaken),
        }
    }

    /// Takes over where a contributor keeps a file from now on, once the file is there. What the node has of it is made anew on the way,
    /// so that nothing which was lost of that stays lost.
    ///
    /// # Errors
    /// The first check that fails; the old place then holds on.
    pub async fn move_to(&self, place: SignedPlace) -> Result<Moved, IntakeRefusal> {
        let leaf = place.place.leaf;
        let found = self.ledger.contribution(leaf).await?;
        let (Held { entry, file }, _) = found.ok_or(IntakeRefusal::Unknown(leaf))?;
        self.may_move(&place, &entry).await?;
        let places = self.for_a_stranger()?;
        let Stub {
            header, outline, ..
        } = Stub::open(&self.blobs, file, &entry.commitment).await?;
        let url = &place.place.url;
        let stub = self.look(&places, url, &entry, &header, &outline).await?;
        let intake = self.clone();
        to_its_end(async move {
            let _turn = places;
            intake.keep_moved(place, &entry, stub).await
        })
        .await
    }

    /// Keeps what was looked at, if the place may still be another, and nothing that it takes the place of.
    async fn keep_moved(
        &self,
        place: SignedPlace,
        entry: &SignedContribution,
        stub: StubDraft,
    ) -> Result<Moved, IntakeRefusal> {
        let _alone = self.uploads.taking_in().await;
        // All that took its time: another key may speak for the account by now, or the contribution be withdrawn.
        self.may_move(&place, entry).await?;
        let leaf = place.place.leaf;
        let old = IntakeRefusal::OldPlace(place.place.number);
        let before = self.ledger.file(leaf).await?;
        let file = stub.keep(&self.blobs).await?;
        let (moved, unused) = match self.ledger.move_to(place.place, file).await? {
            Kept::New => (Ok(Moved { leaf }), before.filter(|it| *it != file)),
            // It was withdrawn a moment ago: what has a name there is dropped, or will be.
            _ => {
                let is_named = before == Some(file) && !self.ledger.is_dropped(file).await?;
                (Err(old), (!is_named).then_some(file))
            }
        };
        if let Some(unused) = unused
            && let Err(error) = self.blobs.remove(unused).await
        {
            tracing::warn!(%leaf, %error, "what was kept of a contributor's file before stays, and nothing names it");
        }
        moved
    }

    async fn may_move(
        &self,
        place: &SignedPlace,
        entry: &SignedContribution,
    ) -> Result<(), IntakeRefusal> {
        let (leaf, number) = (place.place.leaf, place.place.number);
        self.check_place(place, entry)?;
        if self.ledger.withdrawal(leaf).await?.is_some() {
            return Err(IntakeRefusal::Withdrawn(leaf));
        }
        match self.ledger.place(leaf).await? {
            Some((known, _)) if number > known => Ok(()),
            _ => Err(IntakeRefusal::OldPlace(number)),
        }
    }

    /// Whether the members let contributors keep files of this source themselves. One that is kept already may be moved all the same.
    fn may_be_kept(&self, source: &str) -> Result<(), IntakeRefusal> {
        let view = self.view.borrow();
        match view.charter() {
            Some(charter) if charter.may_be_kept(source) => Ok(()),
            _ => Err(IntakeRefusal::KeptByNobody(source.to_owned())),
        }
    }

    fn check_place(
        &self,
        place: &SignedPlace,
        entry: &SignedContribution,
    ) -> Result<(), IntakeRefusal> {
        if place.place.leaf != entry.contribution.leaf() {
            return Err(IntakeRefusal::AnotherPlace(place.place.leaf));
        }
        let contributor = entry.contribution.contributor;
        let speaks = |it: Rotation| ContributorId::from_address(it.controller);
        let controller = self.rotation(contributor).map_or(contributor, speaks);
        let checked = place.check(&self.deployment.registry(), controller);
        checked.map_err(IntakeRefusal::PlaceSignature)
    }

    fn rotation(&self, contributor: ContributorId) -> Option<Rotation> {
        self.view.borrow().rotations.get(&contributor).copied()
    }

    /// Places for one look, which ends in time.
    fn for_a_stranger(&self) -> Result<Places, IntakeRefusal> {
        let in_all = LOOK_LIMIT + LOOK_WAIT;
        Ok(self.places.for_a_stranger(LOOK_LIMIT, in_all)?)
    }

    /// What the node has to keep of a file whose payload of this outline is at a place, behind this header. The first wrong MiB ends it.
    async fn look(
        &self,
        places: &Places,
        place: &PlaceUrl,
        entry: &SignedContribution,
        header: &[u8],
        outline: &PayloadOutline,
    ) -> Result<StubDraft, IntakeRefusal> {
        let length = entry.commitment.length;
        self.uploads.has_room_for(stub_length(header, length))?;
        places.can_reach(place).await?;
        let mut stub = StubDraft::begin(&self.blobs, header, outline).await?;
        for block in blocks(length) {
            let behind = header.len();
            let (_, leaves) = fetch_block(places, place, entry, behind, outline, block).await?;
            stub.append(&leaves).await?;
        }
        Ok(stub)
    }

    /// Bytes of a payload of this source: what the operator says, or else what one request takes or the source's longest plaintext
    /// comes to, sealed. Of documents never more than that: nothing would read it, and it would be paid.
    pub fn max_payload(&self, source: &Source) -> u64 {
        let needed = sealed_len(source.max_bytes()).max(MAX_UPLOAD_BYTES) as u64;
        let allowed = self.max_payload.unwrap_or(needed).min(MAX_PAYLOAD_BYTES);
        match source.has_documents() {
            true => allowed.min(needed),
            false => allowed,
        }
    }

    fn check(
        &self,
        entry: &SignedContribution,
        check_sealed: impl Fn(&TaggedRecipient, bool) -> Result<(), IntakeRefusal>,
    ) -> Result<(), IntakeRefusal> {
        let contribution = &entry.contribution;
        if contribution.collective != self.deployment.collective {
            return Err(IntakeRefusal::AnotherCollective(contribution.collective));
        }
        let (charter, certificate, proof_required) = {
            let view = self.view.borrow();
            (
                view.charter().cloned().ok_or(IntakeRefusal::NoCharter)?,
                view.certificate.clone().ok_or(IntakeRefusal::NoCommittee)?,
                view.committee.proof_required(),
            )
        };
        let source = charter
            .source(&entry.commitment.source)
            .ok_or_else(|| IntakeRefusal::UnknownSource(entry.commitment.source.clone()))?;
        check_length(entry, self.max_payload(source))?;
        let admitted = |id| {
            charter
                .admission
                .as_ref()
                .is_none_or(|list| list.contains(id))
        };
        if !admitted(contribution.contributor) {
            return Err(IntakeRefusal::NotAdmitted(contribution.contributor));
        }
        if self.rotation(contribution.contributor).is_some() {
            return Err(IntakeRefusal::Rotated(contribution.contributor));
        }
        entry
            .check(&self.deployment.registry())
            .map_err(|refusal| match refusal {
                ContributionRefusal::Signature(SignatureRefusal::AnotherSigner {
                    signer,
                    contributor,
                }) => {
                    if admitted(ContributorId::from_address(signer)) {
                        IntakeRefusal::AnotherSigner {
                            signer,
                            contributor,
                        }
                    } else {
                        IntakeRefusal::SignatureMismatch
                    }
                }
                ContributionRefusal::Signature(_) => IntakeRefusal::SignatureMismatch,
                other => IntakeRefusal::Contribution(other),
            })?;
        let check = |recipient: &TaggedRecipient| check_sealed(recipient, proof_required);
        let checked = check(certificate.recipient());
        let Err(IntakeRefusal::Sealed(ContributionError::Proof(_))) = checked else {
            return checked;
        };
        let epochs = self.view.borrow().epochs.clone();
        match epochs
            .keys()
            .iter()
            .any(|key| check(&key.recipient).is_ok())
        {
            true => Err(IntakeRefusal::ReplacedKey),
            false => checked,
        }
    }
}

/// Whoever waits for it: sent again, a request that was cut off finds done what it began.
async fn to_its_end<T: Send + 'static>(
    keeping: impl Future<Output = Result<T, IntakeRefusal>> + Send + 'static,
) -> Result<T, IntakeRefusal> {
    let ended = tokio::spawn(keeping).await;
    ended.map_err(|error| BlobError::disk(io::Error::other(error)))?
}

/// A MiB of the payload that a contributor keeps behind a header of so many bytes, or what there is of it where it ends, with the
/// hashes of its leaves.
///
/// # Errors
/// Where it is not there, is not what the outline has, or the payload is longer or shorter than the commitment says.
pub async fn fetch_block(
    places: &Places,
    place: &PlaceUrl,
    entry: &SignedContribution,
    header: usize,
    outline: &PayloadOutline,
    block: Range<u64>,
) -> Result<(Bytes, Vec<B256>), IntakeRefusal> {
    let (header, expected) = (header as u64, entry.commitment.length);
    // One byte more than there should be: a longer file is another one.
    let more = u64::from(block.end == expected);
    let range = header + block.start..header + block.end + more;
    let bytes = places.read(place, range).await?;
    let found = block.start + bytes.len() as u64;
    if found != block.end {
        return Err(IntakeRefusal::Truncated { expected, found });
    }
    let leaves = outline.leaves(block.start / LEAF_BYTES as u64, &bytes);
    let leaves = leaves.ok_or(IntakeRefusal::AnotherPayload)?;
    Ok((bytes, leaves))
}

/// Checks a sealed file against the leaf and what it opens to: the header's rules, its proof, its
/// hash, the payload's length and root, the point. Returns the header and the payload.
///
/// # Errors
/// The first check that fails.
pub fn check_file<'a>(
    entry: &SignedContribution,
    file: &'a [u8],
    deployment: &Deployment,
    recipient: &TaggedRecipient,
    proof_required: bool,
) -> Result<(ContributionHeader, &'a [u8]), IntakeRefusal> {
    let (header, payload) = check_header(entry, file, deployment, recipient, proof_required)?;
    check_payload(entry, payload)?;
    Ok((header, payload))
}

/// The same as far as the header goes. Returns it and what follows it.
fn check_header<'a>(
    entry: &SignedContribution,
    file: &'a [u8],
    deployment: &Deployment,
    recipient: &TaggedRecipient,
    proof_required: bool,
) -> Result<(ContributionHeader, &'a [u8]), IntakeRefusal> {
    let Contribution {
        contributor,
        nonce,
        point,
        ..
    } = entry.contribution;
    let context = sender_context(deployment, contributor, nonce);
    let (header, rest) = contribution::parse(file, recipient, &context)?;
    if proof_required {
        header.require_proof()?;
    }
    if header.sha256() != entry.commitment.header.0 {
        return Err(IntakeRefusal::AnotherHeader);
    }
    if header.point_id() != point.0.0 {
        return Err(IntakeRefusal::AnotherPoint);
    }
    Ok((header, rest))
}

/// Whether a payload is the one that the commitment names.
///
/// # Errors
/// Where its length or a byte of it is another.
pub fn check_payload(entry: &SignedContribution, payload: &[u8]) -> Result<(), IntakeRefusal> {
    let (expected, found) = (entry.commitment.length, payload.len() as u64);
    if expected != found {
        return Err(IntakeRefusal::Truncated { expected, found });
    }
    if payload_root(payload) != entry.commitment.payload {
        return Err(IntakeRefusal::AnotherPayload);
    }
    Ok(())
}

fn check_length(entry: &SignedContribution, limit: u64) -> Result<(), IntakeRefusal> {
    match entry.commitment.length {
        length if (1..=limit).contains(&length) => Ok(()),
        found => Err(IntakeRefusal::PayloadSize { limit, found }),
    }
}

fn no_payload(rest: &[u8]) -> Result<(), IntakeRefusal> {
    match rest {
        [] => Ok(()),
        _ => Err(IntakeRefusal::Malformed(
            "something follows the header".into(),
        )),
    }
}

/// What a sender proof is bound to.
pub fn sender_context(
    deployment: &Deployment,
    contributor: ContributorId,
    nonce: u64,
) -> SenderContext {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&nonce.to_be_bytes());
    SenderContext {
        chain_id: deployment.chain_id,
        registry: deployment.contributions.into_array(),
        collective: deployment.collective.into_array(),
        contributor: contributor.0.0,
        nonce: word,
    }
}

/// Writes an upload.
pub fn join(entry: &SignedContribution, file: &[u8]) -> Vec<u8> {
    let entry = serde_json::to_vec(entry).expect("an entry is plain JSON values");
    let length = u32::try_from(entry.len()).expect("an entry is a few hundred bytes");
    [&length.to_be_bytes()[..], &entry, file].concat()
}

fn split(upload: &Bytes) -> Result<(SignedContribution, Bytes), IntakeRefusal> {
    if upload.len() > MAX_UPLOAD_BYTES {
        return Err(IntakeRefusal::Oversize);
    }
    let (entry, file) = parse_entry(upload)?;
    Ok((entry, upload.slice_ref(file)))
}

/// The entry that an upload begins with, and what follows it.
///
/// # Errors
/// [`IntakeRefusal::Malformed`].
pub fn parse_entry(upload: &[u8]) -> Result<(SignedContribution, &[u8]), IntakeRefusal> {
    let malformed = |what: &str| IntakeRefusal::Malformed(what.into());
    let (length, rest) = upload
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("no length"))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_ENTRY_BYTES || length > rest.len() {
        return Err(malformed("the length prefix does not fit"));
    }
    let (entry, file) = rest.split_at(length);
    let entry = serde_json::from_slice(entry)
        .map_err(|error| IntakeRefusal::Malformed(error.to_string()))?;
    Ok((entry, file))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_being_kept_is_kept_whoever_waits_for_it() {
        let ((go, may_go), (kept, is_kept)) = (oneshot::channel(), oneshot::channel());
        let keeping = to_its_end(async move {
            may_go.await.expect("told");
            kept.send(()).expect("somebody looks");
            Ok(())
        });
        assert!(keeping.now_or_never().is_none(), "nobody waits any more");
        go.send(()).expect("it goes on");
        is_kept.await.expect("done to its end");
    }
}
