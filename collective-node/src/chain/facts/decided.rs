//! What CodeRegistry's log says was decided. A hint: an endpoint that withholds an entry hides a decision, and permits nothing.

use alloy::primitives::B256;
use alloy::rpc::types::Filter;
use collective::id::ManifestDigest;

use crate::chain::{Chain, ChainError};

impl Chain {
    /// Manifests that these events of the collective name in these blocks, in the order of the chain.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn decided(
        &self,
        events: Vec<B256>,
        from: u64,
        to: u64,
    ) -> Result<Vec<ManifestDigest>, ChainError> {
        let deployment = self.deployment();
        let filter = Filter::new()
            .address(deployment.code)
            .event_signature(events)
            .topic1(deployment.collective.into_word());
        let logs = self.logs(filter, from, to).await?;
        let named = logs.iter().filter_map(|log| log.topics().get(2).copied());
        Ok(named.map(ManifestDigest).collect())
    }
}
