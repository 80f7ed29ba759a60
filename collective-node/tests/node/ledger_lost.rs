//! The ledger is lost, and comes back from chain and blobs; a long run holds up no other; a file that
//! is refused stays nowhere.

use crate::bombs;
use crate::quiet_world::{LAG, QuietWorld, WINDOW, all_anchored, populated, reaches};
use alloy::primitives::U256;
use collective_node::chain::facts::JobState;
use collective_node::client::ClientError;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_comes_back_from_chain_and_blobs() {
    let mut quiet = QuietWorld::found().await;
    let mut leaves = Vec::new();
    for row in 0..5 {
        leaves.push(quiet.contribute(row, 0).await.expect("acknowledged"));
    }
    all_anchored(&quiet, 5).await;
    let first = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, first, JobState::Completed).await;
    quiet.pass(WINDOW).await;
    reaches(&quiet, first, JobState::Settled).await;
    quiet.mine(2 * LAG);

    quiet.crash().await;
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(quiet.world.data.join(file));
    }
    quiet.start().await.expect("the node starts");
    for leaf in leaves {
        let ledger = quiet.node().ledger();
        let (held, batch) = ledger
            .contribution(leaf)
            .await
            .expect("the ledger")
            .expect("it is known");
        assert_eq!(held.entry.contribution.leaf(), leaf);
        assert!(
            batch.is_some(),
            "its batch is known, and with it its receipt"
        );
    }
    let list = async || {
        let list = quiet.node().ledger().inputs(first, 1).await;
        list.expect("the ledger").is_some()
    };
    quiet.until("the past job's inputs are known", list).await;

    let second = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, second, JobState::Completed).await;
    assert_eq!(quiet.fact(second).await.input_count, 5);
    quiet.pass(WINDOW).await;
    reaches(&quiet, second, JobState::Settled).await;
    let both = async || {
        quiet.pass(WINDOW).await;
        quiet.mine(LAG);
        quiet.rewarded().await == U256::from(1_600)
    };
    quiet.until("both jobs are rewarded", both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_refused_is_kept_nowhere() {
    let quiet = populated().await;
    let before = quiet.node().blobs().list().await.expect("names").len();
    let refused = quiet.contribute(0, 0).await.expect_err("the nonce is used");
    assert!(matches!(refused, ClientError::Refused(problem) if problem.status == 409));
    let after = quiet.node().blobs().list().await.expect("names").len();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_does_not_say_that_there_is_no_upload() {
    let quiet = QuietWorld::found().await;
    let leaf = quiet.contribute(0, 0).await.expect("acknowledged");
    let at = format!("http://{}/uploads/{leaf}", quiet.node().address());
    let ask = async || {
        let asked = reqwest::Client::new().head(&at).send().await;
        asked.expect("an answer").status()
    };
    assert_eq!(ask().await, 204);
    let file = quiet.node().ledger().file(leaf).await.expect("the ledger");
    let name = file.expect("it is held").to_string();
    let place = quiet.world.data.join("blobs").join(&name[2..4]);
    let place = place.join(&name[4..]);
    // What is no file cannot be read.
    std::fs::remove_file(&place).expect("removed");
    std::fs::create_dir(&place).expect("a folder");
    assert_eq!(ask().await, 503);
    std::fs::remove_dir(&place).expect("removed");
    assert_eq!(ask().await, 404, "there is none, so it may begin anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_holds_up_no_other_job() {
    let endless = bombs::program("", "(loop $l (br $l)) (i32.const 0)");
    let quiet = QuietWorld::found_with(&endless).await;
    for row in 0..5 {
        quiet.contribute(row, 0).await.expect("acknowledged");
    }
    all_anchored(&quiet, 5).await;
    let long = quiet.request(&quiet.extra).await.expect("a job");
    reaches(&quiet, long, JobState::Released).await;
    quiet.mine(LAG + 1);
    quiet.stand_still().await;
    let short = quiet.request(&quiet.manifest).await.expect("a job");
    reaches(&quiet, short, JobState::Completed).await;
    assert_eq!(quiet.fact(long).await.state, JobState::Released);
}
