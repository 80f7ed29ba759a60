//! Sending, calling, estimating, logs and errors.

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip4844, TxEip4844Variant, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{B256, Signature, TxKind, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
};
use devchain::dev_accounts;

use crate::{Probe, address, chain, deploy, set};

#[tokio::test]
async fn a_contract_is_deployed_called_and_heard() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    let receipt = set(&probe, 7).await;
    assert!(receipt.status());
    assert_eq!(probe.value().call().await.unwrap(), U256::from(7));
    assert_eq!(probe.marks(address(0)).call().await.unwrap(), U256::from(7));

    let log = receipt.logs()[0].log_decode::<Probe::Set>().unwrap();
    assert_eq!((log.inner.by, log.inner.value), (address(0), U256::from(7)));
    let block = alice
        .get_block(receipt.block_hash.unwrap().into())
        .full()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(log.inner.time, U256::from(block.header.timestamp));
    assert_eq!(log.block_timestamp, Some(block.header.timestamp));
    assert_eq!(
        block.transactions.as_transactions().unwrap()[0]
            .inner
            .signer(),
        address(0)
    );
    assert_eq!(
        alice.get_code_at(*probe.address()).await.unwrap().len(),
        probe_runtime_length()
    );
}

fn probe_runtime_length() -> usize {
    // The creation code is the constructor's and then the runtime code.
    let creation = crate::probe_code();
    let start = creation
        .windows(2)
        .position(|pair| pair == [0xf3, 0xfe])
        .expect("the constructor returns")
        + 2;
    creation.len() - start
}

#[tokio::test]
async fn custom_errors_reach_the_caller() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    let error = probe.set(U256::from(1001)).call().await.err().unwrap();
    let decoded = error
        .as_decoded_error::<Probe::TooLarge>()
        .expect("the revert data came along");
    assert_eq!(
        decoded,
        Probe::TooLarge {
            value: U256::from(1001),
            limit: U256::from(1000)
        }
    );
    // The same when gas is estimated, which is what `send` does first.
    let error = probe.set(U256::from(1002)).send().await.unwrap_err();
    assert!(error.as_decoded_error::<Probe::TooLarge>().is_some());
    let error = probe.fail().call().await.err().unwrap();
    let payload = error
        .as_revert_data()
        .expect("a revert with a reason has data");
    assert!(payload.len() > 4);
    assert!(
        error.to_string().contains("execution reverted: not today"),
        "{error}"
    );
    // With gas given, nothing is estimated: the transaction is mined and fails there.
    let receipt = probe
        .set(U256::from(1003))
        .gas(100_000)
        .send()
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(!receipt.status());
    let error = probe.spin().call().await.err().unwrap();
    assert!(error.to_string().contains("execution stopped"), "{error}");
}

#[tokio::test]
async fn estimates_are_enough_and_not_much_more() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    for depth in [0, 1, 8] {
        let call = probe.nest(U256::from(depth));
        let estimate = call.estimate_gas().await.unwrap();
        let receipt = call
            .gas(estimate)
            .send()
            .await
            .unwrap()
            .get_receipt()
            .await
            .unwrap();
        assert!(receipt.status(), "depth {depth}: {estimate} was not enough");
        assert!(
            estimate <= receipt.gas_used * 11 / 10,
            "depth {depth}: {estimate} for {}",
            receipt.gas_used
        );
    }
    let plain = TransactionRequest::default()
        .to(address(1))
        .value(U256::ONE);
    assert_eq!(alice.estimate_gas(plain).await.unwrap(), 21_000);
}

#[tokio::test]
async fn transactions_that_break_a_rule_are_refused() {
    let (_chain, alice) = chain();
    let mallory = &dev_accounts()[3];
    let good = TxEip1559 {
        chain_id: devchain::DEV_CHAIN_ID,
        nonce: 0,
        gas_limit: 21_000,
        max_fee_per_gas: 4_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(address(0)),
        value: U256::ONE,
        ..Default::default()
    };
    let signed = |mut tx: TxEip1559| {
        let signature = mallory.sign_transaction_sync(&mut tx).unwrap();
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
    };
    let cases: [(&str, TxEip1559); 6] = [
        (
            "invalid chain ID",
            TxEip1559 {
                chain_id: 1,
                ..good.clone()
            },
        ),
        (
            "gas price is less than basefee",
            TxEip1559 {
                max_fee_per_gas: 1,
                ..good.clone()
            },
        ),
        (
            "lack of funds",
            TxEip1559 {
                value: U256::MAX >> 2,
                ..good.clone()
            },
        ),
        (
            "exceeds the gas limit",
            TxEip1559 {
                gas_limit: 20_999,
                ..good.clone()
            },
        ),
        (
            "is greater than the cap",
            TxEip1559 {
                gas_limit: (1 << 24) + 1,
                ..good.clone()
            },
        ),
        (
            "priority fee is greater",
            TxEip1559 {
                max_priority_fee_per_gas: 5_000_000_000,
                ..good.clone()
            },
        ),
    ];
    for (message, tx) in cases {
        let error = alice
            .send_raw_transaction(&signed(tx))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
    let raw = signed(good.clone());
    assert!(
        alice
            .send_raw_transaction(&raw[..raw.len() - 1])
            .await
            .unwrap_err()
            .to_string()
            .contains("decoded")
    );
    let longer = [raw.as_slice(), &[0]].concat();
    assert!(
        alice
            .send_raw_transaction(&longer)
            .await
            .unwrap_err()
            .to_string()
            .contains("1 bytes follow")
    );
    let oversize = vec![2; devchain::MAX_TRANSACTION_BYTES + 1];
    assert!(
        alice
            .send_raw_transaction(&oversize)
            .await
            .unwrap_err()
            .to_string()
            .contains("over the limit")
    );
    let unsigned = good
        .clone()
        .into_signed(Signature::new(U256::ZERO, U256::ZERO, false));
    let error = alice
        .send_raw_transaction(&TxEnvelope::from(unsigned).encoded_2718())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("recovers no sender"), "{error}");
    let mut blob = TxEip4844 {
        chain_id: devchain::DEV_CHAIN_ID,
        gas_limit: 21_000,
        max_fee_per_gas: 4_000_000_000,
        max_fee_per_blob_gas: 1,
        blob_versioned_hashes: vec![B256::with_last_byte(1)],
        ..Default::default()
    };
    let signature = mallory.sign_transaction_sync(&mut blob).unwrap();
    let blob = TxEnvelope::Eip4844(TxEip4844Variant::TxEip4844(blob).into_signed(signature));
    let error = alice
        .send_raw_transaction(&blob.encoded_2718())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("blob transactions are not carried"),
        "{error}"
    );
    // After all these the sender's account is untouched, and the good one goes through, once.
    let _ = alice.send_raw_transaction(&raw).await.unwrap();
    assert!(
        alice
            .send_raw_transaction(&raw)
            .await
            .unwrap_err()
            .to_string()
            .contains("nonce too low")
    );
}

#[tokio::test]
async fn dev_accounts_need_no_wallet() {
    let (chain, _) = chain();
    let anybody = alloy::providers::ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_client(chain.client());
    let accounts = anybody.get_accounts().await.unwrap();
    assert_eq!(accounts, (0..10).map(address).collect::<Vec<_>>());
    let request = TransactionRequest::default()
        .from(accounts[4])
        .to(accounts[5])
        .value(U256::from(5));
    let receipt = anybody
        .send_transaction(request)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert_eq!((receipt.from, receipt.status()), (accounts[4], true));
    let stranger = TransactionRequest::default()
        .from(B256::repeat_byte(1).as_slice()[..20].try_into().unwrap());
    let error = anybody
        .send_transaction(stranger.to(accounts[5]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no key for account"), "{error}");
}
