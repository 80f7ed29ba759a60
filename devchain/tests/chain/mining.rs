//! When blocks come, what time they carry, what waits, and what is taken back.

use std::time::Duration;

use alloy::{
    eips::BlockNumberOrTag, network::TransactionBuilder, primitives::U256, providers::Provider,
    rpc::types::TransactionRequest,
};
use devchain::{Clock, Config, DevChain, Mining, TimeError};
use serde_json::json;

use crate::{address, chain, deploy, set, wallet};

#[tokio::test]
async fn what_waits_is_seen_at_pending_and_mined_in_order() {
    let chain = DevChain::new(Config {
        mining: Mining::OnDemand,
        ..Config::repeatable()
    });
    let alice = wallet(&chain, 0);
    let pay = |nonce, wei| {
        let request = TransactionRequest::default()
            .to(address(1))
            .value(U256::from(wei))
            .nonce(nonce);
        let alice = alice.clone();
        async move {
            *alice
                .send_transaction(request.gas_limit(21_000))
                .await
                .unwrap()
                .tx_hash()
        }
    };
    // Sent out of order; nonce 3 stays behind the gap.
    let (second, first, fourth) = (pay(1, 20).await, pay(0, 10).await, pay(3, 40).await);
    assert_eq!(alice.get_transaction_count(address(0)).await.unwrap(), 0);
    assert_eq!(
        alice
            .get_transaction_count(address(0))
            .pending()
            .await
            .unwrap(),
        2
    );
    let before = alice.get_balance(address(1)).await.unwrap();
    assert_eq!(
        alice.get_balance(address(1)).pending().await.unwrap(),
        before + U256::from(30)
    );
    let waiting = alice
        .get_transaction_by_hash(first)
        .await
        .unwrap()
        .expect("it waits");
    assert_eq!(waiting.block_hash, None);
    assert!(
        alice
            .get_transaction_receipt(first)
            .await
            .unwrap()
            .is_none()
    );

    chain.mine(1).unwrap();
    let block = alice
        .get_block(BlockNumberOrTag::Latest.into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        block.transactions.hashes().collect::<Vec<_>>(),
        [first, second]
    );
    let receipt = alice
        .get_transaction_receipt(second)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            receipt.transaction_index,
            receipt.inner.cumulative_gas_used()
        ),
        (Some(1), 42_000)
    );
    assert!(
        alice
            .get_transaction_receipt(fourth)
            .await
            .unwrap()
            .is_none()
    );
    let third = pay(2, 30).await;
    chain.mine(1).unwrap();
    for hash in [third, fourth] {
        assert!(
            alice
                .get_transaction_receipt(hash)
                .await
                .unwrap()
                .unwrap()
                .status()
        );
    }
}

#[tokio::test]
async fn a_replacement_must_pay_more() {
    let chain = DevChain::new(Config {
        mining: Mining::OnDemand,
        ..Config::repeatable()
    });
    let alice = wallet(&chain, 0);
    let offer = |fee| {
        let mut request = TransactionRequest::default()
            .to(address(1))
            .value(U256::ONE)
            .nonce(0)
            .gas_limit(21_000);
        request.set_max_fee_per_gas(fee);
        request.set_max_priority_fee_per_gas(1);
        alice.send_transaction(request)
    };
    let _ = offer(10_000_000_000).await.unwrap();
    assert!(
        offer(10_000_000_000)
            .await
            .unwrap_err()
            .to_string()
            .contains("already known")
    );
    assert!(
        offer(10_999_999_999)
            .await
            .unwrap_err()
            .to_string()
            .contains("underpriced")
    );
    let replacement = *offer(11_000_000_000).await.unwrap().tx_hash();
    chain.mine(1).unwrap();
    let block = alice
        .get_block(BlockNumberOrTag::Latest.into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        block.transactions.hashes().collect::<Vec<_>>(),
        [replacement]
    );
}

#[tokio::test]
async fn a_full_block_leaves_the_rest_waiting() {
    let (chain, alice) = chain();
    let probe = deploy(&alice).await;
    alice
        .raw_request::<_, ()>("evm_setAutomine".into(), [false])
        .await
        .unwrap();
    let mut sent = Vec::new();
    for _ in 0..3 {
        // Each burns all of its 16 million gas; a block has 30 million.
        sent.push(*probe.spin().gas(16_000_000).send().await.unwrap().tx_hash());
    }
    for hash in sent {
        chain.mine(1).unwrap();
        let block = alice
            .get_block(BlockNumberOrTag::Latest.into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(block.transactions.hashes().collect::<Vec<_>>(), [hash]);
        assert_eq!(block.header.gas_used, 16_000_000);
    }
    chain.mine(1).unwrap();
    let block = alice
        .get_block(BlockNumberOrTag::Latest.into())
        .await
        .unwrap()
        .unwrap();
    assert!(block.transactions.is_empty());
}

#[tokio::test]
async fn time_moves_as_told() {
    let (chain, alice) = chain();
    let time = || async {
        alice
            .get_block(BlockNumberOrTag::Latest.into())
            .await
            .unwrap()
            .unwrap()
            .header
            .timestamp
    };
    let genesis = time().await;
    chain.mine(1).unwrap();
    assert_eq!(time().await, genesis + 1);
    chain.increase_time(Duration::from_secs(86_400)).unwrap();
    chain.mine(2).unwrap();
    assert_eq!(
        time().await,
        genesis + 1 + 86_401 + 1,
        "only the next block jumps"
    );
    let request = |method: &'static str, params: serde_json::Value| {
        let alice = alice.clone();
        async move {
            alice
                .raw_request::<_, serde_json::Value>(method.into(), params)
                .await
        }
    };
    let target = time().await + 1_000;
    request("evm_setNextBlockTimestamp", json!([format!("{target:#x}")]))
        .await
        .unwrap();
    let probe = deploy(&alice).await;
    assert_eq!(time().await, target);
    let refused = request("evm_setNextBlockTimestamp", json!([target]))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("not after the latest block"),
        "{refused}"
    );
    assert_eq!(chain.increase_time(Duration::MAX), Err(TimeError::TooFar));
    // Estimates see the next block's time, calls at latest the latest block's.
    request("evm_increaseTime", json!([5_000])).await.unwrap();
    let here = probe.here().call().await.unwrap();
    assert_eq!(here.timestamp, U256::from(target));
    let here = probe
        .here()
        .block(BlockNumberOrTag::Pending.into())
        .call()
        .await
        .unwrap();
    assert_eq!(here.timestamp, U256::from(target + 5_001));
}

#[tokio::test]
async fn the_machine_clock_keeps_what_was_added() {
    let chain = DevChain::new(Config::default());
    let alice = wallet(&chain, 0);
    let time = || async {
        alice
            .get_block(BlockNumberOrTag::Latest.into())
            .await
            .unwrap()
            .unwrap()
            .header
            .timestamp
    };
    let start = time().await;
    chain.increase_time(Duration::from_secs(10_000)).unwrap();
    chain.mine(1).unwrap();
    chain.mine(1).unwrap();
    let later = time().await;
    assert!(
        (start + 10_001..start + 10_060).contains(&later),
        "{start} {later}"
    );
    let target = later + 50_000;
    alice
        .raw_request::<_, ()>("evm_setNextBlockTimestamp".into(), [target])
        .await
        .unwrap();
    chain.mine(2).unwrap();
    assert!((target + 1..target + 60).contains(&time().await));
}

#[tokio::test]
async fn a_reorganisation_is_seen_by_hash_and_receipt() {
    let (chain, alice) = chain();
    let probe = deploy(&alice).await;
    let snapshot = chain.snapshot();
    let (old, old_head) = (set(&probe, 5).await, chain.head());
    assert!(chain.revert(snapshot).unwrap());
    assert!(
        !chain.revert(snapshot).unwrap(),
        "a snapshot is good for one use"
    );
    assert_eq!(probe.value().call().await.unwrap(), U256::ZERO);
    assert!(
        alice
            .get_transaction_receipt(old.transaction_hash)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        alice
            .get_block(old_head.hash.into())
            .await
            .unwrap()
            .is_none()
    );

    // The very same bytes again, at the same time over the same parent.
    let new = set(&probe, 5).await;
    assert_eq!(new.transaction_hash, old.transaction_hash);
    assert_eq!(new.block_number, old.block_number);
    assert_ne!(new.block_hash, old.block_hash);
    let outer = chain.snapshot();
    let inner = chain.snapshot();
    chain.mine(3).unwrap();
    assert!(chain.revert(outer).unwrap());
    assert!(
        !chain.revert(inner).unwrap(),
        "a later snapshot goes with an earlier one"
    );
}

#[tokio::test]
async fn blocks_come_by_themselves_at_an_interval() {
    let interval = Duration::from_millis(20);
    let config = Config {
        mining: Mining::Every(interval),
        clock: Clock::Steps(1),
        ..Config::repeatable()
    };
    let chain = DevChain::new(config);
    let alice = wallet(&chain, 0);
    let probe = deploy(&alice).await;
    assert!(set(&probe, 3).await.status());
    let head = chain.head().number;
    while chain.head().number < head + 2 {
        tokio::time::sleep(interval).await;
    }
}

#[tokio::test]
async fn a_balance_can_be_set_and_is_in_a_block() {
    let (chain, alice) = chain();
    let poor = alloy::primitives::Address::repeat_byte(7);
    alice
        .raw_request::<_, ()>("anvil_setBalance".into(), (poor, U256::from(99)))
        .await
        .unwrap();
    assert_eq!(alice.get_balance(poor).await.unwrap(), U256::from(99));
    assert_eq!(chain.head().number, 1);
    assert_eq!(alice.get_balance(poor).number(0).await.unwrap(), U256::ZERO);
}
