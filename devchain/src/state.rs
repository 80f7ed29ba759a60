//! The world state: accounts and their storage, as Merkle tries over hashed keys.
//!
//! Owns what an account is, how an execution's changes are applied, and the proofs of EIP-1186;
//! must not know blocks or transactions.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rpc::types::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy::serde::JsonStorageKey;
use alloy_rlp::{BufMut, Encodable};
use alloy_trie::TrieAccount;
use revm::state::{Account as Touched, AccountInfo, EvmState};

use crate::trie::Trie;

/// All accounts at one moment. Cloning is free; see [`Trie`].
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    accounts: Trie<Account>,
}

/// One account; its code travels in `info.code`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) info: AccountInfo,
    pub(crate) storage: Trie<U256>,
}

impl State {
    /// The account at `address`, unless it is empty (EIP-161).
    pub(crate) fn account(&self, address: Address) -> Option<&Account> {
        self.accounts.get(keccak256(address))
    }

    /// The balance in wei.
    pub(crate) fn balance(&self, address: Address) -> U256 {
        self.account(address)
            .map_or(U256::ZERO, |account| account.info.balance)
    }

    /// The nonce that the next transaction of `address` has.
    pub(crate) fn nonce(&self, address: Address) -> u64 {
        self.account(address)
            .map_or(0, |account| account.info.nonce)
    }

    /// The deployed code, empty where there is none.
    pub(crate) fn code(&self, address: Address) -> Bytes {
        let code = self
            .account(address)
            .and_then(|account| account.info.code.as_ref());
        code.map(|code| code.original_bytes()).unwrap_or_default()
    }

    /// The word in storage slot `slot`.
    pub(crate) fn storage(&self, address: Address, slot: B256) -> U256 {
        let word = self
            .account(address)
            .and_then(|account| account.storage.get(keccak256(slot)));
        word.copied().unwrap_or_default()
    }

    /// The root that a header commits to.
    pub(crate) fn root(&self) -> B256 {
        self.accounts.root()
    }

    /// Sets a balance from outside the EVM; an account left empty is removed (EIP-161).
    pub(crate) fn set_balance(&mut self, address: Address, balance: U256) {
        let mut account = self.account(address).cloned().unwrap_or_default();
        account.info.balance = balance;
        self.put(address, account);
    }

    /// Applies what one transaction changed.
    pub(crate) fn apply(&mut self, changes: EvmState) {
        for (address, change) in changes {
            if change.is_touched() {
                self.apply_account(address, change);
            }
        }
    }

    fn apply_account(&mut self, address: Address, change: Touched) {
        if change.is_selfdestructed() {
            return self.accounts.remove(keccak256(address));
        }
        let before = self.account(address).cloned().unwrap_or_default();
        let created = change.is_created();
        let mut info = change.info;
        if info.code.is_none() && info.code_hash == before.info.code_hash {
            info.code = before.info.code;
        }
        // A created account starts with no storage, whatever stood there before.
        let mut storage = if created {
            Trie::default()
        } else {
            before.storage
        };
        for (slot, word) in change.storage {
            if !word.is_changed() {
                continue;
            }
            let key = keccak256(B256::from(slot));
            if word.present_value.is_zero() {
                storage.remove(key);
            } else {
                storage.insert(key, word.present_value);
            }
        }
        self.put(address, Account { info, storage });
    }

    fn put(&mut self, address: Address, account: Account) {
        if account.info.is_empty() {
            self.accounts.remove(keccak256(address));
        } else {
            self.accounts.insert(keccak256(address), account);
        }
    }

    /// The proof of an account and of some of its slots, or of their absence (EIP-1186).
    pub(crate) fn proof(
        &self,
        address: Address,
        slots: Vec<JsonStorageKey>,
    ) -> EIP1186AccountProofResponse {
        let account = self.account(address).cloned().unwrap_or_default();
        let storage_proof = slots.into_iter().map(|slot| {
            let key = keccak256(slot.as_b256());
            EIP1186StorageProof {
                key: slot,
                value: account.storage.get(key).copied().unwrap_or_default(),
                proof: account.storage.proof(key),
            }
        });
        EIP1186AccountProofResponse {
            address,
            balance: account.info.balance,
            code_hash: account.info.code_hash,
            nonce: account.info.nonce,
            storage_hash: account.storage.root(),
            account_proof: self.accounts.proof(keccak256(address)),
            storage_proof: storage_proof.collect(),
        }
    }
}

impl Account {
    fn leaf(&self) -> TrieAccount {
        TrieAccount {
            nonce: self.info.nonce,
            balance: self.info.balance,
            storage_root: self.storage.root(),
            code_hash: self.info.code_hash,
        }
    }
}

/// The leaf of the account trie: `rlp([nonce, balance, storageRoot, codeHash])`.
impl Encodable for Account {
    fn encode(&self, out: &mut dyn BufMut) {
        self.leaf().encode(out);
    }

    fn length(&self) -> usize {
        self.leaf().length()
    }
}
