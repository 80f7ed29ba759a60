//! The operator of one key holder: keys, an account, a registration, a configuration, and a process of the real binary.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use bytes::Bytes;
use collective::committee::log::Log;
use collective::id::{KeysHash, NodeId};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use url::Url;
use zeroize::Zeroizing;

use crate::chain::facts::ROLE_KEYHOLDER;
use crate::demo::world::{PASSPHRASE, World, executable};
use crate::holder::serve::{HolderStatus, STATUS};
use crate::keystore::Keystore;
use crate::lie;
use crate::registration;
use crate::wire::{self, Exchange, Remote, WireError};

/// The passphrase is public: deriving a key from it may cost little.
const QUICK: Option<u8> = Some(10);

/// A key holder and who runs it.
pub struct Operator {
    /// For the account.
    pub name: String,
    /// In NodeRegistry.
    pub node: NodeId,
    /// Where it shows its log to everybody.
    pub public: Url,
    folder: PathBuf,
    remote: Remote,
    process: Option<Child>,
}

impl Operator {
    /// Makes keys and a configuration in a folder of their own inside `folder`, and registers the node; says what
    /// members accept. The keys are in the folder and nowhere else when this returns.
    pub async fn register(world: &World, folder: &Path, number: u16) -> Result<(Self, KeysHash)> {
        let name = format!("holder-{number}");
        let folder = folder.join(&name);
        std::fs::create_dir(&folder)?;
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        let keys = Keystore::create(
            &folder.join("keys.age"),
            passphrase,
            QUICK,
            &mut rand::rng(),
        )?;
        world.give_ether(keys.address()).await?;
        let (listen, public) = (free_port().await?, free_port().await?);
        let endpoint = format!("https://{listen}");
        let by = keys.provider(world.chain.client());
        let accept =
            registration::register(&by, &world.deployment, &keys, ROLE_KEYHOLDER, &endpoint)
                .await?;
        let node = registration::node_id(&keys);
        let config = format!(
            "deployment = \"../deployment.json\"\nrpc = \"{}\"\nnode = \"{node}\"\ncompute = \"{}\"\nsource = \"{}\"\n\
             data = \"data\"\nlisten = \"{listen}\"\npublic = \"{public}\"\nkeys = \"keys.age\"\npassphrase_file = \"passphrase\"\n",
            world.chain.url(),
            world.node_id,
            world.address()?,
        );
        std::fs::write(folder.join("keyholder.toml"), config)?;
        std::fs::write(folder.join("passphrase"), PASSPHRASE)?;
        let operator = Self {
            name,
            node,
            folder,
            public: format!("http://{public}").parse()?,
            remote: Remote::new(&endpoint, keys.transport_key().pin())?,
            process: None,
        };
        Ok((operator, accept))
    }

    /// Starts `collective keyholder`, which lies about its partial decryptions if it is told to.
    pub fn start(&mut self, lies: bool) -> Result<()> {
        let log = File::create(self.folder.join("keyholder.log"))?;
        let mut command = Command::new(executable()?);
        command
            .args(["keyholder", "--config"])
            .arg(self.folder.join("keyholder.toml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        if lies {
            command.env(lie::VARIABLE, lie::PARTIALS);
        }
        self.process = Some(command.spawn().context("starting `collective keyholder`")?);
        Ok(())
    }

    /// Kills the process, as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        let process = self.process.take();
        let mut process = process.with_context(|| format!("{} does not run", self.name))?;
        process.kill().await?;
        Ok(())
    }

    /// Whether its process was started and not killed.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// How it stands, in its own words.
    pub async fn status(&self, wire: &wire::Client) -> Result<HolderStatus> {
        let answer = self.ask(wire, &STATUS, Bytes::new()).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Asks it something over the wire.
    pub async fn ask(
        &self,
        wire: &wire::Client,
        exchange: &'static Exchange,
        body: Bytes,
    ) -> Result<Bytes, WireError> {
        wire.post(&self.remote, exchange, body).await
    }

    /// Whether the file with its share of an epoch is there.
    pub fn keeps_share(&self, epoch: u64) -> bool {
        let name = format!("keys.shares/epoch-{epoch}.age");
        self.folder.join(name).exists()
    }

    /// Whether a file with the ML-KEM seed before a renewal is there.
    pub fn keeps_old_seed(&self) -> bool {
        let name = "keys.renewals/epoch-2.seed.age";
        self.folder.join(name).exists() || self.keeps_share(1)
    }

    /// Its log, every line of which is checked to follow from the one before.
    pub fn log(&self) -> Result<Log> {
        let bytes = std::fs::read(self.folder.join("data/holder.log"))?;
        Log::verify(&bytes).with_context(|| format!("the log of {}", self.name))
    }
}

/// A port that was free a moment ago: it is registered before the process listens there.
async fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}
