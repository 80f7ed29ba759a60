//! Every limit, one step below it and one step above.

use alloy::{
    primitives::{B256, U256},
    providers::Provider,
    rpc::types::Filter,
};
use devchain::{MAX_BLOCKS_AT_ONCE, MAX_LOG_BLOCKS, MAX_LOGS, MAX_SNAPSHOTS};
use serde_json::json;

use crate::{chain, deploy};

#[tokio::test]
async fn blocks_are_mined_and_searched_up_to_a_number() {
    let (chain, alice) = chain();
    let mine = |count: u64| alice.raw_request::<_, ()>("anvil_mine".into(), [count]);
    let error = mine(MAX_BLOCKS_AT_ONCE + 1).await.unwrap_err().to_string();
    assert!(error.contains("mine fewer at a time"), "{error}");
    assert_eq!(
        chain.head().number,
        0,
        "nothing was mined of what was too much"
    );
    mine(MAX_BLOCKS_AT_ONCE).await.unwrap();
    assert_eq!(chain.head().number, MAX_BLOCKS_AT_ONCE);

    let all = Filter::new().from_block(0);
    assert!(
        alice
            .get_logs(&all.clone().to_block(MAX_LOG_BLOCKS - 1))
            .await
            .unwrap()
            .is_empty()
    );
    let error = alice
        .get_logs(&all.to_block(MAX_LOG_BLOCKS))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("ask for a shorter range"), "{error}");
}

#[tokio::test]
async fn an_answer_has_so_many_logs_at_most() {
    let (chain, alice) = chain();
    let probe = deploy(&alice).await;
    let mut left = MAX_LOGS as u64;
    while left > 0 {
        let count = left.min(5_000);
        let pending = probe
            .shout(U256::from(count))
            .gas(16_000_000)
            .send()
            .await
            .unwrap();
        assert!(pending.get_receipt().await.unwrap().status());
        left -= count;
    }
    let all = Filter::new().from_block(0);
    assert_eq!(alice.get_logs(&all).await.unwrap().len(), MAX_LOGS);
    probe
        .shout(U256::ONE)
        .send()
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    let error = alice.get_logs(&all).await.unwrap_err().to_string();
    assert!(error.contains("ask for fewer blocks"), "{error}");
    let last = Filter::new().from_block(chain.head().number);
    assert_eq!(alice.get_logs(&last).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_proof_has_so_many_slots_at_most() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    let slots = |count| vec![B256::ZERO; count];
    let proof = alice
        .get_proof(*probe.address(), slots(1_024))
        .await
        .unwrap();
    assert_eq!(proof.storage_proof.len(), 1_024);
    let error = alice
        .get_proof(*probe.address(), slots(1_025))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("ask for fewer at a time"), "{error}");
}

#[tokio::test]
async fn the_oldest_snapshot_is_forgotten() {
    let (chain, alice) = chain();
    for _ in 0..=MAX_SNAPSHOTS {
        chain.snapshot();
    }
    let revert = |id: &'static str| alice.raw_request::<_, bool>("evm_revert".into(), json!([id]));
    assert!(!revert("0x0").await.unwrap());
    assert!(revert("0x1").await.unwrap());
}
