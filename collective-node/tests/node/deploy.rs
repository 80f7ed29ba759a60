//! What a node makes of approved programs when a forge or a chain is not as it should be. `tests/programs.rs` has the ways that go well.

use crate::forge;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::forge::{Forge, Mood};
use crate::quiet_world::{LAG, QuietWorld};
use collective::approval::{Manifest, Origin, Program, Repository};
use collective::bundle::Bundle;
use collective::id::BlobId;
use collective_contracts::CodeRegistry::{CodeApproved, CodeRevoked};
use collective_node::governance::{Action, Motion};
use collective_node::http::Deployed;
use collective_node::programs::deploy::{Merge, Settings, State};
use collective_node::programs::description::Language;
use collective_node::programs::git::Credentials;
use collective_node::programs::scaffold;

/// A quiet world whose node fetches from a forge and merges into its `main`.
struct Place {
    quiet: QuietWorld,
    forge: Forge,
    token: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Place {
    async fn found() -> Option<Self> {
        let temporary = tempfile::tempdir().expect("a folder");
        let forge = Forge::start(&temporary.path().join("forge"))?;
        let token = temporary.path().join("token");
        fs::write(&token, forge::TOKEN).expect("written");
        let mut quiet = QuietWorld::found().await;
        quiet.crash().await;
        quiet.programs = Settings {
            repositories: vec![repository(&forge)],
            merge_into: Some("main".parse().expect("a branch")),
            credentials: Credentials {
                deploy_key: None,
                tokens: BTreeMap::from([(forge.origin().parse().expect("a forge"), token.clone())]),
            },
            folder: temporary.path().join("copies"),
        };
        quiet.start().await.expect("the node starts");
        Some(Self {
            quiet,
            forge,
            token,
            _temporary: temporary,
        })
    }

    /// A manifest of the mean whose origin is a folder on a branch. Its bytes are said to be another compiler's, so that no node has to
    /// make them again.
    fn pinned(&self) -> Manifest {
        let folder = self.forge.clone().join("educ");
        let files: BTreeMap<String, String> = scaffold::files(Language::C, None, None)
            .into_iter()
            .map(|(path, text)| (path.to_owned(), text))
            .collect();
        for (path, text) in &files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let commit = self.forge.push("work");
        let tree = self.forge.git("rev-parse HEAD:educ");
        let mut manifest = self.quiet.manifest.clone();
        manifest.program = Program::Component {
            sha256: manifest.program.sha256(),
            origin: Some(Origin {
                repository: repository(&self.forge),
                commit: commit.parse().expect("a commit"),
                path: "educ".parse().expect("a path"),
                tree: tree.parse().expect("a tree"),
                source: Bundle::new(files).expect("a tree of text").id(),
                build: "c zig-0.1.0".parse().expect("a recipe"),
            }),
        };
        manifest
    }

    /// Waits until the node says something of a manifest.
    async fn until(&self, manifest: &Manifest, what: impl Fn(&Deployed) -> bool) -> Deployed {
        let mut said = None;
        let here = async || {
            said = self.quiet.client().program(manifest.digest()).await.ok();
            said.as_ref().is_some_and(&what)
        };
        self.quiet.until("the node says so", here).await;
        said.expect("it was said")
    }

    fn main(&self) -> String {
        self.forge.bare("rev-parse main")
    }
}

fn repository(forge: &Forge) -> Repository {
    forge.http.parse().expect("an address")
}

fn blob_file(data: &Path, id: BlobId) -> PathBuf {
    let name = alloy::hex::encode(id.0);
    data.join("blobs").join(&name[..2]).join(&name[2..])
}

fn waits(deployed: &Deployed) -> Option<&str> {
    match &deployed.merge {
        Some(Merge::Failed { reason }) => Some(reason),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_is_out_of_order_is_not_the_proposers_fault() {
    let Some(place) = Place::found().await else {
        return;
    };
    let manifest = place.pinned();
    place.forge.is(Mood::Cut);
    place
        .quiet
        .have_approved(std::slice::from_ref(&manifest))
        .await;
    let said = place.until(&manifest, |_| true).await;
    assert_eq!(said.state, State::UnreachableRepository, "{said:?}");
    place.forge.is(Mood::Well);
    let said = place
        .until(&manifest, |said| said.state == State::Ready)
        .await;
    assert!(
        said.detail.starts_with("its source is that of the commit"),
        "{said:?}"
    );
    assert!(
        matches!(said.merge, Some(Merge::Merged { commit: Some(_) })),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_tried_again_and_nothing_else() {
    let Some(place) = Place::found().await else {
        return;
    };
    let manifest = place.pinned();
    fs::write(&place.token, "another").expect("written");
    place
        .quiet
        .have_approved(std::slice::from_ref(&manifest))
        .await;
    let said = place.until(&manifest, |said| waits(said).is_some()).await;
    assert_eq!(said.state, State::Ready, "{said:?}");
    let (before, tried) = (place.main(), place.forge.pushes());

    // Whoever judged it again would miss its bytes, and would not find its commit any more.
    let program = blob_file(&place.quiet.world.data, manifest.program.sha256());
    fs::remove_file(program).expect("removed");
    place.forge.bare("update-ref -d refs/heads/work");
    fs::write(&place.token, forge::TOKEN).expect("written");
    let merged = |said: &Deployed| matches!(said.merge, Some(Merge::Merged { commit: Some(_) }));
    let said = place.until(&manifest, merged).await;
    assert_eq!(said.state, State::Ready, "{said:?}");
    assert!(place.forge.pushes() > tried);
    assert_ne!(place.main(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_not_final_yet_holds_a_merge_up() {
    let Some(place) = Place::found().await else {
        return;
    };
    let (quiet, manifest) = (&place.quiet, place.pinned());
    let before = place.main();
    let deployment = &quiet.world.deployment;
    let motion = |action, description: &str| Motion {
        actions: vec![action],
        description: description.into(),
    };
    let approval = motion(
        Action::approve(deployment, &manifest, "blob".into()),
        "Yes.",
    );
    let revocation = motion(Action::revoke(deployment, manifest.digest()), "No.");
    let kept = quiet.node().blobs().put(manifest.to_bytes().into()).await;
    kept.expect("a kept blob");
    quiet.prepare(&approval).await;
    quiet.prepare(&revocation).await;
    quiet.execute(&approval).await;
    quiet.execute(&revocation).await;
    let (approved, revoked) = (
        quiet.block_of::<CodeApproved>().await,
        quiet.block_of::<CodeRevoked>().await,
    );
    assert!(
        approved < revoked && quiet.head() < approved + LAG,
        "not final yet"
    );
    quiet.mine(approved + LAG - quiet.head());

    // No block until the node has said what it makes of that.
    let began = std::time::Instant::now();
    let said = loop {
        if let Ok(said) = quiet.client().program(manifest.digest()).await {
            break said;
        }
        assert!(began.elapsed().as_secs() < 60, "it says nothing");
        quiet.stand_still().await;
    };
    assert_eq!(said.state, State::Ready, "by what is final it is approved");
    let reason = waits(&said).expect("it is not merged");
    assert!(
        reason.contains("by the newest block it is not approved any more"),
        "{reason}"
    );
    let said = place
        .until(&manifest, |said| said.state == State::Revoked)
        .await;
    assert_eq!(said.merge, None);
    assert_eq!((place.main(), place.forge.pushes()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_another_collective_is_no_program_of_this_one() {
    let Some(place) = Place::found().await else {
        return;
    };
    let mut of_another_chain = place.quiet.manifest.clone();
    of_another_chain.chain_id += 1;
    let mut of_another_collective = place.quiet.manifest.clone();
    of_another_collective.collective = place.quiet.world.deployment.escrow;
    let manifests = [of_another_chain, of_another_collective];
    place.quiet.have_approved(&manifests).await;
    for manifest in &manifests {
        let said = place.until(manifest, |_| true).await;
        assert_eq!(said.state, State::Differs, "{said:?}");
        assert!(said.detail.contains("is made for collective"), "{said:?}");
    }
}
