//! What a chain starts from, and the accounts everybody may use.
//!
//! Owns the parameters that decide the hash of block 0; must not know blocks or how they are mined.

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B256, U256, b256},
    signers::local::PrivateKeySigner,
};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

/// The chain id of development chains by convention (Hardhat and anvil use it too).
pub const DEV_CHAIN_ID: u64 = 31_337;

/// The private keys of the ten funded accounts, in order.
///
/// **They are public.** They are the keys that the mnemonic `test test test test test test test
/// test test test test junk` gives at `m/44'/60'/0'/0/i`, the same that Hardhat and anvil print.
/// Whatever they own on a chain that others can reach belongs to anybody.
pub const DEV_KEYS: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

/// The signers of [`DEV_KEYS`], in order. Their keys are public.
pub fn dev_accounts() -> &'static [PrivateKeySigner] {
    static SIGNERS: LazyLock<Vec<PrivateKeySigner>> = LazyLock::new(|| {
        let signer = |key| {
            PrivateKeySigner::from_bytes(key).expect("each constant is a scalar of the curve")
        };
        DEV_KEYS.iter().map(signer).collect()
    });
    &SIGNERS
}

/// Everything that decides the genesis block and the rules after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Genesis {
    /// The chain id that transactions must name (EIP-155).
    pub chain_id: u64,
    /// The hard fork whose gas rules hold. Headers have the shape of Prague whatever stands here.
    #[serde(with = "spec_name")]
    pub spec: SpecId,
    /// Seconds since 1970 of block 0.
    pub timestamp: u64,
    /// Gas per block.
    pub gas_limit: u64,
    /// The base fee of block 0 in wei per gas; EIP-1559 moves it from there.
    pub base_fee: u64,
    /// Who gets the tips.
    pub beneficiary: Address,
    /// Who starts with how many wei.
    pub balances: BTreeMap<Address, U256>,
}

impl Default for Genesis {
    /// Now, Osaka, 30 million gas per block, 1 gwei, and 10,000 ether for each of [`dev_accounts`].
    fn default() -> Self {
        let wealth = U256::from(10_000) * U256::from(10).pow(U256::from(18));
        Self {
            chain_id: DEV_CHAIN_ID,
            spec: SpecId::OSAKA,
            timestamp: unix_now(),
            gas_limit: 30_000_000,
            base_fee: 1_000_000_000,
            beneficiary: Address::ZERO,
            balances: dev_accounts()
                .iter()
                .map(|signer| (signer.address(), wealth))
                .collect(),
        }
    }
}

impl Genesis {
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            chain_id: self.chain_id,
            spec: self.spec,
        }
    }
}

/// The part of the genesis that every execution needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) chain_id: u64,
    pub(crate) spec: SpecId,
}

/// Seconds since 1970 on this machine's clock; zero on a machine whose clock stands before that.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// Hard forks by their name, `"Osaka"` for instance.
mod spec_name {
    use revm::primitives::hardfork::SpecId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(spec: &SpecId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str((*spec).into())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SpecId, D::Error> {
        let name = String::deserialize(from)?;
        name.parse()
            .map_err(|_| D::Error::custom(format!("{name} is no hard fork")))
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::address;

    use super::*;

    #[test]
    fn the_dev_accounts_are_the_well_known_ones() {
        let addresses: Vec<_> = dev_accounts()
            .iter()
            .map(|signer| signer.address())
            .collect();
        assert_eq!(
            addresses,
            [
                address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
                address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
                address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
                address!("90F79bf6EB2c4f870365E785982E1f101E93b906"),
                address!("15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
                address!("9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
                address!("976EA74026E726554dB657fA54763abd0C3a0aa9"),
                address!("14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
                address!("23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
                address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720"),
            ]
        );
    }
}
