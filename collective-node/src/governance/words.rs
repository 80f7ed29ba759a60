//! What an action does, in words made from its bytes. A proposer's own words are never used for this.

use alloy::primitives::B256;
use alloy::sol_types::SolInterface;
use collective::id::ManifestDigest;
use collective::id::NodeId;
use collective::permit::ApprovedTerms;

use super::Action;
use crate::chain::Deployment;
use collective_contracts::CodeRegistry::{self, CodeRegistryCalls};
use collective_contracts::CollectiveGovernor::CollectiveGovernorCalls;
use collective_contracts::ContributionRegistry::ContributionRegistryCalls;
use collective_contracts::LivenessRegistry::LivenessRegistryCalls;
use collective_contracts::Membership::MembershipCalls;
use collective_contracts::NodeRegistry::NodeRegistryCalls;

impl Action {
    /// One sentence without its full stop. A call that no verb of this program makes is shown as it is, so that a
    /// voter asks what it is for.
    pub fn words(&self, deployment: &Deployment) -> String {
        let known = if self.target == deployment.code {
            self.code_words()
        } else if self.target == deployment.contributions {
            self.admission_words()
        } else if self.target == deployment.nodes {
            self.node_words()
        } else if self.target == deployment.governor {
            self.governor_words()
        } else if self.target == deployment.liveness {
            self.liveness_words()
        } else if self.target == deployment.membership {
            self.membership_words()
        } else {
            None
        };
        let words = known.unwrap_or_else(|| {
            format!(
                "call {} with {}: no verb of this program makes this call, so ask what it is for",
                self.target, self.call
            )
        });
        if self.value.is_zero() {
            words
        } else {
            format!("{words}, and send {} wei along", self.value)
        }
    }

    /// The manifest that this action approves and the terms that it stores, if that is what it does.
    pub fn approves(&self, deployment: &Deployment) -> Option<(ManifestDigest, ApprovedTerms)> {
        if self.target != deployment.code {
            return None;
        }
        match CodeRegistryCalls::abi_decode(&self.call).ok()? {
            CodeRegistryCalls::approve(call) => {
                let terms = ApprovedTerms {
                    token: call.terms.token,
                    price: call.terms.price,
                    bond: call.terms.bond,
                    recipient: call.terms.recipient,
                    expiry: call.terms.expiry,
                    max_runs: call.terms.maxRuns,
                    contributors_bps: call.terms.contributorsBps,
                    node_bps: call.terms.nodeBps,
                    return_seconds: call.terms.returnSeconds,
                    node: NodeId(call.terms.node),
                };
                Some((ManifestDigest(call.manifest), terms))
            }
            _ => None,
        }
    }

    fn code_words(&self) -> Option<String> {
        Some(match CodeRegistryCalls::abi_decode(&self.call).ok()? {
            CodeRegistryCalls::approve(call) => {
                let CodeRegistry::Terms {
                    token,
                    price,
                    maxRuns: runs,
                    expiry,
                    contributorsBps: contributors,
                    nodeBps: node,
                    bond,
                    returnSeconds: seconds,
                    node: heavy,
                    ..
                } = call.terms;
                let words = format!(
                    "approve manifest {}: {runs} runs until {expiry}, each for {price} of token {token}, of which {} % \
                     go to contributors and {} % to the node",
                    call.manifest,
                    percent(contributors),
                    percent(node),
                );
                match heavy.is_zero() {
                    true => words,
                    false => format!(
                        "{words}; hand the data itself to heavy node {heavy}, whose operator then has it, and who loses a bond of {bond} \
                         where nothing comes back in {seconds} s"
                    ),
                }
            }
            CodeRegistryCalls::revoke(call) => {
                format!("revoke manifest {} for ever", call.manifest)
            }
            CodeRegistryCalls::setGuardian(call) if call.guardian_.is_zero() => {
                "let nobody but the collective revoke programs".into()
            }
            CodeRegistryCalls::setGuardian(call) => {
                format!("let {} revoke programs", call.guardian_)
            }
            _ => return None,
        })
    }

    fn admission_words(&self) -> Option<String> {
        match ContributionRegistryCalls::abi_decode(&self.call).ok()? {
            ContributionRegistryCalls::setAdmission(call) => Some(format!(
                "set charter {}, with {}",
                call.manifest,
                match call.root {
                    B256::ZERO => "nobody admitted".into(),
                    root if root == B256::repeat_byte(0xff) => "everybody admitted".into(),
                    root => format!("admission root {root}"),
                }
            )),
            _ => None,
        }
    }

    fn node_words(&self) -> Option<String> {
        Some(match NodeRegistryCalls::abi_decode(&self.call).ok()? {
            NodeRegistryCalls::accept(call) => {
                format!("accept node {} with keys {}", call.id, call.keysHash_)
            }
            NodeRegistryCalls::reject(call) => format!("accept node {} no longer", call.id),
            NodeRegistryCalls::acceptCommittee(call) => {
                format!(
                    "accept committee {}: it holds the collective's key",
                    call.hash
                )
            }
            NodeRegistryCalls::convene(call) => {
                format!("let the committee deal the key as plan {} says", call.plan)
            }
            _ => return None,
        })
    }

    fn liveness_words(&self) -> Option<String> {
        Some(match LivenessRegistryCalls::abi_decode(&self.call).ok()? {
            LivenessRegistryCalls::setWage(call) if call.wage_.auditor.is_zero() => {
                "have nobody say what is reachable, and pay nothing for it".into()
            }
            LivenessRegistryCalls::setWage(call) if call.wage_.pay.is_zero() => {
                format!("have {} say each day what is reachable", call.wage_.auditor)
            }
            LivenessRegistryCalls::setWage(call) => format!(
                "pay {} of token {} a day for what {} says is reachable",
                call.wage_.pay, call.wage_.token, call.wage_.auditor
            ),
            LivenessRegistryCalls::withdraw(call) => format!(
                "take {} of token {} back from what is paid for reachability",
                call.amount, call.token
            ),
            LivenessRegistryCalls::veto(call) => {
                format!("let what was said of epoch {} not count", call.epoch)
            }
            _ => return None,
        })
    }

    fn governor_words(&self) -> Option<String> {
        Some(
            match CollectiveGovernorCalls::abi_decode(&self.call).ok()? {
                CollectiveGovernorCalls::setProposalGuardian(call)
                    if call.newProposalGuardian.is_zero() =>
                {
                    "let nobody veto proposals".into()
                }
                CollectiveGovernorCalls::setProposalGuardian(call) => {
                    format!(
                        "let {} veto proposals until they are executed",
                        call.newProposalGuardian
                    )
                }
                CollectiveGovernorCalls::setVotingDelay(call) => {
                    format!("open votes {} s after a proposal", call.newVotingDelay)
                }
                CollectiveGovernorCalls::setVotingPeriod(call) => {
                    format!("keep votes open for {} s", call.newVotingPeriod)
                }
                CollectiveGovernorCalls::updateQuorumNumerator(call) => {
                    format!(
                        "ask for a quorum of {} % of all votes",
                        call.newQuorumNumerator
                    )
                }
                _ => return None,
            },
        )
    }

    fn membership_words(&self) -> Option<String> {
        Some(match MembershipCalls::abi_decode(&self.call).ok()? {
            MembershipCalls::admit(call) => format!("give {} a vote", call.member),
            MembershipCalls::expel(call) => format!("take the vote of {}", call.member),
            _ => return None,
        })
    }
}

/// Hundredths of a per cent as per cent.
pub(crate) fn percent(bps: u16) -> String {
    let (whole, part) = (bps / 100, bps % 100);
    if part == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{part:02}")
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, Bytes, U256};

    use super::*;

    #[test]
    fn what_is_not_known_is_shown_as_it_is() {
        let deployment = Deployment {
            chain_id: 1,
            collective: Address::repeat_byte(1),
            governor: Address::repeat_byte(2),
            membership: Address::repeat_byte(3),
            contributions: Address::repeat_byte(4),
            code: Address::repeat_byte(5),
            nodes: Address::repeat_byte(6),
            escrow: Address::repeat_byte(7),
            rewards: Address::repeat_byte(8),
            liveness: Address::repeat_byte(9),
            token: Address::repeat_byte(10),
            first_block: 0,
        };
        for target in [deployment.code, deployment.token] {
            let action = Action {
                target,
                value: U256::from(7),
                call: Bytes::from_static(&[1, 2, 3, 4]),
            };
            let words = action.words(&deployment);
            assert!(words.contains(&target.to_string()), "{words}");
            assert!(words.contains("0x01020304"), "{words}");
            assert!(words.ends_with("7 wei along"), "{words}");
            assert_eq!(action.approves(&deployment), None);
        }
        let [veto, revoke] = Action::guard(&deployment, Address::ZERO);
        for (action, words) in [(veto, "nobody veto"), (revoke, "nobody but the collective")] {
            assert!(action.words(&deployment).contains(words));
        }
        assert_eq!([percent(8_000), percent(5)], ["80", "0.05"]);
    }
}
