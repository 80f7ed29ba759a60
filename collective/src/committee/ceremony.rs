//! Ceremonies: how a committee gets its shares without anybody ever knowing the key.
//!
//! | ceremony | makes | deals | of |
//! |---|---|---|---|
//! | generate | a new key | every member | FROST's DKG, and an ML-KEM seed from contributions that were committed to |
//! | reshare | new shares of the old key | t members of the old committee | Feldman: λᵢ(S)·xᵢ shared again, bound to the old certificate |
//!
//! Resharing is refresh (same members, same t), a change of t, n or members, and the replacement of a lost member's node,
//! in one. FROST's own refresh needs every member online and cannot change t or n, its repair lends a share out; both would
//! be a second and a third protocol to audit for what one does.
//!
//! **Three rounds** ([`commit`], [`deal`], [`certify`]), each a module; a round's set can be made only from checked
//! messages, and the next round's message only from the set, so the compiler keeps the order. Every message is signed by
//! its node's registered signer and sealed parts are age files to its registered recipient. So whoever relays them, the
//! [`convener`], learns nothing and can forge nothing; it can only keep silent, or show different members different sets.
//! The set's digest stands in every later message (the echo that a true broadcast needs), each member answers for one
//! set only, and a key needs every member's signature over one transcript: there are never two keys.
//!
//! **A participant is a function** of its seed and of what others signed ([`participant`]). It stores the seed before the
//! first message and two digests on the way; a crash is replayed, byte for byte.
//!
//! **No half state.** A share is pending until every member has certified ([`certify::PendingShare`]), and until the chain
//! has accepted the new epoch: that acceptance is the one commit point. Until it is final the old shares stay and are the
//! ones in use; then the caller erases them, and every pending share of that epoch or an earlier one that was not
//! accepted. Not sooner: a ceremony that ended in silence can still be completed by the last signature.
//!
//! **Blame** ([`blame`]): wrong parts, wrong commitments, contradictions and false complaints are proven by signed
//! messages; silence is named as silence.

pub mod ask;
pub mod blame;
pub mod certify;
pub mod commit;
pub mod convener;
pub mod deal;
pub mod feldman;
mod generate;
pub mod message;
pub mod participant;
pub mod plan;
mod seed;
mod wire;

use alloy_primitives::B256;

pub use seed::Seed;

/// A ceremony's name: the hash of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CeremonyId(pub B256);
