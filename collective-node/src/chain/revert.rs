//! Names of the contracts' custom errors, so that a refusal on chain reads like one.

use alloy::primitives::Bytes;
use alloy::sol_types::SolInterface;

use collective_contracts::{
    CodeRegistry::CodeRegistryErrors, CollectiveGovernor::CollectiveGovernorErrors,
    ContributionRegistry::ContributionRegistryErrors, DemoToken::DemoTokenErrors,
    JobEscrow::JobEscrowErrors, LivenessRegistry::LivenessRegistryErrors,
    Membership::MembershipErrors, NodeRegistry::NodeRegistryErrors,
    RewardDistributor::RewardDistributorErrors, TimelockController::TimelockControllerErrors,
};

/// The error's name and arguments, or the bytes in hexadecimal where no contract of ours has it.
pub fn name(data: &Bytes) -> String {
    fn decoded<E: SolInterface + std::fmt::Debug>(data: &[u8]) -> Option<String> {
        E::abi_decode(data)
            .ok()
            .map(|error| readable(&format!("{error:?}")))
    }
    decoded::<JobEscrowErrors>(data)
        .or_else(|| decoded::<CodeRegistryErrors>(data))
        .or_else(|| decoded::<NodeRegistryErrors>(data))
        .or_else(|| decoded::<ContributionRegistryErrors>(data))
        .or_else(|| decoded::<RewardDistributorErrors>(data))
        .or_else(|| decoded::<LivenessRegistryErrors>(data))
        .or_else(|| decoded::<CollectiveGovernorErrors>(data))
        .or_else(|| decoded::<MembershipErrors>(data))
        .or_else(|| decoded::<TimelockControllerErrors>(data))
        .or_else(|| decoded::<DemoTokenErrors>(data))
        .unwrap_or_else(|| data.to_string())
}

/// `Variant(Error { a: 1 })` is what derived Debug prints; a person needs `Error { a: 1 }`.
fn readable(debug: &str) -> String {
    match debug.split_once('(') {
        Some((_, inner)) => inner.strip_suffix(')').unwrap_or(inner).to_owned(),
        None => debug.to_owned(),
    }
}
