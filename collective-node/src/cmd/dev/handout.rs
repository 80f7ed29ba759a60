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
    /// Writes everything into the world's folder.
    pub fn write(world: &World, folder: &Path) -> Result<Self> {
        for name in ["accounts", "manifests", "programs"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let deployment = folder.join("deployment.json");
        write(&deployment, &serde_json::to_vec_pretty(&world.deployment)?)?;
        let identity = x25519::Identity::random(&mut rand::rng());
        let identity_path = folder.join("requester.identity");
        let text = secret::identity_file(&identity);
        write(&identity_path, text.as_bytes())?;

        let (mut manifests, mut programs) = (vec![], vec![]);
        for (name, program, manifest) in examples(world, &identity)? {
            let path = folder.join("manifests").join(format!("{name}.json"));
            write(&path, &serde_json::to_vec_pretty(&manifest)?)?;
            manifests.push(path);
            let path = folder.join("programs").join(format!("{name}.wasm"));
            write(&path, program)?;
            programs.push(path);
        }
        let denied = denied()?;
        Ok(Self {
            rpc: plain(world.chain.url().as_str()),
            node: world.address()?,
            node_id: world.node_id.to_string(),
            deployment,
            node_config: node_config(world, folder, &denied)?,
            manifests,
            programs,
            identity: identity_path,
            accounts: accounts(world, folder)?,
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
    "collective proposal queue --manifest DIR/manifests/mean.json --key DIR/accounts/founder-0.key; collective dev time 86401",
    "collective proposal execute --manifest DIR/manifests/mean.json --key DIR/accounts/founder-0.key",
    "collective job request --manifest DIR/manifests/mean.json --key DIR/accounts/requester.key; collective job show 1 --wait",
    "collective job output 1 --identity DIR/requester.identity",
    "collective verify receipt 1",
    "collective revoke 1 --key DIR/accounts/contributor-0.key",
];

fn accounts(world: &World, folder: &Path) -> Result<Vec<Seeded>> {
    let founders = world.founders.iter().enumerate();
    let founders = founders.map(|(n, account)| (format!("founder-{n}"), account));
    let requester = ("requester".to_owned(), &world.requester);
    let people = world.contributors.iter().take(CONTRIBUTORS).enumerate();
    let people = people.map(|(n, account)| (format!("contributor-{n}"), account));
    founders
        .chain([requester])
        .chain(people)
        .map(|(name, account)| seeded(folder, name, account))
        .collect()
}

fn seeded(folder: &Path, name: String, account: &PrivateKeySigner) -> Result<Seeded> {
    let file = folder.join("accounts").join(format!("{name}.key"));
    write(&file, secret::account_file(account).as_bytes())?;
    Ok(Seeded {
        name,
        address: account.address(),
        key: alloy::hex::encode_prefixed(account.to_bytes()),
        file,
    })
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
    Ok([("mean", demo::MEAN, mean), ("logit", demo::LOGIT, logit)])
}

/// A configuration with which the world's node runs as a process of its own on this machine.
fn node_config(world: &World, folder: &Path, denied: &[Layer]) -> Result<PathBuf> {
    write(&folder.join("passphrase"), PASSPHRASE.as_bytes())?;
    let address = world.address()?;
    let listen = address.strip_prefix("http://").unwrap_or(&address);
    let mut text = format!(
        "deployment = \"deployment.json\"\nrpc = \"{}\"\nnode = \"{}\"\ndata = \"node\"\n\
         listen = \"{listen}\"\nkeys = \"node/keys.age\"\npassphrase_file = \"passphrase\"\n",
        plain(world.chain.url().as_str()),
        world.node_id,
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
    write(&path, text.as_bytes())?;
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
