//! Bindings of the contracts, made from the artifacts that `contracts/` commits.
//!
//! One module, so that what the macro makes is compiled once. Nothing here decides anything.

#![allow(missing_docs, clippy::too_many_arguments, clippy::large_enum_variant)]

use alloy::sol;

macro_rules! bind {
    ($($name:ident => $path:literal;)*) => {$(
        sol! {
            #[sol(rpc)]
            #[derive(Debug, PartialEq, Eq)]
            $name,
            $path
        }
    )*};
}

bind! {
    CodeRegistry => "../artifacts/CodeRegistry.json";
    CollectiveGovernor => "../artifacts/CollectiveGovernor.json";
    ContributionRegistry => "../artifacts/ContributionRegistry.json";
    DemoToken => "../artifacts/DemoToken.json";
    JobEscrow => "../artifacts/JobEscrow.json";
    LivenessRegistry => "../artifacts/LivenessRegistry.json";
    Membership => "../artifacts/Membership.json";
    NodeRegistry => "../artifacts/NodeRegistry.json";
    RewardDistributor => "../artifacts/RewardDistributor.json";
    TimelockController => "../artifacts/TimelockController.json";
}
