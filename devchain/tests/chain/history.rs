//! Reading blocks, logs, old states and fees.

use alloy::{
    consensus::{
        TxEnvelope, TxReceipt,
        proofs::{calculate_receipt_root, calculate_transaction_root},
    },
    eips::BlockId,
    primitives::{B256, U256, keccak256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolEvent,
};

use crate::{Probe, address, chain, deploy, set, wallet};

#[tokio::test]
async fn roots_and_hashes_are_real() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    let receipt = set(&probe, 9).await;
    let block = alice
        .get_block(receipt.block_hash.unwrap().into())
        .full()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(block.header.inner.hash_slow(), receipt.block_hash.unwrap());
    let transactions: Vec<TxEnvelope> = block
        .transactions
        .clone()
        .into_transactions()
        .map(|tx| tx.into_inner())
        .collect();
    assert_eq!(
        block.header.transactions_root,
        calculate_transaction_root(&transactions)
    );
    let plain = receipt.inner.clone().map_logs(|log| log.inner);
    assert_eq!(
        block.header.receipts_root,
        calculate_receipt_root(std::slice::from_ref(&plain))
    );
    assert_eq!(block.header.logs_bloom, plain.bloom());
    assert_ne!(
        block.header.receipts_root,
        calculate_receipt_root(&[plain.map_logs(|mut log| {
            log.address = address(1);
            log
        })])
    );
}

#[tokio::test]
async fn logs_are_found_by_address_topic_range_and_block() {
    let (_chain, alice) = chain();
    let (probe, other) = (deploy(&alice).await, deploy(&alice).await);
    for value in 1..=5 {
        set(&probe, value).await;
    }
    let last = set(&other, 3).await;
    let all = Filter::new()
        .from_block(0)
        .event_signature(Probe::Set::SIGNATURE_HASH);
    assert_eq!(alice.get_logs(&all).await.unwrap().len(), 6);
    assert_eq!(
        alice
            .get_logs(&all.clone().address(*probe.address()))
            .await
            .unwrap()
            .len(),
        5
    );
    let threes = alice
        .get_logs(&all.clone().topic2(U256::from(3)))
        .await
        .unwrap();
    assert_eq!(threes.len(), 2);
    assert_eq!(
        alice
            .get_logs(&all.clone().topic1(address(1)))
            .await
            .unwrap()
            .len(),
        0
    );
    assert_eq!(
        alice
            .get_logs(&all.clone().to_block(4))
            .await
            .unwrap()
            .len(),
        2
    );
    let by_hash = Filter::new().at_block_hash(last.block_hash.unwrap());
    assert_eq!(alice.get_logs(&by_hash).await.unwrap(), last.logs());
    let gone = Filter::new().at_block_hash(keccak256("no such block"));
    assert!(
        alice
            .get_logs(&gone)
            .await
            .unwrap_err()
            .to_string()
            .contains("not on this chain")
    );
    // A range may reach past the head, and may not run backwards.
    assert_eq!(
        alice
            .get_logs(&all.clone().to_block(1_000_000))
            .await
            .unwrap()
            .len(),
        6
    );
    assert!(
        alice
            .get_logs(&all.from_block(5).to_block(4))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn every_state_can_be_asked_for_by_hash() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    let mut moments = Vec::new();
    for value in [11, 0, 22] {
        moments.push((value, set(&probe, value).await.block_hash.unwrap()));
    }
    for (value, hash) in moments {
        let at = BlockId::hash(hash);
        assert_eq!(
            probe.value().block(at).call().await.unwrap(),
            U256::from(value)
        );
        let word = alice
            .get_storage_at(*probe.address(), U256::ZERO)
            .block_id(at)
            .await
            .unwrap();
        assert_eq!(word, U256::from(value));
        let here = probe.here().block(at).call().await.unwrap();
        let header = alice.get_block(at).await.unwrap().unwrap().header;
        assert_eq!(
            (here.number, here.timestamp),
            (U256::from(header.number), U256::from(header.timestamp))
        );
        assert_eq!(here.parent, header.parent_hash);
    }
    let before = alice.get_code_at(*probe.address()).number(0).await.unwrap();
    assert!(before.is_empty(), "the contract was not there at genesis");
    assert!(
        alice.get_balance(address(0)).await.unwrap()
            < alice.get_balance(address(0)).number(0).await.unwrap()
    );
    let unknown = alice
        .get_balance(address(0))
        .hash(keccak256("no such block"))
        .await;
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("not on this chain")
    );
}

#[tokio::test]
async fn blockhash_knows_256_blocks() {
    let (chain, alice) = chain();
    let probe = deploy(&alice).await;
    chain.mine(300).unwrap();
    let head = chain.head().number;
    let hash = |number: u64| {
        let probe = probe.clone();
        async move { probe.hashOf(U256::from(number)).call().await.unwrap() }
    };
    for number in [head - 256, head - 1] {
        let expected = alice
            .get_block(number.into())
            .await
            .unwrap()
            .unwrap()
            .header
            .hash;
        assert_eq!(hash(number).await, expected);
    }
    for number in [head - 257, head, head + 1] {
        assert_eq!(hash(number).await, B256::ZERO);
    }
}

#[tokio::test]
async fn fees_follow_the_blocks() {
    let (chain, alice) = chain();
    let bob = wallet(&chain, 1);
    let probe = deploy(&alice).await;
    set(&probe, 1).await;
    let history = bob
        .get_fee_history(3, Default::default(), &[25.0, 75.0])
        .await
        .unwrap();
    assert_eq!(
        history.base_fee_per_gas.len(),
        history.gas_used_ratio.len() + 1
    );
    for (index, fee) in history
        .base_fee_per_gas
        .iter()
        .enumerate()
        .take(history.gas_used_ratio.len())
    {
        let block = bob
            .get_block((history.oldest_block + index as u64).into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(Some(*fee as u64), block.header.base_fee_per_gas);
    }
    assert!(
        history.reward.unwrap().last().unwrap()[0] > 0,
        "Alice paid a tip"
    );
    let tip = bob.get_max_priority_fee_per_gas().await.unwrap();
    assert_eq!(
        bob.get_gas_price().await.unwrap(),
        history.base_fee_per_gas.last().unwrap() + tip
    );
}
