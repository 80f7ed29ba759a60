//! Who would be read today, and what each would earn.

use alloy::primitives::U256;
use collective::approval::{Manifest, SplitRule};
use collective::input::InputSet;
use serde::Serialize;

use crate::blobs::Blobs;
use crate::chain::Chain;
use crate::decision;
use crate::follower::{FollowError, Follower, View};
use crate::headers::Headers;

/// What one run pays, in the smallest unit of the manifest's token. Shares round down; the treasury gets what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Earnings {
    /// Contributors whose records match at the newest finalized block.
    pub contributors: u32,
    /// How it is divided among them.
    pub rule: SplitRule,
    /// To each of them; in the mean, where they are not paid the same.
    pub each: U256,
    /// The same, if it runs as often as it may.
    pub each_in_all: U256,
    /// To the node that runs it.
    pub node: U256,
    /// To the treasury.
    pub treasury: U256,
}

impl Earnings {
    /// As JobEscrow and the reward rule divide the price.
    pub fn of(manifest: &Manifest, contributors: u32) -> Self {
        let payment = &manifest.payment;
        // The whole ten thousands apart, so that no price is too great.
        let (whole, rest) = payment.price.div_rem(U256::from(10_000));
        let share =
            |bps: u16| whole * U256::from(bps) + rest * U256::from(bps) / U256::from(10_000);
        let node = share(payment.node_bps);
        let (each, paid) = match contributors {
            0 => (U256::ZERO, U256::ZERO),
            count => {
                let each = share(payment.contributors_bps) / U256::from(count);
                (each, each * U256::from(count))
            }
        };
        Self {
            contributors,
            rule: payment.rule,
            each,
            each_in_all: each.saturating_mul(U256::from(manifest.max_runs)),
            node,
            treasury: payment.price - node - paid,
        }
    }
}

/// Everything that is anchored by the first accepted compute node that has anchored anything, or, where none has, that acknowledged
/// something which its contributor anchored. `None` where there is none.
///
/// # Errors
/// [`FollowError`].
pub async fn index(
    chain: &Chain,
    blobs: &Blobs,
    headers: &Headers,
) -> Result<Option<View>, FollowError> {
    let finalized = chain.finalized().await?;
    let follow = async |signer| {
        let (chain, blobs, headers) = (chain.clone(), blobs.clone(), headers.clone());
        let (_, view) = Follower::start(chain, blobs, headers, signer).await?;
        let view = view.borrow().clone();
        Ok::<_, FollowError>(view)
    };
    let signers = chain.compute_signers(&finalized).await?;
    let mut any_direct = false;
    for &signer in &signers {
        let heads = chain.heads(&finalized, signer).await?;
        any_direct = !heads.direct.is_zero();
        if !heads.batches.is_zero() {
            return Ok(Some(follow(signer).await?));
        }
    }
    // Whose word is in the details only who follows them knows.
    for signer in signers.into_iter().filter(|_| any_direct) {
        let view = follow(signer).await?;
        if !view.index.is_empty() {
            return Ok(Some(view));
        }
    }
    Ok(None)
}

/// What a run over today's contributions would read.
///
/// # Errors
/// [`FollowError`].
pub async fn inputs(
    chain: &Chain,
    view: &View,
    manifest: &Manifest,
) -> Result<Option<InputSet>, FollowError> {
    let at = view.finalized;
    Ok(decision::input_set(chain, view, manifest, &at, &at).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_divided_without_loss_however_great() {
        let vectors = include_str!("../../../vectors/decisions.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).expect("JSON");
        let bytes = vectors["manifest"]["bytes"].as_str().expect("a manifest");
        let mut manifest: Manifest = serde_json::from_str(bytes).expect("a manifest");
        (manifest.payment.contributors_bps, manifest.payment.node_bps) = (8_000, 1_500);
        for price in [U256::from(10_001), U256::MAX] {
            manifest.payment.price = price;
            let paid = Earnings::of(&manifest, 7);
            assert_eq!(paid.each * U256::from(7) + paid.node + paid.treasury, price);
            assert!(paid.each > paid.treasury / U256::from(3));
            assert_eq!(Earnings::of(&manifest, 0).each, U256::ZERO);
        }
        manifest.payment.price = U256::from(10_001);
        let paid = Earnings::of(&manifest, 7);
        assert_eq!(
            (paid.each, paid.node),
            (U256::from(1_142), U256::from(1_500))
        );
    }
}
