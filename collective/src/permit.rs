//! The decision: may this node run this program over which contributions, now?
//!
//! [`grant`] is what every key holder works out for itself from chain facts before it releases
//! anything. [`permit`] adds the program's bytes; only the [`Permit`] it returns runs code.
//! Facts come in as arguments: this module knows no chain and no clock.

use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::admission::{Admission, AdmissionList};
use crate::approval::{Evidence, Manifest, ManifestRefusal};
use crate::id::{BlobId, KeysHash, ManifestDigest, NodeId};
use crate::input::{Anchored, InputSet, Revocations, Scope};
use crate::limits::{MAX_ALLOW_AGE, MAX_CHAIN_SILENCE, MAX_DENY_AGE, MAX_FINALITY_LAG};
use crate::receipt::{BlockRef, Release};
use crate::source::{Column, Source, SourceRefusal};

pub use code::{Binary, Code, CodeRefusal};

mod code;

/// Whether CodeRegistry holds an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalStatus {
    /// The collective never approved this digest.
    None,
    /// An executed proposal approved it.
    Approved,
    /// It was approved once and is revoked for ever.
    Revoked,
}

/// What CodeRegistry stores with an approval and JobEscrow enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedTerms {
    /// ERC-20 token of price and bond.
    pub token: Address,
    /// Price of one run.
    pub price: U256,
    /// What a node has at stake for one run.
    pub bond: U256,
    /// Digest of the only recipient.
    pub recipient: B256,
    /// Unix seconds.
    pub expiry: u64,
    /// Runs in all.
    pub max_runs: u32,
    /// Contributors' share, hundredths of a per cent.
    pub contributors_bps: u16,
    /// Node's share, hundredths of a per cent.
    pub node_bps: u16,
    /// Seconds that a heavy node has from release to receipt; zero where there is none.
    pub return_seconds: u32,
    /// The heavy node that alone may take a job; zero where any accepted compute node may.
    pub node: NodeId,
}

impl ApprovedTerms {
    /// The terms that a manifest's proposal has to store.
    pub fn of(manifest: &Manifest) -> Self {
        let hand_off = manifest.hand_off.as_ref();
        Self {
            token: manifest.payment.token,
            price: manifest.payment.price,
            bond: manifest.payment.bond,
            recipient: manifest.recipient.digest(),
            expiry: manifest.expiry,
            max_runs: manifest.max_runs,
            contributors_bps: manifest.payment.contributors_bps,
            node_bps: manifest.payment.node_bps,
            return_seconds: hand_off.map_or(0, |hand_off| hand_off.seconds),
            node: hand_off.map_or(NodeId(B256::ZERO), |hand_off| hand_off.node),
        }
    }
}

/// What stood at `allowBlock`: every fact that permits.
#[derive(Clone, Debug)]
pub struct Allow {
    /// The block.
    pub block: BlockRef,
    /// The manifest's status.
    pub status: ApprovalStatus,
    /// The terms stored with the approval.
    pub terms: ApprovedTerms,
    /// The node's keys that the collective accepted; zero where it accepted none.
    pub accepted: KeysHash,
    /// Who is admitted as contributor.
    pub admission: Admission,
    /// Epoch of the accepted committee.
    pub epoch: u64,
}

/// What stood at `denyBlock`, or at the newest block that a holder knows: every fact that forbids.
#[derive(Clone, Debug)]
pub struct Deny {
    /// The block.
    pub block: BlockRef,
    /// The manifest's status.
    pub status: ApprovalStatus,
    /// The node's keys that the collective accepts now.
    pub accepted: KeysHash,
    /// The node's keys as registered now: a rotation shows here first.
    pub registered: KeysHash,
    /// What contributors have taken back.
    pub revocations: Revocations,
}

/// A job's lease, read from a finalized block: it fixes who may open what, under which facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The job's number in JobEscrow.
    pub job: u64,
    /// Counted from 1.
    pub attempt: u32,
    /// The collective whose approval the job used.
    pub collective: Address,
    /// The approval that the job used.
    pub manifest: ManifestDigest,
    /// The node that took it.
    pub node: NodeId,
    /// Its keys when it took it.
    pub keys: KeysHash,
    /// Where permits are read.
    pub allow_block: (u64, B256),
    /// Where denials are read.
    pub deny_block: (u64, B256),
    /// Unix seconds after which nothing is released under it.
    pub deadline: u64,
    /// Epoch of the committee that may release under it.
    pub epoch: u64,
}

/// Everything a decision looks at.
pub struct Case<'a> {
    /// Canonical bytes of the manifest.
    pub manifest: &'a [u8],
    /// EIP-155 id of the chain that the facts come from.
    pub chain_id: u64,
    /// Who asks.
    pub node: NodeId,
    /// The finalized lease.
    pub lease: Lease,
    /// Facts at `allowBlock`.
    pub allow: &'a Allow,
    /// Facts at `denyBlock`.
    pub deny: &'a Deny,
    /// The same facts at the newest block known here.
    pub latest: &'a Deny,
    /// Newest finalized block known here.
    pub finalized: BlockRef,
    /// Seconds of local, monotonic time since a new finalized block arrived.
    pub silence: u64,
    /// Contributions anchored so far, in their order.
    pub anchored: &'a [Anchored],
    /// The admission list behind the root, where there is one.
    pub list: Option<&'a AdmissionList>,
    /// What the charter in force at `allowBlock` declares.
    pub sources: &'a [Source],
}

/// What a holder releases and signs: one input set, to one node, for one attempt of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    manifest: Manifest,
    release: Release,
    input: InputSet,
}

impl Grant {
    /// The approved manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the quorum signs.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The contributions to be released, all of them or none.
    pub fn input(&self) -> &InputSet {
        &self.input
    }

    /// Seconds by which permits may be older than denials.
    pub fn lag(&self) -> u64 {
        self.release
            .deny
            .time
            .saturating_sub(self.release.allow.time)
    }
}

/// A grant with the very bytes that it approves. Taken by value: one permit, one run.
#[derive(Debug)]
pub struct Permit {
    grant: Grant,
    code: Code,
    source: Source,
    columns: Vec<usize>,
}

impl Permit {
    /// What was granted.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The program's bytes, whose hashes are in the manifest.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The same, where nothing else of the permit is needed any more.
    pub fn into_code(self) -> Code {
        self.code
    }

    /// The declaration of the records, whose digest is in the manifest.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Places of the approved columns in a record, in the approved order.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }
}

/// Who has to do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Whoever asks for a run.
    Requester,
    /// The program's author.
    Program,
    /// A contributor.
    Contributor,
    /// Another node, a key holder or a chain endpoint.
    Peer,
    /// Whoever runs this node.
    Operator,
}

/// Why nothing is released.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The manifest's bytes.
    #[error(transparent)]
    Manifest(#[from] ManifestRefusal),
    /// The manifest is not the one that the job names.
    #[error("the manifest hashes to {found}, the job names {expected}")]
    AnotherManifest {
        /// What the job names.
        expected: ManifestDigest,
        /// What the bytes hash to.
        found: ManifestDigest,
    },
    /// The manifest is for another chain or another collective.
    #[error("the manifest is for another chain or collective")]
    AnotherCollective,
    /// No vote approved it.
    #[error("the collective has not approved this manifest: propose it and let members vote")]
    NotApproved,
    /// It was revoked.
    #[error("the collective has revoked this approval: a new manifest needs a new vote")]
    ApprovalRevoked,
    /// It has run out.
    #[error("the approval expired at {expiry}, the block's time is {time}: propose it again")]
    ApprovalExpired {
        /// Unix seconds.
        expiry: u64,
        /// Unix seconds of the newest block.
        time: u64,
    },
    /// The contract stores other figures than members read.
    #[error("the terms stored on chain are not those of the manifest")]
    TermsDiffer,
    /// Evidence that this node cannot give.
    #[error("the manifest requires evidence that this node does not have")]
    EvidenceMissing,
    /// The lease is another node's.
    #[error("the lease belongs to node {0}")]
    AnotherNode(NodeId),
    /// The lease ran out.
    #[error("the lease ended at {deadline}, the newest block's time is {time}: take a new one")]
    LeaseExpired {
        /// Unix seconds.
        deadline: u64,
        /// Unix seconds of the newest block.
        time: u64,
    },
    /// The facts are not from the blocks that the lease fixes.
    #[error("the facts are not from the blocks that the lease names")]
    AnotherBlock,
    /// `allowBlock` is not below the finalized block, or above `denyBlock`.
    #[error("allowBlock {allow} is not finalized, or lies above denyBlock {deny}")]
    NotFinalized {
        /// Height.
        allow: u64,
        /// Height.
        deny: u64,
    },
    /// The committee changed between `allowBlock` and the lease.
    #[error(
        "the lease is for the committee of epoch {0}, allowBlock knows another: take a new lease"
    )]
    AnotherEpoch(u64),
    /// A block is older than its limit.
    #[error("the facts are {age} s old, the limit is {limit} s: take a new lease")]
    Stale {
        /// Seconds behind this holder's own view.
        age: u64,
        /// Seconds allowed.
        limit: u64,
    },
    /// The chain has not moved for too long.
    #[error("no new finalized block for {0} s: the chain endpoint stalls, nothing is released")]
    ChainSilent(u64),
    /// The collective did not accept the node, or not with these keys.
    #[error("the collective has not accepted this node with the keys it uses: ask for a vote")]
    NodeNotAccepted,
    /// The vote hands the data to another node, or to this one under other keys.
    #[error(
        "the vote hands the data to node {0} under the keys that it had then, and to nobody else"
    )]
    HandedToAnother(NodeId),
    /// A heavy node opens sealed files, and those are whole.
    #[error(
        "a hand-off gives whole files, and the manifest names {named} of the {declared} columns in them: propose one that names all, so that \
         members see what goes"
    )]
    PartOfFiles {
        /// Columns that the manifest names.
        named: usize,
        /// Columns in the records of its source.
        declared: usize,
    },
    /// What is in the files is not known.
    #[error(
        "the charter declares no source as the manifest of this hand-off names it: propose one over what is declared now"
    )]
    Undeclared,
    /// A newer block forbids what `denyBlock` did not.
    #[error("a denial is newer than denyBlock: take a new lease")]
    NewerDenial,
    /// Nobody's data passes.
    #[error("no contribution matches the selector, the purpose and the terms")]
    NothingToRead,
    /// Too few people.
    #[error("{contributors} contributors match, the manifest's minimum group is {minimum}")]
    GroupTooSmall {
        /// Contributors in the input set.
        contributors: u32,
        /// Contributors required.
        minimum: u32,
    },
    /// The program's bytes.
    #[error(transparent)]
    Code(#[from] CodeRefusal),
    /// The source's declaration is not the approved one.
    #[error("the source is declared as {found}, the manifest approves {approved}")]
    AnotherDeclaration {
        /// What the manifest names.
        approved: BlobId,
        /// What the declaration at hand hashes to.
        found: BlobId,
    },
    /// A column that the source does not have.
    #[error(transparent)]
    Columns(#[from] SourceRefusal),
    /// Equal contents earn otherwise than such a source's do.
    #[error(
        "`payment.distinct` is for sources of documents, and for all of them: propose a manifest that has it right"
    )]
    Distinct,
    /// A query over what no table is made of.
    #[error(
        "the source has documents, of which no table is made: propose a program that reads them"
    )]
    QueryOfDocuments,
}

impl Refusal {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Manifest(_)
            | Self::AnotherManifest { .. }
            | Self::AnotherCollective
            | Self::NotApproved
            | Self::ApprovalRevoked
            | Self::ApprovalExpired { .. }
            | Self::TermsDiffer
            | Self::NothingToRead
            | Self::GroupTooSmall { .. }
            | Self::AnotherDeclaration { .. }
            | Self::Columns(_)
            | Self::PartOfFiles { .. }
            | Self::Undeclared
            | Self::Distinct
            | Self::QueryOfDocuments => Fault::Requester,
            Self::Code(CodeRefusal::NoRuntime(_)) => Fault::Operator,
            Self::Code(_) => Fault::Program,
            Self::EvidenceMissing
            | Self::AnotherNode(_)
            | Self::LeaseExpired { .. }
            | Self::AnotherBlock
            | Self::NotFinalized { .. }
            | Self::HandedToAnother(_)
            | Self::NodeNotAccepted => Fault::Operator,
            Self::Stale { .. }
            | Self::ChainSilent(_)
            | Self::NewerDenial
            | Self::AnotherEpoch(_) => Fault::Peer,
        }
    }
}

/// Works out what may be released, from facts alone.
///
/// # Errors
/// The first fact that is missing or forbids.
pub fn grant(case: &Case<'_>) -> Result<Grant, Refusal> {
    let manifest = approved_manifest(case)?;
    check_lease(case)?;
    check_freshness(case)?;
    check_node(case)?;
    check_hand_off(case, &manifest)?;

    let scope = Scope {
        selector: &manifest.dataset,
        purposes: manifest.purposes(),
        allow_block: case.allow.block.number,
        deny_time: case.deny.block.time,
        admission: case.allow.admission,
        list: case.list,
        revocations: &case.deny.revocations,
    };
    let input = InputSet::derive(&scope, case.anchored).ok_or(Refusal::NothingToRead)?;
    if input.count() < manifest.output.minimum_group {
        return Err(Refusal::GroupTooSmall {
            contributors: input.count(),
            minimum: manifest.output.minimum_group,
        });
    }
    let now = case.latest.block.time;
    let taken_back = input.members().iter().any(|member| {
        let contribution = &member.entry.contribution;
        !member.entry.terms.allow(manifest.purposes(), now)
            || case
                .latest
                .revocations
                .contains(contribution.contributor, contribution.nonce)
    });
    if taken_back {
        return Err(Refusal::NewerDenial);
    }

    let release = Release {
        job: case.lease.job,
        attempt: case.lease.attempt,
        collective: case.lease.collective,
        manifest: case.lease.manifest,
        node: case.lease.node,
        keys: case.lease.keys,
        allow: case.allow.block,
        deny: case.deny.block,
        input_root: input.root(),
        input_count: input.count(),
        epoch: case.allow.epoch,
    };
    Ok(Grant {
        manifest,
        release,
        input,
    })
}

/// Adds the program's bytes, those of the runtime that it needs, and the records' declaration to a grant. The only way to
/// a [`Permit`].
///
/// # Errors
/// Those of [`grant`], [`Refusal::Code`] when one bit of the program or its runtime differs, and what does not fit the source.
pub fn permit(
    case: &Case<'_>,
    program: Vec<u8>,
    runtime: Option<Vec<u8>>,
    source: Source,
) -> Result<Permit, Refusal> {
    let grant = grant(case)?;
    let (approved, found) = (grant.manifest.dataset.declaration, source.digest());
    if found != approved {
        return Err(Refusal::AnotherDeclaration { approved, found });
    }
    let columns = source.select(&grant.manifest.dataset.columns)?;
    if grant.manifest.payment.distinct != source.has_documents() {
        return Err(Refusal::Distinct);
    }
    if source.has_documents() && grant.manifest.program.engine().is_some() {
        return Err(Refusal::QueryOfDocuments);
    }
    let code = Code::approved(&grant.manifest.program, program, runtime)?;
    Ok(Permit {
        grant,
        code,
        source,
        columns,
    })
}

fn approved_manifest(case: &Case<'_>) -> Result<Manifest, Refusal> {
    let manifest = Manifest::parse(case.manifest)?;
    let found = manifest.digest();
    if found != case.lease.manifest {
        return Err(Refusal::AnotherManifest {
            expected: case.lease.manifest,
            found,
        });
    }
    if manifest.chain_id != case.chain_id || manifest.collective != case.lease.collective {
        return Err(Refusal::AnotherCollective);
    }
    match (case.allow.status, case.deny.status) {
        (ApprovalStatus::None, _) => return Err(Refusal::NotApproved),
        (ApprovalStatus::Approved, ApprovalStatus::Approved) => {}
        _ => return Err(Refusal::ApprovalRevoked),
    }
    if case.latest.status != ApprovalStatus::Approved {
        return Err(Refusal::NewerDenial);
    }
    if case.allow.terms != ApprovedTerms::of(&manifest) {
        return Err(Refusal::TermsDiffer);
    }
    let time = case.deny.block.time.max(case.latest.block.time);
    if time >= manifest.expiry {
        return Err(Refusal::ApprovalExpired {
            expiry: manifest.expiry,
            time,
        });
    }
    match manifest.evidence {
        Evidence::None => Ok(manifest),
    }
}

fn check_lease(case: &Case<'_>) -> Result<(), Refusal> {
    let lease = &case.lease;
    if lease.node != case.node {
        return Err(Refusal::AnotherNode(lease.node));
    }
    let pinned = |block: &BlockRef| (block.number, block.hash);
    if pinned(&case.allow.block) != lease.allow_block
        || pinned(&case.deny.block) != lease.deny_block
    {
        return Err(Refusal::AnotherBlock);
    }
    let (allow, deny) = (case.allow.block.number, case.deny.block.number);
    if allow > deny || allow > case.finalized.number {
        return Err(Refusal::NotFinalized { allow, deny });
    }
    if lease.epoch != case.allow.epoch {
        return Err(Refusal::AnotherEpoch(lease.epoch));
    }
    let time = case.latest.block.time;
    if time > lease.deadline {
        return Err(Refusal::LeaseExpired {
            deadline: lease.deadline,
            time,
        });
    }
    Ok(())
}

fn check_freshness(case: &Case<'_>) -> Result<(), Refusal> {
    let age = |newest: u64, block: &BlockRef, limit: u64| {
        let age = newest.saturating_sub(block.time);
        if age > limit {
            Err(Refusal::Stale { age, limit })
        } else {
            Ok(())
        }
    };
    age(case.finalized.time, &case.allow.block, MAX_ALLOW_AGE)?;
    age(case.latest.block.time, &case.finalized, MAX_FINALITY_LAG)?;
    age(case.latest.block.time, &case.deny.block, MAX_DENY_AGE)?;
    if case.silence > MAX_CHAIN_SILENCE {
        return Err(Refusal::ChainSilent(case.silence));
    }
    Ok(())
}

fn check_node(case: &Case<'_>) -> Result<(), Refusal> {
    let keys = case.lease.keys;
    // Zero is what the registries say of a node that was never accepted, and of a retired one.
    if keys == KeysHash(B256::ZERO) {
        return Err(Refusal::NodeNotAccepted);
    }
    let accepted =
        case.allow.accepted == keys && case.deny.accepted == keys && case.deny.registered == keys;
    if !accepted {
        return Err(Refusal::NodeNotAccepted);
    }
    if case.latest.accepted != keys || case.latest.registered != keys {
        return Err(Refusal::NewerDenial);
    }
    Ok(())
}

fn check_hand_off(case: &Case<'_>, manifest: &Manifest) -> Result<(), Refusal> {
    let Some(hand_off) = &manifest.hand_off else {
        return Ok(());
    };
    if (hand_off.node, hand_off.keys) != (case.lease.node, case.lease.keys) {
        return Err(Refusal::HandedToAnother(hand_off.node));
    }
    let declaration = manifest.dataset.declaration;
    let mut sources = case.sources.iter();
    let source = sources.find(|source| source.digest() == declaration);
    check_whole_files(manifest, source.ok_or(Refusal::Undeclared)?)
}

/// Whether a hand-off names all that is in the files: a heavy node opens them whole.
///
/// # Errors
/// [`Refusal::PartOfFiles`].
pub fn check_whole_files(manifest: &Manifest, source: &Source) -> Result<(), Refusal> {
    if manifest.hand_off.is_none() {
        return Ok(());
    }
    let columns = &manifest.dataset.columns;
    let is_named = |column: &&Column| columns.contains(&column.name);
    let declared = source.columns.len();
    match source.columns.iter().filter(is_named).count() {
        named if named == declared => Ok(()),
        named => Err(Refusal::PartOfFiles { named, declared }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::HandOff;
    use crate::source::Archive;
    use crate::terms::Purpose;
    use crate::test_story::{self, Story, contributor};

    #[test]
    fn a_case_with_every_fact_is_granted_and_permitted() {
        let story = Story::new();
        let grant = grant(&story.case()).expect("nothing is missing");
        assert_eq!(grant.input().count(), 5);
        assert_eq!(grant.release().input_root, grant.input().root());
        let permit = permit(
            &story.case(),
            story.program.clone(),
            None,
            story.source.clone(),
        )
        .expect("the approved bytes");
        let component = permit.code().component().expect("a component");
        assert_eq!(component.bytes(), story.program);
        assert_eq!(permit.columns(), [1]);
    }

    /// Each line takes away one thing that [`grant`] checks, and says what it is told.
    #[test]
    fn whatever_is_taken_away_is_missed() {
        let refused = |what: &str, change: &dyn Fn(&mut Story)| {
            let mut story = Story::new();
            change(&mut story);
            let refusal = grant(&story.case()).expect_err(what);
            (refusal.fault(), refusal)
        };
        let later = B256::repeat_byte(0x77);

        let (fault, refusal) = refused("no vote", &|s| s.allow.status = ApprovalStatus::None);
        assert_eq!((fault, refusal), (Fault::Requester, Refusal::NotApproved));
        let (_, refusal) = refused("revoked", &|s| s.deny.status = ApprovalStatus::Revoked);
        assert_eq!(refusal, Refusal::ApprovalRevoked);
        let (_, refusal) = refused("revoked now", &|s| {
            s.latest.status = ApprovalStatus::Revoked
        });
        assert_eq!(refusal, Refusal::NewerDenial);
        let (_, refusal) = refused("other price", &|s| s.allow.terms.price += U256::from(1));
        assert_eq!(refusal, Refusal::TermsDiffer);
        let (_, refusal) = refused("other recipient", &|s| s.allow.terms.recipient = later);
        assert_eq!(refusal, Refusal::TermsDiffer);
        let (_, refusal) = refused("expired", &|s| s.latest.block.time = 1 << 40);
        assert!(matches!(refusal, Refusal::ApprovalExpired { .. }));
        let (_, refusal) = refused("one byte more", &|s| s.manifest.push(b' '));
        assert_eq!(refusal, Refusal::Manifest(ManifestRefusal::NotCanonical));
        let (_, refusal) = refused("another job", &|s| s.lease.manifest = ManifestDigest(later));
        assert!(matches!(refusal, Refusal::AnotherManifest { .. }));
        let (_, refusal) = refused("another chain", &|s| s.chain_id = 1);
        assert_eq!(refusal, Refusal::AnotherCollective);
        let elsewhere = Address::repeat_byte(9);
        let (_, refusal) = refused("another DAO", &|s| s.lease.collective = elsewhere);
        assert_eq!(refusal, Refusal::AnotherCollective);

        let (fault, refusal) = refused("another node", &|s| s.lease.node = NodeId(later));
        assert_eq!(
            (fault, refusal),
            (Fault::Operator, Refusal::AnotherNode(NodeId(later)))
        );
        let (_, refusal) = refused("other facts", &|s| s.allow.block.hash = later);
        assert_eq!(refusal, Refusal::AnotherBlock);
        let (_, refusal) = refused("other denials", &|s| s.deny.block.hash = later);
        assert_eq!(refusal, Refusal::AnotherBlock);
        let (_, refusal) = refused("not final", &|s| s.finalized.number = 9);
        assert!(matches!(refusal, Refusal::NotFinalized { allow: 10, .. }));
        let (_, refusal) = refused("another committee", &|s| s.lease.epoch = 2);
        assert_eq!(refusal, Refusal::AnotherEpoch(2));
        let (_, refusal) = refused("late", &|s| s.lease.deadline = s.latest.block.time - 1);
        assert!(matches!(refusal, Refusal::LeaseExpired { .. }));
        let (_, refusal) = refused("old allow", &|s| s.finalized.time += MAX_ALLOW_AGE);
        assert!(matches!(refusal, Refusal::Stale { .. }));
        let (fault, refusal) = refused("old deny", &|s| s.latest.block.time += MAX_DENY_AGE);
        assert!(matches!(refusal, Refusal::Stale { .. }));
        assert_eq!(fault, Fault::Peer);
        let (_, refusal) = refused("no finality", &|s| {
            s.latest.block.time = s.finalized.time + MAX_FINALITY_LAG + 1;
            s.deny.block.time = s.latest.block.time;
            s.lease.deadline = s.latest.block.time;
        });
        assert!(matches!(refusal, Refusal::Stale { .. }));
        let (_, refusal) = refused("stall", &|s| s.silence = MAX_CHAIN_SILENCE + 1);
        assert_eq!(refusal, Refusal::ChainSilent(MAX_CHAIN_SILENCE + 1));

        let (_, refusal) = refused("not accepted", &|s| s.allow.accepted = KeysHash(B256::ZERO));
        assert_eq!(refusal, Refusal::NodeNotAccepted);
        let (_, refusal) = refused("no keys at all", &|s| {
            let none = KeysHash(B256::ZERO);
            (s.lease.keys, s.allow.accepted) = (none, none);
            for deny in [&mut s.deny, &mut s.latest] {
                (deny.accepted, deny.registered) = (none, none);
            }
        });
        assert_eq!(refusal, Refusal::NodeNotAccepted);
        let (_, refusal) = refused("rejected", &|s| s.deny.accepted = KeysHash(B256::ZERO));
        assert_eq!(refusal, Refusal::NodeNotAccepted);
        let (_, refusal) = refused("rotated", &|s| s.deny.registered = KeysHash(later));
        assert_eq!(refusal, Refusal::NodeNotAccepted);
        let (_, refusal) = refused("rotated now", &|s| s.latest.registered = KeysHash(later));
        assert_eq!(refusal, Refusal::NewerDenial);

        let (_, refusal) = refused("no data", &|s| s.anchored.clear());
        assert_eq!(refusal, Refusal::NothingToRead);
        let (_, refusal) = refused("few", &|s| s.anchored.truncate(2));
        assert_eq!(
            refusal,
            Refusal::GroupTooSmall {
                contributors: 2,
                minimum: 3
            }
        );
        let (_, refusal) = refused("terms that ended since denyBlock", &|s| {
            s.anchored[1].entry.terms.expiry = s.latest.block.time;
        });
        assert_eq!(refusal, Refusal::NewerDenial);
        let (_, refusal) = refused("a revocation that denyBlock does not know", &|s| {
            s.latest
                .revocations
                .set_watermark(contributor(1), U256::from(9));
        });
        assert_eq!(refusal, Refusal::NewerDenial);
    }

    #[test]
    fn a_program_altered_by_one_bit_gets_no_permit() {
        let program = include_bytes!("../../jobs/mean/mean.wasm");
        let story = Story::of(program);
        let permitted = |program: Vec<u8>| {
            let source = story.source.clone();
            permit(&story.case(), program, None, source)
        };
        permitted(program.to_vec()).expect("the approved bytes");
        let bits = program.len() * 8;
        assert!(bits > 80_000, "a program of 10 kB");
        for bit in 0..bits {
            let mut program = program.to_vec();
            program[bit / 8] ^= 1 << (bit % 8);
            let refusal = permitted(program).expect_err("another program");
            assert!(
                matches!(refusal, Refusal::Code(CodeRefusal::AnotherProgram { .. })),
                "bit {bit}: {refusal}"
            );
            assert_eq!(refusal.fault(), Fault::Program);
        }
    }

    #[test]
    fn a_source_declared_otherwise_gets_no_permit() {
        let mut story = Story::new();
        story.source.columns.swap(0, 1);
        let program = story.program.clone();
        let refusal = permit(&story.case(), program, None, story.source.clone())
            .expect_err("another declaration");
        assert!(matches!(refusal, Refusal::AnotherDeclaration { .. }));
    }

    #[test]
    fn equal_contents_earn_once_where_there_are_documents_and_nowhere_else() {
        let archive = Archive {
            file: "c.json".into(),
        };
        let documents = Source::of_documents("poll".into(), &["age"], archive).expect("good");
        for source in [test_story::source(), documents] {
            let mut manifest = test_story::manifest();
            manifest.dataset.declaration = source.digest();
            for distinct in [false, true] {
                manifest.payment.distinct = distinct;
                let story = Story::under(&manifest);
                let permitted = permit(&story.case(), story.program.clone(), None, source.clone());
                match distinct == source.has_documents() {
                    true => assert!(permitted.is_ok()),
                    false => assert_eq!(permitted.expect_err("the other"), Refusal::Distinct),
                }
            }
        }
    }

    #[test]
    fn data_is_handed_to_the_named_node_under_the_named_keys_and_to_nobody_else() {
        let both = [Purpose::Training, Purpose::Transfer];
        let later = B256::repeat_byte(0x77);
        let manifest = test_story::handed_over();
        let story = |manifest: &Manifest| {
            let mut story = Story::under(manifest);
            for anchored in &mut story.anchored {
                anchored.entry.terms.purposes = both.into_iter().collect();
            }
            story
        };
        let good = story(&manifest);
        let permitted = permit(
            &good.case(),
            test_story::TRAINING.to_vec(),
            None,
            good.source.clone(),
        );
        assert!(matches!(
            permitted.expect("named and accepted").code(),
            Code::Training(_)
        ));
        for change in [
            |named: &mut HandOff, later| named.node = NodeId(later),
            |named: &mut HandOff, later| named.keys = KeysHash(later),
        ] {
            let mut other = manifest.clone();
            let mut named = other.hand_off.take().expect("handed over");
            change(&mut named, later);
            let node = named.node;
            other.hand_off = Some(named);
            let refusal = grant(&story(&other).case()).expect_err("another node");
            assert_eq!(refusal, Refusal::HandedToAnother(node));
            assert_eq!(refusal.fault(), Fault::Operator);
        }
        let differing = |change: &dyn Fn(&mut ApprovedTerms)| {
            let mut story = story(&manifest);
            change(&mut story.allow.terms);
            grant(&story.case()).expect_err("other terms")
        };
        assert_eq!(
            differing(&|terms| terms.node = NodeId(B256::ZERO)),
            Refusal::TermsDiffer
        );
        assert_eq!(
            differing(&|terms| terms.return_seconds += 1),
            Refusal::TermsDiffer
        );
        // What is handed over are whole files.
        let mut part = manifest.clone();
        part.dataset.columns[1] = part.dataset.columns[0].clone();
        let refusal = grant(&story(&part).case()).expect_err("one column of two");
        let (named, declared) = (1, 2);
        assert_eq!(refusal, Refusal::PartOfFiles { named, declared });
        let mut other = story(&manifest);
        other.source.columns.swap(0, 1);
        let refusal = grant(&other.case()).expect_err("declared otherwise");
        assert_eq!(refusal, Refusal::Undeclared);
        // Whoever did not allow both the purpose and that the record goes elsewhere is left out.
        for allowed in [Purpose::Statistics, Purpose::Training, Purpose::Transfer] {
            let mut other = story(&manifest);
            for anchored in &mut other.anchored {
                anchored.entry.terms.purposes = allowed.into();
            }
            let refusal = grant(&other.case()).expect_err("one purpose alone");
            assert_eq!(refusal, Refusal::NothingToRead);
        }
    }

    #[test]
    fn no_query_is_permitted_over_documents() {
        let archive = Archive {
            file: "c.json".into(),
        };
        let source = Source::of_documents("poll".into(), &["age"], archive).expect("good");
        let mut manifest = test_story::manifest();
        manifest.dataset.declaration = source.digest();
        manifest.payment.distinct = true;
        let query = b"SELECT count(*) FROM poll".to_vec();
        manifest.program = crate::approval::Program::Sql {
            sha256: BlobId::of(&query),
            engine: "datafusion/1".into(),
            origin: None,
        };
        let story = Story::under(&manifest);
        let refused = permit(&story.case(), query, None, source).expect_err("no table");
        assert_eq!(refused, Refusal::QueryOfDocuments);
    }
}
