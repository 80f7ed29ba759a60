//! What a member has of ML-KEM keys before the one of its share.

use std::sync::Arc;

use super::Rewrapped;
use crate::seal::contribution::ContributionHeader;
use crate::seal::curve::Point;
use crate::seal::hpke::MlKemSecret;
use crate::seal::tagged::MlKemKey;

/// How a member comes to ss_pq of what is sealed to an ML-KEM key that its share does not have. Has no Debug.
#[derive(Default)]
pub struct EarlierKeys {
    /// While the time of the key before runs: that key, for its recipient.
    pub retired: Option<Arc<Retired>>,
    /// Of what was wrapped anew before.
    pub rewrapped: Option<Arc<Rewrapped>>,
}

/// An ML-KEM key whose time is running out. Has no Debug.
pub struct Retired {
    key: MlKemKey,
    recipient: [u8; 32],
}

impl Retired {
    /// The key that belonged to the P-256 key `point`.
    pub fn new(key: MlKemKey, point: Point) -> Self {
        let recipient = key.recipient(point).digest();
        Self { key, recipient }
    }

    /// The key.
    pub fn key(&self) -> &MlKemKey {
        &self.key
    }

    /// Digest of the recipient that it made.
    pub fn recipient(&self) -> &[u8; 32] {
        &self.recipient
    }
}

impl EarlierKeys {
    /// Whether [`EarlierKeys::secret_for`] has one, without reckoning it out.
    pub(in crate::committee) fn opens(&self, contribution: &ContributionHeader) -> bool {
        let retired = self.retired.as_ref();
        let retired = retired.is_some_and(|it| it.recipient == *contribution.sealed_to());
        let rewrapped = self.rewrapped.as_ref();
        retired || rewrapped.is_some_and(|it| it.contains(&contribution.point_id()))
    }

    /// ss_pq of a contribution that is not sealed to the key in force; `None` where nothing here opens it, or where its
    /// stanza has no ML-KEM half.
    pub fn secret_for(&self, contribution: &ContributionHeader) -> Option<MlKemSecret> {
        let retired = self.retired.as_ref();
        match retired.filter(|retired| retired.recipient == *contribution.sealed_to()) {
            Some(retired) => retired.key.secret_for(contribution.stanza()),
            None => self.rewrapped.as_ref()?.secret(&contribution.point_id()),
        }
    }
}
