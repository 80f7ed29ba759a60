//! The dev chain as its users meet it: through alloy, through HTTP, on disk, and next to anvil.

mod finality;
mod history;
mod http;
mod journal;
mod limits;
mod mining;
mod parity;
mod proofs;
mod transactions;

use alloy::{
    primitives::{Address, Bytes, TxKind, hex},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    sol,
};
use devchain::{Config, DevChain, dev_accounts};

sol! {
    #![sol(rpc, all_derives)]
    contract Probe {
        function value() external view returns (uint256);
        function marks(address of) external view returns (uint256);
        event Set(address indexed by, uint256 indexed value, uint256 time);
        error TooLarge(uint256 value, uint256 limit);
        function set(uint256 to) external;
        function shout(uint256 count) external;
        function fail() external pure;
        function spin() external view;
        function here() external view returns (uint256 number, uint256 timestamp, bytes32 parent);
        function hashOf(uint256 number) external view returns (bytes32);
        function nest(uint256 depth) external;
    }
}

/// Creation code of `probe/Probe.sol`.
fn probe_code() -> Bytes {
    hex::decode(include_str!("probe/Probe.hex").trim())
        .expect("the file is hexadecimal")
        .into()
}

/// A chain that reads no clock, and Alice, who owns the first dev account.
fn chain() -> (DevChain, DynProvider) {
    let chain = DevChain::new(Config::repeatable());
    let alice = wallet(&chain, 0);
    (chain, alice)
}

/// A provider that signs as the dev account at `index`.
fn wallet(chain: &DevChain, index: usize) -> DynProvider {
    chain.wallet(dev_accounts()[index].clone())
}

fn address(index: usize) -> Address {
    dev_accounts()[index].address()
}

async fn deploy(provider: &DynProvider) -> Probe::ProbeInstance<DynProvider> {
    let creation = TransactionRequest {
        to: Some(TxKind::Create),
        input: probe_code().into(),
        ..Default::default()
    };
    let pending = provider
        .send_transaction(creation)
        .await
        .expect("the deployment is accepted");
    let receipt = pending
        .get_receipt()
        .await
        .expect("the deployment is mined");
    assert!(receipt.status());
    Probe::new(
        receipt
            .contract_address
            .expect("a deployment has an address"),
        provider.clone(),
    )
}

/// Alice sets the probe's value and waits for the receipt.
async fn set(
    probe: &Probe::ProbeInstance<DynProvider>,
    to: u64,
) -> alloy::rpc::types::TransactionReceipt {
    let pending = probe
        .set(alloy::primitives::U256::from(to))
        .send()
        .await
        .expect("the call is accepted");
    pending.get_receipt().await.expect("the call is mined")
}
