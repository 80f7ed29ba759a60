//! Uploads in parts, which go on after a cut (SPEC "Upload"): first entry and header, checked as those of a small upload, then the
//! payload in as many parts as it takes.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use collective::contribution::PayloadOutline;
use collective::id::{BlobId, Leaf};
use collective::permit::Fault;
use futures_util::{Stream, StreamExt};

use super::{Acknowledgement, Intake, IntakeRefusal, check_header, join, no_payload, parse_entry};
use crate::blobs::BlobError;
use crate::contributor::read_header;
use crate::headers::{self, HeadersError};
use crate::ledger::Held;
use crate::uploads::{NoPlace, Turn, Upload};

/// How far an upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// By which it is asked for.
    pub leaf: Leaf,
    /// Bytes that are on the disk.
    pub offset: u64,
    /// Bytes in all.
    pub length: u64,
    /// Whether it is taken in.
    pub is_complete: bool,
}

/// What appending came to.
#[derive(Debug)]
pub enum Appended {
    /// More is to come.
    More(Progress),
    /// All is there, and taken in or refused for good.
    Over(Result<Acknowledgement, IntakeRefusal>),
}

impl Intake {
    /// Opens an upload by what comes before its payload; one that is open goes on.
    ///
    /// # Errors
    /// The first check that fails; nothing is then kept.
    pub async fn begin(&self, part: Bytes) -> Result<Progress, IntakeRefusal> {
        let (entry, header) = parse_entry(&part)?;
        let (before, header) = (part.len() - header.len(), part.slice_ref(header));
        self.check(&entry, |recipient, proof_required| {
            let (_, rest) =
                check_header(&entry, &header, &self.deployment, recipient, proof_required)?;
            no_payload(rest)
        })?;
        if let Some(used) = self.ledger.used(&entry.contribution).await? {
            self.acknowledge(&entry.contribution, used)?;
        }
        let begun = self.uploads.begin(entry, part.slice(..before), header);
        let upload = begun.await?;
        match self.stand(&upload).await {
            // It ended in the meantime: sent again it begins anew.
            Err(IntakeRefusal::NoUpload(_)) => Err(IntakeRefusal::Interrupted),
            stands => stands,
        }
    }

    /// How far an upload has come, or that it is taken in.
    ///
    /// # Errors
    /// [`IntakeRefusal::NoUpload`]; the ledger, or the store.
    pub async fn progress(&self, leaf: Leaf) -> Result<Progress, IntakeRefusal> {
        if let Some((held, _)) = self.ledger.contribution(leaf).await? {
            let header = headers::held(&self.ledger, &self.blobs, &held.entry).await;
            // That the store fails says nothing of the upload: whoever were told that there is none would begin anew.
            let header = header.map_err(|error| match error {
                HeadersError::Ledger(error) => IntakeRefusal::Ledger(error),
                HeadersError::Blob(error) => IntakeRefusal::Blob(error),
                HeadersError::Fetch { .. } | HeadersError::Missing(_) => {
                    IntakeRefusal::Blob(BlobError::Missing(held.file))
                }
            })?;
            let header = header.ok_or(IntakeRefusal::NoUpload(leaf))?;
            let length = join(&held.entry, &header).len() as u64 + held.entry.commitment.length;
            return Ok(Progress {
                leaf,
                offset: length,
                length,
                is_complete: true,
            });
        }
        let upload = self.uploads.get(leaf);
        self.stand(&upload.ok_or(IntakeRefusal::NoUpload(leaf))?)
            .await
    }

    /// Appends what comes to an upload that stands at `offset`, and takes it in if that is all.
    ///
    /// # Errors
    /// What came before the error stays, and the upload stays open.
    pub async fn append<E>(
        &self,
        leaf: Leaf,
        offset: u64,
        is_last: bool,
        mut parts: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Appended, IntakeRefusal> {
        let upload = self
            .uploads
            .get(leaf)
            .ok_or(IntakeRefusal::NoUpload(leaf))?;
        let mut turn = self.turn(&upload).await?;
        let stands_at = upload.before + turn.length();
        if offset != stands_at {
            return Err(IntakeRefusal::AnotherOffset(stands_at));
        }
        let commitment = &upload.entry.commitment;
        loop {
            let part = tokio::select! {
                part = parts.next() => part,
                () = turn.ends() => return Err(IntakeRefusal::Superseded),
            };
            let Some(part) = part else { break };
            let part = part.map_err(|_| IntakeRefusal::Interrupted)?;
            let found = (turn.length() + part.len() as u64).saturating_sub(upload.header);
            if found > commitment.length {
                let expected = commitment.length;
                return Err(IntakeRefusal::Truncated { expected, found });
            }
            let (going_on, written) = turn.append(part).await;
            written.map_err(BlobError::disk)?;
            turn = going_on;
        }
        turn = self.synced(&upload, turn).await?;
        if !is_last {
            return Ok(Appended::More(progress(&upload, &turn)));
        }
        let found = turn.length() - upload.header;
        if found != commitment.length {
            let expected = commitment.length;
            return Err(IntakeRefusal::Truncated { expected, found });
        }
        let (file, outline) = turn.finish().ok_or(IntakeRefusal::NoUpload(leaf))?;
        // To its end, whoever waits for it: what is kept must not lie here under a second name.
        let intake = self.clone();
        let ended = tokio::spawn(async move {
            match intake.take_in(&upload, file, outline).await {
                // Not the contributor's fault: the same last part may be sent again.
                Err(error) if error.fault() == Fault::Operator => Err(error),
                taken => {
                    intake.uploads.drop_upload(&upload, turn);
                    Ok(Appended::Over(taken))
                }
            }
        });
        ended.await.map_err(|_| IntakeRefusal::Interrupted)?
    }

    /// Drops what an earlier life took in, and did not come to drop.
    ///
    /// # Errors
    /// The ledger, or the disk.
    pub async fn drop_taken_in(&self) -> Result<(), IntakeRefusal> {
        for leaf in self.uploads.leaves() {
            if self.ledger.contribution(leaf).await?.is_some()
                && let Some(upload) = self.uploads.get(leaf)
            {
                self.uploads.drop_ended(&upload);
            }
        }
        Ok(())
    }

    /// Forgets an upload.
    ///
    /// # Errors
    /// [`IntakeRefusal::NoUpload`].
    pub async fn cancel(&self, leaf: Leaf) -> Result<(), IntakeRefusal> {
        let upload = self
            .uploads
            .get(leaf)
            .ok_or(IntakeRefusal::NoUpload(leaf))?;
        let turn = self.turn(&upload).await?;
        self.uploads.drop_upload(&upload, turn);
        Ok(())
    }

    /// Keeps a file that is whole, if it is the right one and may still be contributed.
    async fn take_in(
        &self,
        upload: &Upload,
        file: BlobId,
        outline: PayloadOutline,
    ) -> Result<Acknowledgement, IntakeRefusal> {
        let entry = &upload.entry;
        if outline.root() != entry.commitment.payload {
            return Err(IntakeRefusal::AnotherPayload);
        }
        let header = File::open(upload.file()).and_then(read_header);
        let header = header.map_err(BlobError::disk)?.unwrap_or_default();
        // Charter and committee may have changed since it was begun.
        self.check(entry, |recipient, proof_required| {
            check_header(entry, &header, &self.deployment, recipient, proof_required).map(drop)
        })?;
        let contribution = &entry.contribution;
        let _alone = self.uploads.taking_in().await;
        let kept = match self.ledger.used(contribution).await? {
            Some(used) => used,
            None => {
                self.blobs.adopt(&upload.file(), file).await?;
                if PayloadOutline::of_one_block(&entry.commitment).is_none() {
                    self.blobs
                        .put_beside(file, outline.to_bytes().into())
                        .await?;
                }
                let entry = entry.clone();
                self.ledger.keep(Held { entry, file }).await?
            }
        };
        self.acknowledge(contribution, kept)
    }

    async fn stand(&self, upload: &Arc<Upload>) -> Result<Progress, IntakeRefusal> {
        let turn = self.synced(upload, self.turn(upload).await?).await?;
        Ok(progress(upload, &turn))
    }

    /// Ends an earlier request that goes on with this upload.
    async fn turn(&self, upload: &Arc<Upload>) -> Result<Turn, IntakeRefusal> {
        if let Some(turn) = upload.turn().await? {
            return Ok(turn);
        }
        self.uploads.drop_ended(upload);
        Err(IntakeRefusal::NoUpload(upload.entry.contribution.leaf()))
    }

    /// Where the disk may have lost some of what was read back from memory, nothing of it can be acknowledged: it begins again.
    async fn synced(&self, upload: &Upload, turn: Turn) -> Result<Turn, IntakeRefusal> {
        let (turn, synced) = turn.sync().await;
        if let Err(error) = synced {
            self.uploads.drop_upload(upload, turn);
            return Err(BlobError::disk(error).into());
        }
        Ok(turn)
    }
}

impl From<NoPlace> for IntakeRefusal {
    fn from(refusal: NoPlace) -> Self {
        match refusal {
            NoPlace::OfContributor => Self::TooManyUploads,
            NoPlace::Anywhere => Self::NoRoom,
            NoPlace::Blob(error) => error.into(),
        }
    }
}

fn progress(upload: &Upload, turn: &Turn) -> Progress {
    Progress {
        leaf: upload.entry.contribution.leaf(),
        offset: upload.before + turn.length(),
        length: upload.length(),
        is_complete: false,
    }
}
