//! What a compute node does with a job: it serves whatever the collective approved for its own nodes, has sealed files from its
//! store and from where contributors keep them, and runs programs in the sandbox.

use std::sync::Arc;
use std::time::Duration;

use collective::approval::{Manifest, Program, Recipient};
use collective::contribution::SignedContribution;
use collective::id::BlobId;
use collective::input::Anchored;
use collective::limits::MAX_RUN_SECONDS;
use collective::permit::{Code, Grant, Permit};
use collective::seal::header::FileKey;
use tokio::sync::Mutex;

use super::{DriveError, Site};
use crate::blobs::{BlobError, Blobs};
use crate::chain::Deployment;
use crate::fetched::{Fetched, MAX_BYTES};
use crate::follower::View;
use crate::keystore::Keystore;
use crate::ledger::Ledger;
use crate::run::{self, Files, Published, RunError};
use crate::sandbox::{ENGINE, EngineId, Failure, Sandbox, engine_id, sql_engine_id};
use crate::told::{self, Memory};

/// A compute node at work. Clones share it.
#[derive(Clone)]
pub struct Compute {
    /// Where the collective lives.
    pub deployment: Deployment,
    /// Where files are, and what queries told.
    pub ledger: Ledger,
    /// Files and runtimes.
    pub blobs: Blobs,
    /// Files that contributors keep.
    pub fetched: Arc<Fetched>,
    /// Opens what queries told before.
    pub keys: Arc<Keystore>,
    /// Where programs run.
    pub sandbox: Arc<Sandbox>,
    /// Held while it is decided what a query may tell.
    pub deciding: Arc<Mutex<()>>,
}

impl Site for Compute {
    type Files = Files;

    fn serves(&self, manifest: &Manifest) -> bool {
        manifest.hand_off.is_none()
    }

    async fn unserved(&self, permit: &Permit) -> Result<Option<String>, DriveError> {
        let manifest = permit.grant().manifest();
        if let Recipient::Node { id, .. } = manifest.recipient {
            return Ok(Some(format!(
                "outputs go to age recipients in this version, not to node {id}"
            )));
        }
        let is_query = manifest.program.engine().is_some();
        if is_query {
            let readable = self.memory().check(&manifest.dataset.source).await;
            readable.map_err(RunError::Tell)?;
            if self.memory().is_full(&manifest.dataset.source).await? {
                return Ok(Some(told::FULL.to_owned()));
            }
        }
        let members = permit.grant().input().members();
        let entries = read_entries(members);
        if !self.fetched.has_room_for(entries).await? {
            return Ok(Some(format!(
                "the files of this input set that contributors keep have more than {MAX_BYTES} bytes, which is what this node fetches at most: \
                 ask for a manifest over fewer of them"
            )));
        }
        let longest = Duration::from_secs(manifest.limits.seconds.into());
        let comparing = run::comparing(members);
        // The program's clock runs while files are opened, and a run may have to be made twice within a day.
        let most = Duration::from_secs(MAX_RUN_SECONDS.into());
        if manifest.payment.distinct && (comparing > longest || comparing + longest > most) {
            return Ok(Some(format!(
                "opening what was contributed is allowed {} s, twice, and a run of this manifest {} s: the limit has to be longer than the \
                 former, and both together within {MAX_RUN_SECONDS} s",
                comparing.as_secs(),
                longest.as_secs()
            )));
        }
        let (token, own) = (manifest.payment.token, self.deployment.token);
        let paid = || format!("the manifest pays in token {token}, rewards are accounted in {own}");
        Ok((token != own).then(paid))
    }

    async fn runtime(&self, program: &Program) -> Result<Option<Vec<u8>>, DriveError> {
        if let Some(engine) = program.engine() {
            self.check_engine(engine.to_owned()).await?;
        }
        match program.runtime() {
            Some(id) => Ok(Some(self.interpreter(id).await?)),
            None => Ok(None),
        }
    }

    async fn have_at_hand(&self, permit: &Permit, view: View) -> Result<(), DriveError> {
        for (_, file) in self.files(permit.grant(), view).await?.members {
            if let Some(file) = file {
                self.blobs.find(file).await?;
            }
        }
        self.prepare(permit.code().clone()).await
    }

    /// Those that contributors keep and that are read are fetched.
    async fn files(&self, granted: &Grant, view: View) -> Result<Files, DriveError> {
        let input = granted.input().members();
        let entries = read_entries(input);
        let fetched = self.fetched.have(granted.release().job, entries).await;
        fetched.map_err(RunError::from)?;
        let connected = self.ledger.connected().await?;
        let mut members = Vec::with_capacity(input.len());
        for member in granted.input().members() {
            let leaf = member.entry.contribution.leaf();
            let file = self.ledger.file(leaf).await?;
            let file = file.ok_or_else(|| RunError::Missing(format!("no file of leaf {leaf}")))?;
            let is_here = !connected.contains_key(&leaf);
            members.push((member.clone(), is_here.then_some(file)));
        }
        let (blobs, deployment) = (self.blobs.clone(), self.deployment);
        Ok(Files {
            members,
            keys: vec![],
            blobs,
            fetched: self.fetched.clone(),
            deployment,
            view,
        })
    }

    async fn run(
        &self,
        permit: Permit,
        mut files: Files,
        keys: Vec<Option<FileKey>>,
    ) -> Result<Published, DriveError> {
        files.keys = keys;
        Ok(run::run(permit, files, &self.sandbox, self.memory()).await?)
    }

    fn engine(&self, program: &Program) -> (String, EngineId) {
        match program.engine() {
            Some(engine) => (engine.into(), sql_engine_id(engine)),
            None => (ENGINE.into(), engine_id()),
        }
    }

    fn forget(&self, job: u64) {
        self.fetched.forget(job);
    }
}

impl Compute {
    /// What queries told before.
    fn memory(&self) -> Memory {
        Memory {
            ledger: self.ledger.clone(),
            keys: self.keys.clone(),
            deciding: self.deciding.clone(),
        }
    }

    /// Whether the worker for queries has this engine. It may have to be started for that.
    async fn check_engine(&self, engine: String) -> Result<(), DriveError> {
        let sandbox = self.sandbox.clone();
        let asked = tokio::task::spawn_blocking(move || sandbox.check_engine(&engine)).await;
        let asked = asked.map_err(|error| {
            RunError::Missing(format!("asking for the engine was interrupted: {error}"))
        })?;
        Ok(asked.map_err(RunError::from)?)
    }

    /// The runtime that a program was approved with. It is large, so nobody but the operator puts it here.
    async fn interpreter(&self, id: BlobId) -> Result<Vec<u8>, DriveError> {
        match self.blobs.get(id).await {
            Ok(runtime) => Ok(runtime.to_vec()),
            Err(BlobError::Missing(_)) => {
                let missing =
                    format!("no runtime {id} here: add it with `collective node keep FILE`");
                Err(RunError::Missing(missing).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Compiles a program where that is not done yet. What the program did wrong is for its run to say.
    async fn prepare(&self, code: Code) -> Result<(), DriveError> {
        let sandbox = self.sandbox.clone();
        let prepared = tokio::task::spawn_blocking(move || sandbox.prepare(&code)).await;
        match prepared {
            Ok(Err(Failure::Operator(fault))) => Err(RunError::from(fault).into()),
            Ok(_) => Ok(()),
            Err(error) => {
                Err(RunError::Missing(format!("compiling was interrupted: {error}")).into())
            }
        }
    }
}

/// Of an input set what a run reads.
fn read_entries(members: &[Anchored]) -> impl Iterator<Item = &SignedContribution> {
    let read = members.iter().filter(|member| run::is_read(member));
    read.map(|member| &member.entry)
}
