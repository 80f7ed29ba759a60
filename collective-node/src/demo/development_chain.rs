//! The chain under a world: our own in this process, or another development chain behind a URL.
//! Everything is asked for by JSON-RPC, so the world cannot tell the two apart.

use std::path::Path;
use std::time::Duration;

use alloy::rpc::client::RpcClient;
use anyhow::{Context, Result};
use devchain::{Config, DevChain};
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use crate::chain::endpoint;

/// Between two empty blocks, by which what was mined becomes final.
const BLOCK_EVERY: Duration = Duration::from_millis(250);

/// Blocks between the newest and the newest finalized one, unless told otherwise. anvil with
/// `--slots-in-an-epoch 1` has the same.
pub const FINALITY_LAG: u64 = 2;

/// How often another chain is asked whether a transaction is mined.
const POLL: Duration = Duration::from_millis(20);

/// A chain that mines and tells time as it is told.
pub struct DevelopmentChain {
    client: RpcClient,
    url: Url,
    finality_lag: u64,
}

impl DevelopmentChain {
    /// Starts our own, journalled at `journal` and served at `listener`, whose blocks are final once
    /// `finality_lag` others stand on them. A journal that exists is gone on with.
    ///
    /// # Errors
    /// Where the journal cannot be kept.
    pub fn own(journal: &Path, listener: TcpListener, finality_lag: u64) -> Result<Self> {
        let config = Config {
            finalized_lag: finality_lag,
            safe_lag: finality_lag / 2,
            ..Config::default()
        };
        let chain = DevChain::open(config, journal).context("starting the dev chain")?;
        let url = format!("http://{}", listener.local_addr()?).parse()?;
        let client = chain.client();
        tokio::spawn(async move {
            if let Err(error) = chain.serve(listener, std::future::pending()).await {
                tracing::error!(%error, "the dev chain's JSON-RPC ended");
            }
        });
        Ok(Self::kept_mining(client, url, finality_lag))
    }

    /// One that mines only what it is told to, for stories about which block holds what. It has no
    /// JSON-RPC over HTTP.
    pub fn quiet(chain: &DevChain) -> Self {
        Self {
            client: chain.client(),
            url: Url::parse("http://127.0.0.1").expect("a constant"),
            finality_lag: FINALITY_LAG,
        }
    }

    /// Takes the one at `url`, for instance anvil with `--slots-in-an-epoch 1`.
    ///
    /// # Errors
    /// Where nobody answers, or a chain that cannot be told to mine.
    pub async fn at(url: Url) -> Result<Self> {
        let client = endpoint::client(url.clone()).with_poll_interval(POLL);
        let chain = Self::kept_mining(client, url, FINALITY_LAG);
        chain
            .finalize()
            .await
            .context("asking the chain to mine: is it a development chain?")?;
        Ok(chain)
    }

    /// A client of it.
    pub fn client(&self) -> RpcClient {
        self.client.clone()
    }

    /// Its JSON-RPC.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Mines empty blocks.
    ///
    /// # Errors
    /// Where the chain does not answer.
    pub async fn mine(&self, blocks: u64) -> Result<()> {
        for _ in 0..blocks {
            mine(&self.client).await?;
        }
        Ok(())
    }

    /// Mines as many blocks as make the newest one final.
    ///
    /// # Errors
    /// Where the chain does not answer.
    pub async fn finalize(&self) -> Result<()> {
        self.mine(self.finality_lag + 1).await
    }

    /// Mines a block with this time (Unix seconds), which must be later than the newest one's.
    ///
    /// # Errors
    /// Where the chain does not answer or does not take the time.
    pub async fn mine_at(&self, time: u64) -> Result<()> {
        let _: Value = self
            .client
            .request("evm_setNextBlockTimestamp", [time])
            .await?;
        self.mine(1).await
    }

    fn kept_mining(client: RpcClient, url: Url, finality_lag: u64) -> Self {
        let chain = Self {
            client: client.clone(),
            url,
            finality_lag,
        };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BLOCK_EVERY).await;
                if let Err(error) = mine(&client).await {
                    tracing::debug!(%error, "the chain did not mine");
                }
            }
        });
        chain
    }
}

async fn mine(client: &RpcClient) -> Result<()> {
    let _: Value = client.request_noparams("evm_mine").await?;
    Ok(())
}
