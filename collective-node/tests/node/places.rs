//! There are few places among the runs. What a node has leased or released keeps one, whatever happens to the node; what it
//! could not run gets none.

use crate::bombs;
use std::path::PathBuf;

use crate::quiet_world::{LAG, QuietWorld, all_anchored, reaches};
use collective::approval::Manifest;
use collective::id::{BlobId, Leaf};
use collective_node::chain::facts::JobState;

/// As many jobs as run at once.
const PLACES: usize = 4;

/// A world with five contributions, of which it says one, and two programs: means, and one more.
async fn populated() -> (QuietWorld, Leaf) {
    let quiet = QuietWorld::found_with(bombs::LOGIT).await;
    for row in 0..4 {
        quiet.contribute(row, 0).await.expect("acknowledged");
    }
    let leaf = quiet.contribute(4, 0).await.expect("acknowledged");
    all_anchored(&quiet, 5).await;
    (quiet, leaf)
}

fn blob_file(quiet: &QuietWorld, id: BlobId) -> PathBuf {
    let name = alloy::hex::encode(id.0);
    let folder = quiet.world.data.join("blobs").join(&name[..2]);
    folder.join(&name[2..])
}

async fn request(quiet: &QuietWorld, manifest: &Manifest, times: usize) -> Vec<u64> {
    let mut jobs = vec![];
    for _ in 0..times {
        jobs.push(quiet.request(manifest).await.expect("a job"));
    }
    jobs
}

/// Blocks enough for whatever the node would lease.
async fn blocks_pass(quiet: &QuietWorld) {
    for _ in 0..2 * LAG {
        quiet.one_block().await;
    }
    quiet.stand_still().await;
}

async fn are(quiet: &QuietWorld, jobs: &[u64], state: JobState) {
    for job in jobs {
        assert_eq!(quiet.fact(*job).await.state, state, "job {job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_runs_what_it_released_before_it_leases_more() {
    let (mut quiet, _) = populated().await;
    // Nothing of these shows for six seconds, so they are seen to run.
    let mut slow = quiet.extra.clone();
    slow.limits.bucket_seconds = Some(5);
    quiet.have_approved(std::slice::from_ref(&slow)).await;

    // The first job has to wait for its program, so that it comes before those that do not.
    let program = blob_file(&quiet, quiet.manifest.program.sha256());
    let kept = std::fs::read(&program).expect("the program's blob");
    std::fs::remove_file(&program).expect("removed");
    let first = request(&quiet, &quiet.manifest, 1).await;
    let released = request(&quiet, &slow, PLACES).await;
    for job in &released {
        reaches(&quiet, *job, JobState::Released).await;
    }
    quiet.crash().await;
    std::fs::write(&program, kept).expect("written");
    quiet.start().await.expect("the node starts");
    blocks_pass(&quiet).await;
    are(&quiet, &released, JobState::Released).await;
    are(&quiet, &first, JobState::Requested).await;
    for job in released.iter().chain(&first) {
        reaches(&quiet, *job, JobState::Completed).await;
        assert_eq!(quiet.fact(*job).await.lease.attempt, 1, "job {job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_program_does_not_compile_here_leave_the_places_to_others() {
    let (quiet, _) = populated().await;
    let warm = request(&quiet, &quiet.manifest, 1).await;
    reaches(&quiet, warm[0], JobState::Completed).await;
    // What was compiled last is still at hand, nothing else can be kept.
    let compiled = quiet.world.data.join("compiled");
    std::fs::remove_dir_all(&compiled).expect("removed");
    let stuck = request(&quiet, &quiet.extra, PLACES).await;
    blocks_pass(&quiet).await;
    are(&quiet, &stuck, JobState::Requested).await;
    let good = request(&quiet, &quiet.manifest, 1).await;
    reaches(&quiet, good[0], JobState::Completed).await;
    are(&quiet, &stuck, JobState::Requested).await;
    std::fs::create_dir(&compiled).expect("made");
    for job in stuck {
        reaches(&quiet, job, JobState::Completed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_leased_while_a_file_of_its_input_is_not_here() {
    let (quiet, leaf) = populated().await;
    let file = quiet.node().ledger().file(leaf).await.expect("the ledger");
    let file = blob_file(&quiet, file.expect("a file"));
    let kept = std::fs::read(&file).expect("its blob");
    std::fs::remove_file(&file).expect("removed");
    let job = request(&quiet, &quiet.manifest, 1).await;
    blocks_pass(&quiet).await;
    are(&quiet, &job, JobState::Requested).await;
    std::fs::write(&file, kept).expect("written");
    reaches(&quiet, job[0], JobState::Completed).await;
}
