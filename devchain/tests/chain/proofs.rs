//! What a client that trusts only a block hash can check for itself.

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, U256, keccak256},
    providers::Provider,
    rpc::types::EIP1186AccountProofResponse,
};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};

use crate::{address, chain, deploy, set};

/// Checks a proof as a node does: the header must hash to the trusted hash, the account must be
/// under its state root, and every slot under the account's storage root.
async fn check(
    provider: &impl Provider,
    trusted: B256,
    proof: &EIP1186AccountProofResponse,
) -> Result<(), String> {
    let block = provider
        .get_block(trusted.into())
        .await
        .unwrap()
        .expect("the block is known");
    let header = &block.header.inner;
    if header.hash_slow() != trusted {
        return Err("header".into());
    }
    let account = TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_hash,
        code_hash: proof.code_hash,
    };
    let leaf = (account != TrieAccount::default()).then(|| alloy_rlp::encode(account));
    let path = Nibbles::unpack(keccak256(proof.address));
    verify_proof(header.state_root, path, leaf, &proof.account_proof).map_err(|_| "account")?;
    for slot in &proof.storage_proof {
        let word = (!slot.value.is_zero()).then(|| alloy_rlp::encode(slot.value));
        let path = Nibbles::unpack(keccak256(slot.key.as_b256()));
        verify_proof(proof.storage_hash, path, word, &slot.proof).map_err(|_| "slot")?;
    }
    Ok(())
}

/// The slot of `marks[of]`: a mapping in slot 1.
fn mark_of(of: Address) -> B256 {
    keccak256([of.into_word(), B256::with_last_byte(1)].concat())
}

#[tokio::test]
async fn a_value_and_its_absence_are_proven_under_a_block_hash() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    let trusted = set(&probe, 42).await.block_hash.unwrap();
    set(&probe, 43).await;
    let slots = vec![
        B256::ZERO,
        mark_of(address(0)),
        mark_of(address(1)),
        B256::repeat_byte(9),
    ];
    let proof = alice
        .get_proof(*probe.address(), slots)
        .hash(trusted)
        .await
        .unwrap();
    let values: Vec<_> = proof.storage_proof.iter().map(|slot| slot.value).collect();
    assert_eq!(
        values,
        [U256::from(42), U256::from(42), U256::ZERO, U256::ZERO]
    );
    check(&alice, trusted, &proof)
        .await
        .expect("the proof holds");

    // Each thing that is checked is also refused when it is wrong.
    let wrong_value = |index: usize, value| {
        let mut proof = proof.clone();
        proof.storage_proof[index].value = value;
        proof
    };
    let mut richer = proof.clone();
    richer.balance = U256::ONE;
    let mut other_code = proof.clone();
    other_code.code_hash = keccak256("other code");
    let mut truncated = proof.clone();
    truncated.storage_proof[0].proof.pop();
    let mut gone = proof.clone();
    (gone.nonce, gone.balance) = (0, U256::ZERO);
    (gone.storage_hash, gone.code_hash) = (alloy_trie::EMPTY_ROOT_HASH, alloy_trie::KECCAK_EMPTY);
    for (place, forged) in [
        ("slot", wrong_value(0, U256::from(43))),
        ("slot", wrong_value(1, U256::ZERO)),
        ("slot", wrong_value(2, U256::from(42))),
        ("slot", truncated),
        ("account", richer),
        ("account", other_code),
        ("account", gone),
    ] {
        assert_eq!(check(&alice, trusted, &forged).await, Err(place.into()));
    }
    // Right at one block is wrong at another.
    let later = alice
        .get_proof(*probe.address(), vec![B256::ZERO])
        .await
        .unwrap();
    assert_eq!(later.storage_proof[0].value, U256::from(43));
    assert_eq!(check(&alice, trusted, &later).await, Err("account".into()));
}

#[tokio::test]
async fn an_absent_account_is_proven_absent() {
    let (chain, alice) = chain();
    let nobody = Address::repeat_byte(0xab);
    let trusted = chain.head().hash;
    let proof = alice
        .get_proof(nobody, vec![B256::ZERO])
        .hash(trusted)
        .await
        .unwrap();
    assert!(!proof.account_proof.is_empty() && proof.storage_proof[0].proof.is_empty());
    check(&alice, trusted, &proof)
        .await
        .expect("the absence holds");
    let mut forged = proof.clone();
    forged.balance = U256::ONE;
    assert_eq!(check(&alice, trusted, &forged).await, Err("account".into()));
    // The absence of somebody is not the absence of somebody who is there.
    let mut hidden = proof.clone();
    hidden.address = address(0);
    assert_eq!(check(&alice, trusted, &hidden).await, Err("account".into()));
}

#[tokio::test]
async fn a_slot_that_was_cleared_is_absent_again() {
    let (_chain, alice) = chain();
    let probe = deploy(&alice).await;
    let empty = alice
        .get_proof(*probe.address(), vec![])
        .await
        .unwrap()
        .storage_hash;
    let full = set(&probe, 1).await.block_hash.unwrap();
    let cleared = set(&probe, 0).await.block_hash.unwrap();
    for (trusted, value) in [(full, 1), (cleared, 0)] {
        let proof = alice
            .get_proof(*probe.address(), vec![B256::ZERO])
            .block_id(BlockId::hash(trusted))
            .await
            .unwrap();
        assert_eq!(proof.storage_proof[0].value, U256::from(value));
        assert_eq!(proof.storage_hash == empty, value == 0);
        check(&alice, trusted, &proof)
            .await
            .expect("the proof holds");
    }
}

#[tokio::test]
async fn a_balance_set_from_outside_is_proven_too() {
    let (chain, alice) = chain();
    let poor = Address::repeat_byte(7);
    alice
        .raw_request::<_, ()>("anvil_setBalance".into(), (poor, U256::from(99)))
        .await
        .unwrap();
    let proof = alice.get_proof(poor, vec![]).await.unwrap();
    assert_eq!(proof.balance, U256::from(99));
    check(&alice, chain.head().hash, &proof)
        .await
        .expect("the proof holds");
}
