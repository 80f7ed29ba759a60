//! What a node keeps of the ceremonies that it takes part in: one file each, with its seed, the two digests that it has
//! bound itself to, and the share that it has certified, sealed to the node's own identity.
//!
//! A file is there before the first answer leaves and is replaced before an answer that binds more, so a crash is
//! replayed byte for byte. Whoever has a seed and the old share has the new one: it is erased as shares are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{B256, hex};
use collective::committee::ceremony::Seed;
use collective::committee::ceremony::ask::{Ask, Refusal};
use collective::committee::ceremony::certify::{Confirmed, PendingShare};
use collective::committee::ceremony::participant::{Answered, Keys, Participant, Pins};
use collective::committee::ceremony::plan::Plan;
use collective::id::NodeId;
use collective::seal::{self, Identity, Recipient};
use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::shares::{erase, is_wiped, remove};
use super::{KeystoreError, NEXT, replace, write_new};

/// Ceremonies that a node keeps at a time. Every accepted node may convene one, and a ceremony is over when its epoch is.
const MAX_CEREMONIES: usize = 64;

/// Seed, round 1 set, transcript; a digest that is not there yet is zero. The certified share follows.
const BYTES: usize = 3 * 32;

/// Bytes of a file: what it holds, sealed to one hybrid recipient.
const MAX_FILE: u64 = 16 * 1024;

/// Why a node says nothing in a ceremony.
#[derive(Debug, Error)]
pub enum TakePartError {
    /// The ceremony does not go that way.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The file.
    #[error(transparent)]
    Kept(#[from] KeystoreError),
    /// It holds something else.
    #[error(
        "{0} opened but holds no state of a ceremony: erase it, and start one with a new attempt"
    )]
    NotAState(PathBuf),
    /// Too many are open.
    #[error(
        "{MAX_CEREMONIES} ceremonies are open here: have the collective accept a new epoch, or reject the node that convenes them"
    )]
    TooMany,
}

/// The ceremonies in one folder.
pub struct Ceremonies {
    folder: PathBuf,
    /// Held from reading a state until its successor is on the disk.
    busy: Mutex<()>,
}

impl Ceremonies {
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        let busy = Mutex::default();
        Self { folder, busy }
    }

    /// Answers an ask as `node`, whose own recipient is `to`. What the answer binds the node to is on the disk when this
    /// returns. That the plan may be followed has been checked before.
    ///
    /// # Errors
    /// [`TakePartError`].
    pub(super) fn answer(
        &self,
        plan: &Arc<Plan>,
        node: NodeId,
        ask: &Ask,
        keys: &Keys<'_>,
        to: &Recipient,
        rng: &mut impl CryptoRng,
    ) -> Result<Answered, TakePartError> {
        let _one_at_a_time = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(plan);
        let state = match self.read(&path, keys.identity)? {
            Some(state) => state,
            None => self.begin(&path, to, rng)?,
        };
        let participant = Participant::new(plan.clone(), node, state.seed(), state.pins)?;
        let answered = participant.answer(ask, keys)?;
        let pins = answered.participant.pins();
        let certified = answered.pending.as_ref().map(PendingShare::to_bytes);
        if pins != state.pins || certified.is_some() && state.share.is_none() {
            let share = state.share.or(certified);
            let bound = State {
                pins,
                share,
                ..state
            };
            replace(&path, &bound.sealed(to, rng)?)?;
        }
        Ok(answered)
    }

    /// Whether something is kept of this ceremony.
    pub fn knows(&self, plan: &Plan) -> bool {
        self.path(plan).exists()
    }

    /// The shares that this node has certified for an epoch, one of each ceremony that came so far. The chain says which of
    /// them counts.
    ///
    /// # Errors
    /// [`TakePartError`].
    pub(super) fn certified(
        &self,
        epoch: u64,
        identity: &Identity,
    ) -> Result<Vec<Confirmed>, TakePartError> {
        let _one_at_a_time = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shares = Vec::new();
        for path in self.files()? {
            if epoch_of(&path) != Some(epoch) {
                continue;
            }
            let state = self.read(&path, identity)?;
            if let Some(bytes) = state.and_then(|state| state.share) {
                let share = Confirmed::parse(&bytes);
                shares.push(share.map_err(|_| TakePartError::NotAState(path))?);
            }
        }
        Ok(shares)
    }

    /// Erases what is kept of ceremonies that ended with a share, or an old seed, of the key with this recipient digest.
    ///
    /// # Errors
    /// [`TakePartError`].
    pub(super) fn erase_with_key(
        &self,
        recipient: &[u8; 32],
        identity: &Identity,
    ) -> Result<(), TakePartError> {
        let _one_at_a_time = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        self.erase_unfinished()?;
        for path in self.files()? {
            let state = self.read(&path, identity)?;
            let Some(bytes) = state.and_then(|state| state.share) else {
                continue;
            };
            let certified =
                Confirmed::parse(&bytes).map_err(|_| TakePartError::NotAState(path.clone()))?;
            if certified.recipients().contains(recipient) {
                erase(&path)?;
            }
        }
        Ok(())
    }

    /// Erases what is kept of ceremonies for epochs up to this one.
    ///
    /// # Errors
    /// [`KeystoreError::File`].
    pub fn erase_through(&self, epoch: u64) -> Result<(), KeystoreError> {
        let _one_at_a_time = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        self.erase_unfinished()?;
        for path in self.files()? {
            if epoch_of(&path).is_some_and(|of| of <= epoch) {
                erase(&path)?;
            }
        }
        Ok(())
    }

    fn begin(
        &self,
        path: &Path,
        to: &Recipient,
        rng: &mut impl CryptoRng,
    ) -> Result<State, TakePartError> {
        if self.files()?.len() >= MAX_CEREMONIES {
            return Err(TakePartError::TooMany);
        }
        fs::create_dir_all(&self.folder).map_err(failed(&self.folder))?;
        let state = State {
            seed: Zeroizing::new(*Seed::random(rng).expose()),
            pins: Pins::default(),
            share: None,
        };
        write_new(path, &state.sealed(to, rng)?)?;
        Ok(state)
    }

    fn read(&self, path: &Path, identity: &Identity) -> Result<Option<State>, TakePartError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path)(error).into()),
            Ok(metadata) if metadata.len() > MAX_FILE => {
                return Err(TakePartError::NotAState(path.to_owned()));
            }
            Ok(_) => {}
        }
        let sealed = fs::read(path).map_err(failed(path))?;
        if is_wiped(&sealed) {
            // The power went before the erased file was gone.
            remove(path)?;
            return Ok(None);
        }
        let opened = seal::open(std::slice::from_ref(identity), &sealed);
        let plain = Zeroizing::new(opened.map_err(KeystoreError::Closed)?);
        let state = State::parse(&plain);
        state
            .map(Some)
            .ok_or_else(|| TakePartError::NotAState(path.to_owned()))
    }

    fn path(&self, plan: &Plan) -> PathBuf {
        let (epoch, id) = (plan.proposal().epoch, hex::encode(plan.id().0));
        self.folder.join(format!("epoch-{epoch}-{id}.age"))
    }

    /// Erases what crashes left half written, of whichever epoch: it may hold a seed and a share, and is never read.
    fn erase_unfinished(&self) -> Result<(), KeystoreError> {
        let paths = self.paths()?.into_iter();
        for path in paths.filter(|path| path.extension().is_some_and(|it| it == NEXT)) {
            erase(&path)?;
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>, KeystoreError> {
        let mut paths = self.paths()?;
        paths.retain(|path| epoch_of(path).is_some());
        Ok(paths)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, KeystoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(failed(&self.folder))?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let paths = paths.collect::<Result<Vec<_>, _>>();
        paths.map_err(failed(&self.folder))
    }
}

struct State {
    seed: Zeroizing<[u8; 32]>,
    pins: Pins,
    share: Option<Zeroizing<Vec<u8>>>,
}

impl State {
    fn seed(&self) -> Seed {
        Seed::from_bytes(*self.seed)
    }

    fn sealed(&self, to: &Recipient, rng: &mut impl CryptoRng) -> Result<Vec<u8>, KeystoreError> {
        let share = self.share.as_ref().map_or(&[][..], |share| share);
        // All at once, so that no smaller copy is left behind when the buffer grows.
        let mut plain = Zeroizing::new(Vec::with_capacity(BYTES + share.len()));
        plain.extend_from_slice(self.seed.as_slice());
        for pin in [self.pins.round1, self.pins.transcript] {
            plain.extend_from_slice(pin.unwrap_or_default().as_slice());
        }
        plain.extend_from_slice(share);
        Ok(seal::seal(std::slice::from_ref(to), &plain, rng)?)
    }

    fn parse(plain: &[u8]) -> Option<Self> {
        let (head, share) = plain.split_first_chunk::<BYTES>()?;
        let (words, _) = head.as_chunks::<32>();
        let [seed, round1, transcript] = words else {
            return None;
        };
        let pin = |word: &[u8; 32]| Some(B256::from(*word)).filter(|word| !word.is_zero());
        Some(Self {
            seed: Zeroizing::new(*seed),
            pins: Pins {
                round1: pin(round1),
                transcript: pin(transcript),
            },
            share: (!share.is_empty()).then(|| Zeroizing::new(share.to_vec())),
        })
    }
}

/// The epoch in a file's name; `None` for what is no file of a ceremony, such as one that was being written.
fn epoch_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".age")?;
    let (epoch, _) = name.strip_prefix("epoch-")?.split_once('-')?;
    epoch.parse().ok()
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> KeystoreError {
    let path = path.to_owned();
    move |error| KeystoreError::File {
        path: path.clone(),
        error,
    }
}
