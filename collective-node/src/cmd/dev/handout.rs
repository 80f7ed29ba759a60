//! What `dev` hands out: key files, manifests and programs to propose, a node's configuration, and
//! the commands to try.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result};
use collective::approval::{Manifest, OutputKind};
use collective::seal::x25519;
use serde::Serialize;

use crate::cmd::secret;
use crate::demo::{self, PASSPHRASE, World};
use crate::keystore::write_new;
use crate::sandbox::{Layer, Sandbox};

/// Contributors whose keys are handed out; the other respondents' follow from a published rule.
const CONTRIBUTORS: usize = 4;

/// The example programs.
const EXAMPLES: [&str; 2] = ["mean", "logit"];

/// Where the collective lives; a folder that holds it is a complete world.
pub const DEPLOYMENT: &str = "deployment.json";

/// To which the examples' results are sealed.
const IDENTITY: &str = "requester.identity";

/// How often the manifests handed out may run: enough to try for an afternoon.
const RUNS: u32 = 100;

/// Seconds for which an approval of them is good.
const GOOD_FOR: u64 = 365 * 86_400;

/// Everything that somebody needs to act in the world.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Handout {
    rpc: String,
    node: String,
    node_id: String,
    deployment: PathBuf,
    node_config: PathBuf,
    manifests: Vec<PathBuf>,
    programs: Vec<PathBuf>,
    identity: PathBuf,
    accounts: Vec<Seeded>,
    /// Layers of the sandbox that this machine denies.
    denied: Vec<Layer>,
    #[serde(skip)]
    folder: PathBuf,
}

/// An account whose key is public.
#[derive(Debug, Serialize)]
struct Seeded {
    name: String,
    address: Address,
    key: String,
    file: PathBuf,
}

impl Handout {
    /// What `write` makes in the folder; the deployment first, without which it is no complete world.
    pub const FILES: [&str; 7] = [
        DEPLOYMENT,
        "node.toml",
        "passphrase",
        IDENTITY,
        "accounts",
        "manifests",
        "programs",
    ];

    /// Writes everything into the folder of a world that was just founded; the deployment last, so that a
    /// folder with one is complete.
    pub fn write(world: &World, folder: &Path) -> Result<Self> {
        for name in ["accounts", "manifests", "programs"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let identity = x25519::Identity::random(&mut rand::rng());
        write(
            &folder.join(IDENTITY),
            secret::identity_file(&identity).as_bytes(),
        )?;
        for (name, program, manifest) in examples(world, &identity)? {
            let manifest = serde_json::to_vec_pretty(&manifest)?;
            write(&manifest_path(folder, name), &manifest)?;
            write(&program_path(folder, name), program)?;
        }
        for (name, account) in people(world) {
            let text = secret::account_file(account);
            write(&key_path(folder, &name), text.as_bytes())?;
        }
        write(&folder.join("passphrase"), PASSPHRASE.as_bytes())?;
        let handout = Self::of(world, folder)?;
        let deployment = serde_json::to_vec_pretty(&world.deployment)?;
        write(&handout.deployment, &deployment)?;
        Ok(handout)
    }

    /// The handout of a world whose files are there. Only the node's configuration is written anew: ports
    /// change.
    pub fn of(world: &World, folder: &Path) -> Result<Self> {
        let denied = denied()?;
        let seeded = |(name, account): (String, &PrivateKeySigner)| Seeded {
            address: account.address(),
            key: alloy::hex::encode_prefixed(account.to_bytes()),
            file: key_path(folder, &name),
            name,
        };
        Ok(Self {
            rpc: plain(world.chain.url().as_str()),
            node: format!("http://{}", world.listens_at),
            node_id: world.node_id.to_string(),
            deployment: folder.join(DEPLOYMENT),
            node_config: node_config(world, folder, &denied)?,
            manifests: EXAMPLES.map(|name| manifest_path(folder, name)).into(),
            programs: EXAMPLES.map(|name| program_path(folder, name)).into(),
            identity: folder.join(IDENTITY),
            accounts: people(world).map(seeded).collect(),
            denied,
            folder: folder.to_owned(),
        })
    }

    /// Prints it; `without_node` where the node was stopped again.
    pub fn print(&self, json: bool, without_node: bool) -> Result<()> {
        let text = if json {
            serde_json::to_string_pretty(self)? + "\n"
        } else {
            self.describe(without_node)?
        };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn describe(&self, without_node: bool) -> Result<String> {
        let mut text = String::new();
        let node = if without_node { "stopped" } else { "running" };
        writeln!(text, "node         {} ({node})", self.node)?;
        writeln!(text, "node id      {}", self.node_id)?;
        writeln!(text, "JSON-RPC     {}", self.rpc)?;
        writeln!(text, "deployment   {}", self.deployment.display())?;
        writeln!(
            text,
            "\nAccounts; their keys are public, never use them elsewhere:"
        )?;
        for account in &self.accounts {
            let Seeded {
                name, address, key, ..
            } = account;
            writeln!(text, "  {name:<14} {address}  {key}")?;
        }
        writeln!(text, "\nIn another terminal:\n")?;
        writeln!(text, "  export COLLECTIVE_NODE={}", self.node)?;
        writeln!(text, "  export COLLECTIVE_RPC={}", self.rpc)?;
        let deployment = self.deployment.display();
        writeln!(text, "  export COLLECTIVE_DEPLOYMENT={deployment}")?;
        if without_node {
            let config = self.node_config.display();
            writeln!(text, "  collective node --config {config}")?;
        }
        let folder = self.folder.display().to_string();
        for command in COMMANDS {
            writeln!(text, "  {}", command.replace("DIR", &folder))?;
        }
        writeln!(text, "\nCtrl-C ends this world.")?;
        Ok(text)
    }
}

/// A session: contribute, decide, run, read, check, take back, be paid.
const COMMANDS: [&str; 10] = [
    "echo 0,7,7,1,6,6,36,3,1,1 | collective contribute --record - --source anes96 --purposes statistics --nonce 1 --key DIR/accounts/contributor-0.key",
    "collective contributions LEAF --wait --receipt receipt.json && collective verify contribution receipt.json",
    "collective propose --manifest DIR/manifests/mean.json --program DIR/programs/mean.wasm --key DIR/accounts/founder-0.key; collective dev time 61",
    "collective vote PROPOSAL for --key DIR/accounts/founder-0.key   # and founder-1; then: collective dev time 3601",
    "collective proposal queue PROPOSAL --key DIR/accounts/founder-0.key; collective dev time 86401",
    "collective proposal execute PROPOSAL --key DIR/accounts/founder-0.key",
    "collective job request --manifest DIR/manifests/mean.json --key DIR/accounts/requester.key; collective job show 1 --wait",
    "collective job output 1 --identity DIR/requester.identity",
    "collective verify receipt 1",
    "collective revoke 1 --key DIR/accounts/contributor-0.key",
];

/// Those whose keys are handed out, by name.
fn people(world: &World) -> impl Iterator<Item = (String, &PrivateKeySigner)> {
    let founders = world.founders.iter().enumerate();
    let contributors = world.contributors.iter().take(CONTRIBUTORS).enumerate();
    founders
        .map(|(n, account)| (format!("founder-{n}"), account))
        .chain([("requester".to_owned(), &world.requester)])
        .chain(contributors.map(|(n, account)| (format!("contributor-{n}"), account)))
}

fn key_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("accounts").join(format!("{name}.key"))
}

fn manifest_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("manifests").join(format!("{name}.json"))
}

fn program_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("programs").join(format!("{name}.wasm"))
}

/// Programs with manifests under which the members may let them run.
fn examples(
    world: &World,
    identity: &x25519::Identity,
) -> Result<[(&'static str, &'static [u8], Manifest); 2]> {
    let recipient = identity.recipient().to_string();
    let expiry = world.view()?.latest.time + GOOD_FOR;
    let logit = demo::manifest(world, demo::LOGIT, &recipient, RUNS, expiry);
    let mut mean = demo::manifest(world, demo::MEAN, &recipient, RUNS, expiry);
    mean.output.kind = OutputKind::Aggregate;
    mean.output.schema = None;
    let [first, second] = EXAMPLES;
    Ok([(first, demo::MEAN, mean), (second, demo::LOGIT, logit)])
}

/// A configuration with which the world's node runs as a process of its own on this machine.
fn node_config(world: &World, folder: &Path, denied: &[Layer]) -> Result<PathBuf> {
    let mut text = format!(
        "# Written anew each time `collective dev` starts.\n\
         deployment = \"{DEPLOYMENT}\"\nrpc = \"{}\"\nnode = \"{}\"\ndata = \"node\"\n\
         listen = \"{}\"\nkeys = \"node/keys.age\"\npassphrase_file = \"passphrase\"\n",
        plain(world.chain.url().as_str()),
        world.node_id,
        world.listens_at,
    );
    if !denied.is_empty() {
        let left: Vec<Layer> = Layer::ALL
            .into_iter()
            .filter(|layer| !denied.contains(layer))
            .collect();
        let left = serde_json::to_string(&left)?;
        writeln!(
            text,
            "# This machine denies the other layers.\nrequired_layers = {left}"
        )?;
    }
    let path = folder.join("node.toml");
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn denied() -> Result<Vec<Layer>> {
    let sandbox = Sandbox::new(demo::executable()?, vec![], None);
    let layers = sandbox.layers().context("trying the sandbox")?;
    Ok(layers.denied.into_iter().map(|(layer, _)| layer).collect())
}

/// A URL without the slash that stands for an empty path.
fn plain(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(write_new(path, bytes)?)
}
