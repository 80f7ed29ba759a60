//! What everybody may know about a committee: members, public shares, quorums and their coefficients.

use std::num::NonZeroU16;

use p256::Scalar;
use serde::{Deserialize, Serialize};

use crate::id::BlobId;
use crate::limits::MAX_MEMBERS;
use crate::seal::KeyStringError;
use crate::seal::curve::{COMPRESSED_LEN, CurveError, Point};
use crate::seal::tagged::TaggedRecipient;

/// First byte of a certificate's encoding.
const VERSION: u8 = 1;

/// A member's number, 1 to n: the place where its share lies on the secret polynomial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Member(NonZeroU16);

impl TryFrom<u16> for Member {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("no number of a member")
    }
}

impl From<Member> for u16 {
    fn from(member: Member) -> Self {
        member.number()
    }
}

impl Member {
    /// The only member of a committee of one.
    pub const SOLE: Self = Self(NonZeroU16::MIN);

    /// `None` for 0 and above [`MAX_MEMBERS`].
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number)
            .filter(|number| number.get() <= MAX_MEMBERS)
            .map(Self)
    }

    /// 1 to n.
    pub fn number(self) -> u16 {
        self.0.get()
    }

    pub(super) fn scalar(self) -> Scalar {
        Scalar::from(u64::from(self.number()))
    }
}

/// What is public about a committee: who has which share of which key. Its parts have been checked to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareCertificate {
    recipient: TaggedRecipient,
    epoch: u64,
    threshold: u16,
    public_shares: Vec<Point>,
}

impl ShareCertificate {
    /// `public_shares` are those of members 1, 2, … n. Refused unless all lie on one polynomial of degree
    /// `threshold` − 1 whose value at 0 is the recipient's P-256 key.
    pub fn new(
        recipient: TaggedRecipient,
        epoch: u64,
        threshold: u16,
        public_shares: Vec<Point>,
    ) -> Result<Self, CertificateError> {
        let size = u16::try_from(public_shares.len()).unwrap_or(u16::MAX);
        if size == 0 || size > MAX_MEMBERS {
            return Err(CertificateError::Size);
        }
        if threshold == 0 || threshold > size {
            return Err(CertificateError::Threshold);
        }
        let base: Vec<Member> = (1..=threshold).filter_map(Member::new).collect();
        let at = |x: Scalar| -> Option<Point> {
            let terms = base.iter().zip(&public_shares);
            Point::from_projective(
                terms
                    .map(|(&i, share)| share.projective() * coefficient(&base, i, x))
                    .sum(),
            )
        };
        if at(Scalar::ZERO).as_ref() != Some(recipient.point()) {
            return Err(CertificateError::AnotherKey);
        }
        for number in threshold + 1..=size {
            let member = Member::new(number).ok_or(CertificateError::Size)?;
            if at(member.scalar()).as_ref() != public_shares.get(usize::from(number) - 1) {
                return Err(CertificateError::NotAShare(member));
            }
        }
        Ok(Self {
            recipient,
            epoch,
            threshold,
            public_shares,
        })
    }

    /// The certificate of a committee of one, whose only share is the key.
    pub fn sole(recipient: TaggedRecipient, epoch: u64) -> Self {
        let public_shares = vec![recipient.point().clone()];
        Self {
            recipient,
            epoch,
            threshold: 1,
            public_shares,
        }
    }

    /// Reads [`ShareCertificate::to_bytes`] and nothing else: a certificate has one encoding.
    ///
    /// # Errors
    /// [`ParseCertificateError`]; whoever gave the bytes is at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseCertificateError> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(ParseCertificateError::Version(version));
        }
        let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let text = rest
            .split_off(..length)
            .ok_or(ParseCertificateError::Length)?;
        let text = std::str::from_utf8(text).map_err(|_| ParseCertificateError::NotCanonical)?;
        let recipient: TaggedRecipient = text.parse()?;
        let epoch = u64::from_be_bytes(take(&mut rest)?);
        let threshold = u16::from_be_bytes(take(&mut rest)?);
        let size = usize::from(u16::from_be_bytes(take(&mut rest)?));
        // Before any point is decompressed.
        if size > usize::from(MAX_MEMBERS) {
            return Err(CertificateError::Size.into());
        }
        if rest.len() != size * COMPRESSED_LEN {
            return Err(ParseCertificateError::Length);
        }
        let public_shares = rest
            .chunks_exact(COMPRESSED_LEN)
            .map(Point::from_compressed);
        let public_shares = public_shares.collect::<Result<_, _>>()?;
        let certificate = Self::new(recipient, epoch, threshold, public_shares)?;
        if certificate.to_bytes() != bytes {
            return Err(ParseCertificateError::NotCanonical);
        }
        Ok(certificate)
    }

    /// The bytes whose SHA-256 the committee signs and NodeRegistry stores (SPEC "Share certificate").
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = self.recipient.to_string();
        let length = u16::try_from(text.len()).expect("a recipient has some 2,000 characters");
        let mut bytes = vec![VERSION];
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        bytes.extend(self.threshold.to_be_bytes());
        bytes.extend(self.size().to_be_bytes());
        for share in &self.public_shares {
            bytes.extend(share.compressed());
        }
        bytes
    }

    /// SHA-256 of [`ShareCertificate::to_bytes`].
    pub fn digest(&self) -> BlobId {
        BlobId::of(&self.to_bytes())
    }

    /// The key that the committee holds.
    pub fn recipient(&self) -> &TaggedRecipient {
        &self.recipient
    }

    /// Counts up with every new sharing of the key; shares of different epochs do not combine.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// t: how many members open a file.
    pub fn threshold(&self) -> u16 {
        self.threshold
    }

    /// n: how many members there are.
    pub fn size(&self) -> u16 {
        self.public_shares
            .len()
            .try_into()
            .expect("at most MAX_MEMBERS")
    }

    /// A member's share times the generator; `None` where there is no such member.
    pub fn public_share(&self, member: Member) -> Option<&Point> {
        self.public_shares.get(usize::from(member.number()) - 1)
    }
}

/// Exactly t members of one committee, named before anybody computes: the coefficients depend on all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum(Vec<Member>);

impl Quorum {
    /// In any order; each once.
    pub fn new(certificate: &ShareCertificate, members: &[Member]) -> Result<Self, QuorumError> {
        let mut members = members.to_vec();
        members.sort_unstable();
        members.dedup();
        if members.len() != usize::from(certificate.threshold) {
            return Err(QuorumError::Size {
                threshold: certificate.threshold,
            });
        }
        match members
            .iter()
            .find(|&&member| certificate.public_share(member).is_none())
        {
            Some(&stranger) => Err(QuorumError::NotAMember(stranger)),
            None => Ok(Self(members)),
        }
    }

    /// The members in ascending order.
    pub fn members(&self) -> &[Member] {
        &self.0
    }

    /// λᵢ(S): the member's Lagrange coefficient at 0.
    pub(super) fn coefficient(&self, member: Member) -> Scalar {
        coefficient(&self.0, member, Scalar::ZERO)
    }
}

/// Why shares and key do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No member, or more than [`MAX_MEMBERS`].
    #[error("a committee has 1 to {MAX_MEMBERS} members")]
    Size,
    /// t is 0 or above n.
    #[error("threshold is not between 1 and the number of members")]
    Threshold,
    /// The shares are those of another key.
    #[error("the shares belong to another key")]
    AnotherKey,
    /// This member's share does not lie on the polynomial of the others, or is not the one of the certificate.
    #[error("member {} has a share that does not fit", .0.number())]
    NotAShare(Member),
}

/// Why bytes are no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCertificateError {
    /// Another version than this one reads.
    #[error("certificates of version {0} are not known here: is this version outdated?")]
    Version(u8),
    /// Cut short, or with bytes left over.
    #[error("the certificate's length does not fit what it says of itself")]
    Length,
    /// The recipient.
    #[error("the certificate's recipient: {0}")]
    Recipient(#[from] KeyStringError),
    /// A public share.
    #[error("a public share: {0}")]
    Share(#[from] CurveError),
    /// Key, threshold and shares do not fit together.
    #[error(transparent)]
    Content(#[from] CertificateError),
    /// The same content has another encoding.
    #[error("the certificate is not in its one encoding")]
    NotCanonical,
}

/// Why members are no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Not exactly t different members.
    #[error("a quorum has exactly {threshold} different members")]
    Size {
        /// t.
        threshold: u16,
    },
    /// No member of this committee.
    #[error("{} is not a member", .0.number())]
    NotAMember(Member),
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ParseCertificateError> {
    let (taken, left) = rest
        .split_first_chunk()
        .ok_or(ParseCertificateError::Length)?;
    *rest = left;
    Ok(*taken)
}

/// Lagrange coefficient of `member` among `members`, for the polynomial's value at `x`. All inputs are public.
fn coefficient(members: &[Member], member: Member, x: Scalar) -> Scalar {
    let others = || {
        members
            .iter()
            .filter(|&&other| other != member)
            .map(|other| other.scalar())
    };
    let numerator: Scalar = others().map(|other| x - other).product();
    let denominator: Scalar = others().map(|other| member.scalar() - other).product();
    let inverse = Option::<Scalar>::from(denominator.invert());
    numerator * inverse.expect("members are different and far fewer than the group order")
}
