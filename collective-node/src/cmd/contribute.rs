//! `collective contribute`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, Result, anyhow, ensure};
use clap::{ArgGroup, Args};
use collective::contribution::{
    DirectContribution, MAX_ENTRY_BYTES, PayloadOutline, Place, PlaceUrl, SignedContribution,
    SignedPlace,
};
use collective::id::{BlobId, ContributorId, Leaf, sha256};
use collective::seal::tagged::TaggedRecipient;
use collective::source::Source;
use collective::terms::{Purpose, Terms};
use serde_json::json;
use zeroize::Zeroizing;

use super::acknowledged::Acknowledged;
use super::key::recovery;
use super::place::{MaybeChainAt, NodeAt};
use super::program::test::warn_of_layers;
use super::secret;
use super::show::{Working, byte_bar, printable, show};
use crate::chain::{Chain, Deployment};
use crate::client::Client;
use crate::contributor::{Destination, outline, place, prepare, read_header, sign, split_file};
use crate::http::CollectiveAnswer;
use crate::intake::{Acknowledgement, ConnectedUpload, MAX_UPLOAD_BYTES, join};
use crate::places;
use crate::sandbox::{Sandbox, Summary};
use crate::transfer::upload;

/// Bytes of a sealed file that goes to the node in one request.
const MAX_SEALED_BYTES: u64 = (MAX_UPLOAD_BYTES - MAX_ENTRY_BYTES - 4) as u64;

/// Seconds for which terms hold where the contributor names no end: a year, after which consent is
/// asked for again rather than taken for granted.
const TERMS_HOLD: u64 = 365 * 86_400;

/// Seal a record or the documents of an export on this machine, sign the leaf, send both to a node.
///
/// Neither leaves this machine in the clear. Where the source has documents, --record names the export, a ZIP archive as it was downloaded or
/// the JSON file in it: it is opened in the sandbox, what the source declares is kept of that one file, and nothing else is sealed. With --place the sealed file stays where the contributor keeps it, and the node
/// fetches from there what it needs: once now, a MiB a day, and all of it for a run. With --rpc and --deployment the key that the
/// node gives is compared with the one that the members accepted on chain, and refused if it is
/// another.
///
/// A sealed file of more than a MiB is sent in parts. After a cut the same command goes on: until then the signed leaf is in FILE.leaf.
///
/// The node's acknowledgement is kept in the folder KEY.acknowledged: with it `collective contributions anchor` does without the node.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("kept").args(["keep", "sealed"]),
    after_help = "Examples:\n  echo 0,7,7,1,6,6,36,3,1,1 | collective contribute --record - --source anes96 --purposes statistics --nonce 1 --key me.key\n  collective contribute --sealed record.age --source anes96 --purposes statistics,training --nonce 2 --key me.key\n  collective contribute --record - --keep record.age --place https://me.example/record.age --source anes96 --purposes statistics --nonce 3 --key me.key\n  collective contribute --sealed record.age --place https://me:app-password@cloud.example/remote.php/dav/files/me/record.age --source anes96 --purposes statistics --nonce 3 --key me.key\n  collective contribute --record export.zip --preview --source chatgpt --purposes training --nonce 4 --key me.key\n  collective contribute --record me.csv --source anes96 --purposes statistics --nonce 5 --key me.key --recovery 0x3C44…93BC"
)]
pub struct Contribute {
    /// File with one record in the source's encoding, `-` reads standard input; or the export that the source is of.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "sealed",
        conflicts_with = "sealed"
    )]
    record: Option<PathBuf>,
    /// File that is sealed to the collective already: what --keep wrote, or what another age client sealed, which only some collectives
    /// take.
    #[arg(long, value_name = "FILE")]
    sealed: Option<PathBuf>,
    /// Show what would be sealed of an export, and end there.
    #[arg(long, requires = "record")]
    preview: bool,
    /// Where the node finds the sealed file, which it then does not keep; nobody else is told. https://…, for WebDAV with an app
    /// password that can read that file and no more, https://NAME:APP-PASSWORD@cloud.example/…; s3://KEY:SECRET@HOST/BUCKET/…?region=…,
    /// with a key that can read that file and no more; or ipfs://CID/…, which everybody can fetch who learns the CID.
    #[arg(long, value_name = "URL", requires = "kept")]
    place: Option<String>,
    /// Write the sealed file here: it is what has to be at the place.
    #[arg(
        long,
        value_name = "FILE",
        requires = "place",
        conflicts_with = "sealed"
    )]
    keep: Option<PathBuf>,
    /// Name of the record's source in the charter.
    #[arg(long)]
    source: String,
    /// What the record may be used for: statistics, training, transfer. It goes to a requester's own machine only where transfer is
    /// among them, whatever else it is used for there.
    #[arg(long, value_delimiter = ',', required = true)]
    purposes: Vec<Purpose>,
    /// Unix seconds from which on nothing is allowed any more; a year from now if not given.
    #[arg(long, value_name = "SECONDS")]
    expiry: Option<u64>,
    /// A number that this account has not used yet.
    #[arg(long)]
    nonce: u64,
    /// An account whose key may take over, should this one be lost; signed here and named by the node (`collective key recovery --help`).
    #[arg(long, value_name = "ADDRESS", value_parser = recovery::checked)]
    recovery: Option<Address>,
    /// Key file of the contributor's account.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: MaybeChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Contribute {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        if let Some(recovery) = self.recovery {
            recovery::another_key(&account, recovery)?;
        }
        let Told {
            answer,
            deployment,
            recipient,
        } = told(&self.node, &self.chain).await?;
        let to = Destination {
            deployment: &deployment,
            recipient: &recipient,
            source: &self.source,
            terms: Terms {
                purposes: self.purposes.iter().copied().collect(),
                expiry: self.expiry.unwrap_or(now()? + TERMS_HOLD),
            },
        };
        let client = self.node.client()?;
        let mut export = None;
        let taken = match (&self.record, &self.sealed) {
            (Some(path), _) => {
                let source = self.declared(&answer)?;
                let sealed = beside(path, ".age");
                let is_begun =
                    !self.preview && sealed.exists() && beside(&sealed, ".leaf").exists();
                let plaintext = match source.has_documents() {
                    true if is_begun => Zeroizing::default(),
                    true => {
                        let (documents, summary) = self.documents(path, source).await?;
                        export = Some(summary);
                        documents
                    }
                    false => {
                        ensure!(!self.preview, "only of an export there is a preview");
                        checked(path, source)?
                    }
                };
                if self.preview {
                    show(self.json, &json!({ "export": export }), &[])?;
                    return Ok(true);
                }
                if is_begun && source.has_documents() {
                    self.send_kept(&client, &to, &account, &sealed).await?
                } else {
                    let rng = &mut rand::rng();
                    let (entry, file) = prepare(&to, &account, self.nonce, &plaintext, rng)?;
                    if self.place.is_some() || file.len() as u64 <= MAX_SEALED_BYTES {
                        self.send(&client, &to, &account, entry, &file).await?
                    } else {
                        keep_whole(&sealed, &file)?;
                        self.send_kept(&client, &to, &account, &sealed).await?
                    }
                }
            }
            (None, Some(path)) => {
                let reading = || format!("reading {}", path.display());
                let length = match path == Path::new("-") {
                    true => 0,
                    false => path.metadata().with_context(reading)?.len(),
                };
                match &self.place {
                    _ if length <= MAX_SEALED_BYTES => {
                        let file = read(path, MAX_UPLOAD_BYTES)?;
                        let entry = sign(&to, &account, self.nonce, &file[..])?;
                        self.send(&client, &to, &account, entry, &file).await?
                    }
                    None => self.send_in_parts(&client, &to, &account, path).await?,
                    Some(url) => {
                        let (entry, header) = self.signed(&to, &account, path)?;
                        let leaf = entry.contribution.leaf();
                        let place = placed(&deployment, &account, leaf, url)?;
                        let file = std::fs::File::open(path).with_context(reading)?;
                        let outline = outline(file).with_context(reading)?;
                        let outline = outline.context("the sealed file has no header")?;
                        self.connect(&client, entry, &header, &outline, place)
                            .await?
                    }
                }
            }
            (None, None) => unreachable!("clap requires one of the two"),
        };
        let leaf = taken.entry.contribution.leaf();
        let kept = self.keep_acknowledged(&taken, &answer, &deployment);
        if let Err(error) = &kept {
            eprintln!(
                "collective: it is taken in, but without the node you could not anchor it: see that it does; {error:#}"
            );
        }
        let kept = kept.ok();
        if let Some(recovery) = self.recovery {
            let named =
                recovery::name_with(&self.node, &self.chain, &deployment, &account, recovery).await;
            named.with_context(|| {
                format!(
                    "the contribution {leaf} is taken in, but its recovery key is not named: `collective key recovery name` does it"
                )
            })?;
        }
        let mut rows = vec![
            ("leaf", leaf.to_string()),
            ("contributor", account.address().to_string()),
            ("nonce", self.nonce.to_string()),
        ];
        let path = kept.as_ref().map(|path| path.display().to_string());
        rows.extend(path.map(|path| ("acknowledgement", path)));
        rows.extend(self.recovery.map(|key| ("recovery key", key.to_string())));
        let mut told = json!({ "leaf": leaf, "acknowledgement": kept });
        if let Some(export) = export {
            told["export"] = json!(export);
        }
        show(self.json, &told, &rows)?;
        Ok(kept.is_some())
    }

    /// Sends a file that one request takes, or where it is kept.
    async fn send(
        &self,
        client: &Client,
        to: &Destination<'_>,
        account: &PrivateKeySigner,
        entry: SignedContribution,
        file: &[u8],
    ) -> Result<DirectContribution> {
        let Some(url) = &self.place else {
            let (header, _) = split_file(file).context("the sealed file has no header")?;
            let said = client.contribute(join(&entry, file)).await?;
            return Ok(acknowledged(entry, header, said));
        };
        let leaf = entry.contribution.leaf();
        let place = placed(to.deployment, account, leaf, url)?;
        if let Some(keep) = &self.keep {
            let writing = || format!("writing {}", keep.display());
            let mut kept = std::fs::File::create_new(keep).with_context(writing)?;
            kept.write_all(file).with_context(writing)?;
            kept.sync_all().with_context(writing)?;
        }
        let (header, _) = split_file(file).context("the sealed file has no header")?;
        let outline = outline(file)?.context("the sealed file has no header")?;
        self.connect(client, entry, header, &outline, place).await
    }

    /// Signs the leaf of a file that is not read into memory; with its header.
    fn signed(
        &self,
        to: &Destination<'_>,
        account: &PrivateKeySigner,
        path: &Path,
    ) -> Result<(SignedContribution, Vec<u8>)> {
        let reading = || format!("reading {}", path.display());
        let open = || std::fs::File::open(path).with_context(reading);
        let _working = Working::on("hashing the file");
        let entry = sign(to, account, self.nonce, open()?)?;
        let header = read_header(open()?).with_context(reading)?;
        Ok((entry, header.context("the sealed file has no header")?))
    }

    /// Sends a sealed export that is kept beside the export for as long as that takes: the same command goes on after a cut.
    async fn send_kept(
        &self,
        client: &Client,
        to: &Destination<'_>,
        account: &PrivateKeySigner,
        sealed: &Path,
    ) -> Result<DirectContribution> {
        let sent = self.send_in_parts(client, to, account, sealed).await;
        // It is there, or it never will be: another try seals the export again.
        if sent.is_ok() || !beside(sealed, ".leaf").exists() {
            let _ = std::fs::remove_file(sealed);
        }
        sent
    }

    /// Sends a file that takes several requests. The signed leaf is kept beside it until it is there: the same command goes on with
    /// the same leaf, and does not read all of the file again.
    async fn send_in_parts(
        &self,
        client: &Client,
        to: &Destination<'_>,
        account: &PrivateKeySigner,
        path: &Path,
    ) -> Result<DirectContribution> {
        let opening = || format!("reading {}", path.display());
        let open = || std::fs::File::open(path).with_context(opening);
        let kept = beside(path, ".leaf");
        let begun = std::fs::read(&kept).ok();
        let begun = begun.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let file = open()?;
        let entry = match begun.filter(|entry| self.goes_on(entry, to, account, &file)) {
            Some(entry) => entry,
            None => {
                let _working = Working::on("hashing the file");
                let entry = sign(to, account, self.nonce, open()?)?;
                let writing = || format!("writing {}", kept.display());
                std::fs::write(&kept, serde_json::to_vec(&entry)?).with_context(writing)?;
                entry
            }
        };
        let header = read_header(open()?)?.context("the sealed file has no header")?;
        let bar = byte_bar();
        let sent = upload(client, &entry, path, |there, all| {
            bar.set_length(all);
            bar.set_position(there);
        });
        let sent = sent.await;
        bar.finish_and_clear();
        match sent {
            Err(error) if !error.is_final() => Err(error).with_context(|| {
                let file = path.display();
                format!("not all of {file} is there; the same command goes on within a day")
            }),
            sent => {
                // Nothing goes on.
                let _ = std::fs::remove_file(kept);
                Ok(acknowledged(entry, &header, sent?))
            }
        }
    }

    /// Whether an entry is what this command would sign, but for the end of its terms where none is named.
    fn goes_on(
        &self,
        entry: &SignedContribution,
        to: &Destination<'_>,
        account: &PrivateKeySigner,
        file: &std::fs::File,
    ) -> bool {
        let (contribution, commitment) = (&entry.contribution, &entry.commitment);
        let header = read_header(file).ok().flatten().unwrap_or_default();
        let length = file.metadata().map_or(0, |file| file.len());
        entry.check(&to.deployment.registry()).is_ok()
            && contribution.collective == to.deployment.collective
            && contribution.contributor == ContributorId::from_address(account.address())
            && contribution.nonce == self.nonce
            && commitment.source == to.source
            && commitment.header == sha256(&header)
            && header.len() as u64 + commitment.length == length
            && entry.terms.purposes == to.terms.purposes
            && self
                .expiry
                .is_none_or(|expiry| entry.terms.expiry == expiry)
    }

    /// Sends what the node has to have of a file that stays where it is.
    async fn connect(
        &self,
        client: &Client,
        entry: SignedContribution,
        header: &[u8],
        outline: &PayloadOutline,
        place: SignedPlace,
    ) -> Result<DirectContribution> {
        let upload = ConnectedUpload {
            entry: entry.clone(),
            header: header.to_vec().into(),
            outline: outline.to_bytes().into(),
            place,
        };
        let kept = self.keep.as_deref().or(self.sealed.as_deref());
        let kept = kept.context("clap requires one of the two")?.display();
        let connected = client.connect(&upload).await.with_context(|| {
            format!(
                "nothing was contributed; once {kept} is at the place, send it by --sealed {kept}"
            )
        });
        Ok(acknowledged(entry, header, connected?))
    }

    /// Keeps what anchors it without the node, should that never do it.
    fn keep_acknowledged(
        &self,
        taken: &DirectContribution,
        answer: &CollectiveAnswer,
        deployment: &Deployment,
    ) -> Result<PathBuf> {
        let (registry, collective) = (deployment.registry(), deployment.collective);
        let checked = taken.check(&registry, collective, answer.aggregator);
        checked.context("the node's word for it is worth nothing")?;
        Acknowledged::beside(&self.key).keep(taken)
    }

    /// What the collective declares of the source.
    fn declared<'a>(&self, answer: &'a CollectiveAnswer) -> Result<&'a Source> {
        let charter = answer.charter.as_ref();
        let charter = charter.context("the collective has set no charter yet")?;
        let source = charter.source(&self.source);
        source.with_context(|| format!("the collective declares no source '{}'", self.source))
    }

    /// The documents of an export; who contributes sees what they are before they are sealed.
    async fn documents(
        &self,
        path: &Path,
        source: &Source,
    ) -> Result<(Zeroizing<Vec<u8>>, Summary)> {
        ensure!(
            path != Path::new("-"),
            "an export is read at several places: give it as a file"
        );
        let export = std::fs::File::open(path);
        let export = export.with_context(|| format!("reading {}", path.display()))?;
        let declared = source.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            Sandbox::of_this_binary(vec![], None).unpack(&export, &declared)
        });
        let unpacked = unpacked
            .await
            .context("opening the export was interrupted")?;
        let unpacked = unpacked.with_context(|| {
            let source = &source.name;
            format!(
                "nothing was contributed to '{source}' from {}",
                path.display()
            )
        })?;
        warn_of_layers(&unpacked.layers);
        if !self.json {
            eprint!("{}", printable(&words(&unpacked.summary)));
        }
        Ok((unpacked.documents, unpacked.summary))
    }
}

fn acknowledged(
    entry: SignedContribution,
    header: &[u8],
    said: Acknowledgement,
) -> DirectContribution {
    DirectContribution {
        entry,
        acknowledgement: said.signature,
        header: header.to_vec().into(),
    }
}

/// A file with a name of its own beside another.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Writes a file that is whole once it has its name. One of an earlier try, which was not begun to be sent, gives way.
pub(super) fn keep_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(writing)?;
    file.write_all(bytes).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

/// What is sealed of an export and what is not, for whom it is of.
fn words(summary: &Summary) -> String {
    let members = summary
        .members
        .iter()
        .map(|(name, count)| format!("{name} ({count})"));
    let kept = format!(
        "{} documents, {} bytes, with these members: {}\n",
        summary.documents,
        summary.bytes,
        members.collect::<Vec<_>>().join(", ")
    );
    let named = summary.left_out.join(", ");
    match summary.left_out_count - summary.left_out.len() as u64 {
        _ if named.is_empty() => kept,
        0 => format!("{kept}stays here: {named}\n"),
        more => format!("{kept}stays here: {named}, and {more} more\n"),
    }
}

/// The record, refused here if it does not fit its source: the node cannot see that.
fn checked(path: &Path, source: &Source) -> Result<Zeroizing<Vec<u8>>> {
    let record = read(path, source.max_bytes())?;
    source.parse(&record)?;
    Ok(record)
}

/// A signed place; its number is the time in milliseconds, so the one that was said last holds.
pub(super) fn placed(
    deployment: &Deployment,
    account: &PrivateKeySigner,
    leaf: Leaf,
    url: &str,
) -> Result<SignedPlace> {
    let number = u64::try_from(since_1970()?.as_millis()).context("this machine's clock is off")?;
    let url = PlaceUrl::try_from(url.to_owned())?;
    places::check(&url).map_err(|why| anyhow!("the place is refused: {why}"))?;
    Ok(place(deployment, account, Place { leaf, number, url }))
}

/// What contributors go by: where the collective is, and its key.
pub(super) struct Told {
    /// All that the node says.
    pub answer: CollectiveAnswer,
    /// Where the collective lives: the file that was named, or else the node's word.
    pub deployment: Deployment,
    /// The collective's key, compared with the chain where one was named.
    pub recipient: TaggedRecipient,
}

/// Asks the node, and the chain if there is one to ask.
pub(super) async fn told(node: &NodeAt, chain: &MaybeChainAt) -> Result<Told> {
    let answer = node.client()?.collective().await?;
    let deployment = chain.deployment()?.unwrap_or(answer.deployment);
    match chain.reader().await? {
        Some(chain) => {
            accepted(&chain, &answer.recipient).await?;
            acknowledges(&chain, answer.aggregator).await?;
        }
        None => eprintln!(
            "collective: the node's word is taken for the collective's key; \
             --rpc and --deployment check it"
        ),
    }
    let recipient = answer
        .recipient
        .parse()
        .context("the node's recipient is none")?;
    Ok(Told {
        answer,
        deployment,
        recipient,
    })
}

/// Refuses a recipient that is not the one that the members accepted on chain.
async fn accepted(chain: &Chain, recipient: &str) -> Result<()> {
    let fact = chain.committee(&chain.finalized().await?).await?;
    ensure!(
        fact.epoch != 0 && fact.recipient == BlobId::of(recipient.as_bytes()),
        "the node gives another key than the one that the collective accepted on chain: \
         nothing was sealed; ask another node"
    );
    Ok(())
}

/// Refuses a key whose acknowledgements nobody counts: that of no node which the members accepted.
pub(super) async fn acknowledges(chain: &Chain, signer: Address) -> Result<()> {
    let signers = chain.compute_signers(&chain.latest().await?).await?;
    ensure!(
        signers.contains(&signer),
        "the node acknowledges by {signer}, which is the signer of no compute node that the collective accepts: nobody counts that; \
         ask another node, or its operator, whether the members accepted its keys"
    );
    Ok(())
}

fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let reading = || format!("reading {}", path.display());
    let most = limit as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).with_context(reading)?;
        file.take(most).read_to_end(&mut bytes)
    }
    .with_context(reading)?;
    ensure!(
        bytes.len() <= limit,
        "{} has more than {limit} bytes",
        path.display()
    );
    Ok(bytes)
}

fn now() -> Result<u64> {
    Ok(since_1970()?.as_secs())
}

fn since_1970() -> Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("this machine's clock is before 1970")
}
