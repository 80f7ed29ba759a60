//! A plan as it travels (SPEC "Ceremony").

use super::super::wire::{Reader, VERSION, put_short};
use super::{Dealer, Kind, Party, Proposal};
use crate::committee::Member;
use crate::id::NodeId;

pub(super) fn encode(proposal: &Proposal) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&proposal.chain_id.to_be_bytes());
    out.extend_from_slice(proposal.node_registry.as_slice());
    out.extend_from_slice(proposal.collective.as_slice());
    out.extend_from_slice(&proposal.epoch.to_be_bytes());
    out.extend_from_slice(&proposal.attempt.to_be_bytes());
    out.extend_from_slice(&proposal.threshold.to_be_bytes());
    put_count(&mut out, proposal.members.len());
    for party in &proposal.members {
        out.extend_from_slice(party.node.0.as_slice());
        out.extend_from_slice(party.signer.as_slice());
        put_short(&mut out, party.recipient.to_string().as_bytes());
    }
    match &proposal.kind {
        Kind::Generate { post_quantum } => out.extend_from_slice(&[1, u8::from(*post_quantum)]),
        Kind::Reshare {
            from,
            dealers,
            renew,
        } => {
            out.extend_from_slice(&[2, u8::from(*renew)]);
            put_short(&mut out, &from.to_bytes());
            put_count(&mut out, dealers.len());
            for dealer in dealers {
                out.extend_from_slice(&dealer.number.number().to_be_bytes());
                out.extend_from_slice(dealer.node.0.as_slice());
                out.extend_from_slice(dealer.signer.as_slice());
            }
        }
    }
    out
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("checked against MAX_MEMBERS");
    out.extend_from_slice(&count.to_be_bytes());
}

pub(super) fn decode(bytes: &[u8]) -> Option<Proposal> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != VERSION {
        return None;
    }
    let proposal = Proposal {
        chain_id: reader.u64()?,
        node_registry: reader.address()?,
        collective: reader.address()?,
        epoch: reader.u64()?,
        attempt: reader.u32()?,
        threshold: reader.u16()?,
        members: {
            let count = reader.u16()?;
            let party = |_| {
                Some(Party {
                    node: NodeId(reader.word()?),
                    signer: reader.address()?,
                    recipient: reader.recipient()?,
                })
            };
            (0..count).map(party).collect::<Option<_>>()?
        },
        kind: match reader.u8()? {
            1 => Kind::Generate {
                post_quantum: reader.bool()?,
            },
            2 => Kind::Reshare {
                renew: reader.bool()?,
                from: Box::new(reader.certificate()?),
                dealers: {
                    let count = reader.u16()?;
                    let dealer = |_| {
                        Some(Dealer {
                            number: Member::new(reader.u16()?)?,
                            node: NodeId(reader.word()?),
                            signer: reader.address()?,
                        })
                    };
                    (0..count).map(dealer).collect::<Option<_>>()?
                },
            },
            _ => return None,
        },
    };
    reader.end(proposal)
}
