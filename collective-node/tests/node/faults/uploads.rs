//! Uploads of one contributor.

use std::collections::VecDeque;

use alloy::signers::local::PrivateKeySigner;
use collective::id::Leaf;
use collective::terms::{Purpose, Terms};
use collective_node::client::Client;
use collective_node::contributor::{Destination, prepare};
use collective_node::http::CollectiveAnswer;
use collective_node::intake::join;

use crate::by_hand::World;

/// Something to send.
pub struct Upload {
    pub leaf: Leaf,
    pub file: Vec<u8>,
    pub bytes: Vec<u8>,
}

/// Makes uploads of one contributor, whose nonces rise.
pub struct Contributor {
    /// Up as long as this is.
    _world: World,
    pub client: Client,
    account: PrivateKeySigner,
    nonce: u64,
    told: Option<CollectiveAnswer>,
    pub runtime: tokio::runtime::Runtime,
}

impl Contributor {
    pub fn new(world: World) -> Self {
        let seeded = world.handout["accounts"].as_array().expect("accounts");
        let named = |it: &&serde_json::Value| it["name"] == "contributor-0";
        let account = seeded.iter().find(named).expect("an account")["key"].as_str();
        Self {
            client: Client::new(world.told("node").parse().expect("a URL")).expect("a client"),
            account: account.expect("a key").parse().expect("a key"),
            nonce: 1_000,
            told: None,
            runtime: tokio::runtime::Runtime::new().expect("threads"),
            _world: world,
        }
    }

    /// Seals this record so many times. The node is asked once, so it has to be up the first time only.
    pub fn uploads(&mut self, count: usize, record: &[u8]) -> VecDeque<Upload> {
        let (runtime, client) = (&self.runtime, &self.client);
        let told = self.told.get_or_insert_with(|| {
            let told = runtime.block_on(client.collective());
            told.expect("the collective")
        });
        let recipient = told.recipient.parse().expect("a recipient");
        let to = Destination {
            deployment: &told.deployment,
            recipient: &recipient,
            source: "anes96",
            terms: Terms {
                purposes: [Purpose::Statistics].into_iter().collect(),
                expiry: u64::MAX,
            },
        };
        let one = |nonce| {
            let (entry, file) = prepare(&to, &self.account, nonce, record, &mut rand::rng())
                .expect("a sealed record");
            let leaf = entry.contribution.leaf();
            let bytes = join(&entry, &file);
            Upload { leaf, file, bytes }
        };
        let first = self.nonce;
        self.nonce += count as u64;
        (first..self.nonce).map(one).collect()
    }
}
