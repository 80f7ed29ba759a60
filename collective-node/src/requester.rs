//! What a requester does: pays into escrow and asks for a run of an approved manifest.

use alloy::primitives::{B256, U256};
use alloy::providers::DynProvider;
use collective::approval::Manifest;

use crate::chain::{Chain, ChainError, Deployment};
use collective_contracts::{DemoToken, JobEscrow};

/// Allows the escrow the manifest's price, asks for a run with `amount` and says the job's number.
/// An honest request names the manifest's own recipient and price.
///
/// # Errors
/// [`ChainError::Reverted`] with the contract's reason, for instance where nobody approved it.
pub async fn request(
    by: &DynProvider,
    deployment: &Deployment,
    manifest: &Manifest,
    recipient: B256,
    amount: U256,
) -> Result<u64, ChainError> {
    let token = DemoToken::new(deployment.token, by);
    let allow = token.approve(deployment.escrow, manifest.payment.price);
    Chain::mined(allow.send().await?).await?;
    let escrow = JobEscrow::new(deployment.escrow, by);
    let call = escrow.request(
        deployment.collective,
        manifest.digest().0,
        recipient,
        amount,
    );
    let job = call.call().await?;
    Chain::mined(call.send().await?).await?;
    Ok(job.saturating_to())
}
