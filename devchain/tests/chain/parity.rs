//! The dev chain next to anvil: the same requests, the same gas, the same state, the same shapes.
//!
//! `ANVIL` names the binary; without it the test says so and passes, because it is no part of a
//! Rust toolchain.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    primitives::B256,
    providers::{DynProvider, Provider, ProviderBuilder},
};
use devchain::{Config, DevChain, Genesis, SpecId, dev_accounts};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{address, probe_code, wallet};

/// What only anvil gives: geth has neither, and alloy's types do not know them or call them
/// obsolete.
const ANVIL_ONLY: [&str; 3] = [
    ".blobGasPrice hex",
    ".blockTimestamp number",
    ".totalDifficulty hex",
];

/// Ends with the test, however that ends.
struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn anvil(genesis: &Genesis, hardfork: &str) -> Option<(Anvil, DynProvider)> {
    let Some(binary) = std::env::var_os("ANVIL") else {
        println!("skipped: ANVIL names no binary");
        return None;
    };
    // Free for a moment only, but nobody else on this machine is after it.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new(binary)
        .args([
            "--port",
            &port.to_string(),
            "--hardfork",
            hardfork,
            "--silent",
        ])
        // Anvil's block 1 keeps the base fee of genesis, where EIP-1559 takes an eighth off an
        // empty block's.
        .args(["--base-fee", &(genesis.base_fee / 8 * 7).to_string()])
        .args(["--timestamp", &genesis.timestamp.to_string()])
        .arg("--disable-default-create2-deployer")
        .stdout(Stdio::null())
        .spawn()
        .expect("ANVIL can be started");
    let guard = Anvil(child);
    let url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let provider = ProviderBuilder::new()
        .wallet(dev_accounts()[0].clone())
        .connect_http(url)
        .erased();
    provider
        .client()
        .set_poll_interval(Duration::from_millis(20));
    for _ in 0..200 {
        if provider.get_chain_id().await.is_ok() {
            return Some((guard, provider));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("anvil does not answer");
}

/// A pair of nodes with the same genesis, or nothing where there is no anvil.
async fn pair(config: Config, hardfork: &str) -> Option<(Anvil, Pair)> {
    let (guard, theirs) = anvil(&config.genesis, hardfork).await?;
    let ours = wallet(&DevChain::new(config), 0);
    Some((
        guard,
        Pair {
            ours,
            theirs,
            differences: Vec::new(),
        },
    ))
}

/// Before Prague a block changes nothing but what its transactions do; from Prague on anvil also
/// keeps block hashes in the state (EIP-2935), which this chain does not.
#[tokio::test]
async fn the_same_transactions_give_the_same_state_root() {
    let genesis = Genesis {
        spec: SpecId::CANCUN,
        ..Config::repeatable().genesis
    };
    let config = Config {
        genesis,
        ..Config::repeatable()
    };
    let Some((_anvil, mut pair)) = pair(config, "cancun").await else {
        return;
    };
    for (nonce, block) in pair.live().await.iter().enumerate() {
        let (ours, theirs) = (&block.ours["stateRoot"], &block.theirs["stateRoot"]);
        pair.same(
            &format!("state root after transaction {nonce}"),
            ours,
            theirs,
        );
    }
    let slots = json!([
        address(0).create(0),
        [B256::ZERO, B256::repeat_byte(9)],
        "latest"
    ]);
    let proof = pair.ask("eth_getProof", slots).await;
    pair.same("proof", &proof.ours, &proof.theirs);
    pair.verdict();
}

#[tokio::test]
async fn the_same_requests_give_the_same_as_on_anvil() {
    let Some((_anvil, mut pair)) = pair(Config::repeatable(), "osaka").await else {
        return;
    };
    let probe = address(0).create(0);
    for block in pair.live().await {
        pair.same_shape("block", &block);
    }
    let slots = json!([probe, [B256::ZERO, B256::repeat_byte(9)], "latest"]);
    let proof = pair.ask("eth_getProof", slots).await;
    pair.same_shape("proof", &proof);
    pair.same(
        "proof",
        &proof.ours["storageProof"],
        &proof.theirs["storageProof"],
    );
    for (method, params) in [
        ("eth_chainId", json!([])),
        ("net_version", json!([])),
        ("eth_accounts", json!([])),
        ("eth_blockNumber", json!([])),
        ("eth_getTransactionCount", json!([address(0), "pending"])),
        ("eth_getBalance", json!([address(0), "latest"])),
        ("eth_getCode", json!([probe, "latest"])),
        ("eth_getCode", json!([address(9), "latest"])),
        ("eth_getStorageAt", json!([probe, "0x0", "latest"])),
        (
            "eth_call",
            json!([{"to": probe, "input": "0x3fa4f245"}, "latest"]),
        ),
        ("eth_getTransactionByHash", json!([B256::ZERO])),
        ("eth_getTransactionReceipt", json!([B256::ZERO])),
        ("eth_getBlockByHash", json!([B256::ZERO, false])),
    ] {
        let answer = pair.ask(method, params).await;
        pair.same(method, &answer.ours, &answer.theirs);
    }
    for (method, params) in [
        (
            "eth_getLogs",
            json!([{"fromBlock": "0x0", "address": probe}]),
        ),
        ("eth_feeHistory", json!(["0x2", "latest", [50.0]])),
        ("eth_gasPrice", json!([])),
        ("eth_maxPriorityFeePerGas", json!([])),
        (
            "eth_estimateGas",
            json!([{"from": address(0), "to": probe, "input": set_call(7)}]),
        ),
        ("eth_getBlockReceipts", json!(["latest"])),
        ("eth_getBlockByNumber", json!(["pending", false])),
        ("evm_snapshot", json!([])),
        ("evm_increaseTime", json!([60])),
        ("evm_setNextBlockTimestamp", json!([4_000_000_000u64])),
        ("evm_mine", json!([])),
        ("anvil_mine", json!(["0x2"])),
        ("anvil_setBalance", json!([address(9), "0x1"])),
        ("evm_revert", json!(["0x0"])),
    ] {
        let answer = pair.ask(method, params).await;
        pair.same_shape(method, &answer);
    }
    pair.same_refusal(
        "eth_call",
        json!([{"to": probe, "input": "0xa9cc4718"}, "latest"]),
    )
    .await;
    pair.same_refusal(
        "eth_call",
        json!([{"to": probe, "input": format!("0x60fe47b1{}", "f".repeat(64))}, "latest"]),
    )
    .await;
    pair.same_refusal(
        "eth_estimateGas",
        json!([{"to": probe, "input": "0xa9cc4718"}]),
    )
    .await;
    pair.same_refusal("eth_nonsense", json!([])).await;
    pair.verdict();
}

/// Calldata of `set(to)`.
fn set_call(to: u8) -> String {
    format!("0x60fe47b1{}", &B256::with_last_byte(to).to_string()[2..])
}

struct Pair {
    ours: DynProvider,
    theirs: DynProvider,
    /// Collected, so that one run shows all of them.
    differences: Vec<String>,
}

struct Answers {
    ours: Value,
    theirs: Value,
}

impl Pair {
    /// A deployment, a call that logs, a payment, a call that fails: the same signed bytes on both.
    /// Gives the blocks that they are in.
    async fn live(&mut self) -> Vec<Answers> {
        let probe = address(0).create(0);
        let transactions = [
            json!({"input": probe_code()}),
            json!({"to": probe, "input": set_call(7)}),
            json!({"to": address(5), "value": "0xde0b6b3a7640000"}),
            json!({"to": probe, "input": "0xa9cc4718"}),
        ];
        let mut blocks = Vec::new();
        for (nonce, mut transaction) in transactions.into_iter().enumerate() {
            for (field, value) in [
                ("from", json!(address(0))),
                ("nonce", json!(format!("{nonce:#x}"))),
                ("gas", json!("0x100000")),
                ("maxFeePerGas", json!("0x2540be400")),
                ("maxPriorityFeePerGas", json!("0x1")),
            ] {
                transaction[field] = value;
            }
            let hashes = self.ask("eth_sendTransaction", json!([transaction])).await;
            self.same("transaction hash", &hashes.ours, &hashes.theirs);
            let (transaction, receipt) = self.mined(&hashes.ours).await;
            self.same_shape("receipt", &receipt);
            let fields = [
                "gasUsed",
                "status",
                "logsBloom",
                "contractAddress",
                "effectiveGasPrice",
                "type",
                "blockNumber",
            ];
            self.same_fields(&receipt, &fields, nonce);
            self.same_shape("transaction", &transaction);
            let number = &receipt.ours["blockNumber"];
            let block = self
                .ask("eth_getBlockByNumber", json!([number, true]))
                .await;
            self.same_fields(
                &block,
                &["transactionsRoot", "baseFeePerGas", "gasLimit", "gasUsed"],
                nonce,
            );
            if nonce != 1 {
                // The probe's log carries the block's time, which anvil takes from the machine's
                // clock.
                self.same_fields(&block, &["receiptsRoot"], nonce);
            }
            blocks.push(block);
        }
        blocks
    }

    fn same_fields(&mut self, answers: &Answers, fields: &[&str], nonce: usize) {
        for field in fields {
            let (ours, theirs) = (&answers.ours[field], &answers.theirs[field]);
            self.same(&format!("{field} of transaction {nonce}"), ours, theirs);
        }
    }

    fn verdict(&self) {
        assert!(
            self.differences.is_empty(),
            "ours | anvil's:\n{}",
            self.differences.join("\n")
        );
    }

    async fn ask(&self, method: &'static str, params: Value) -> Answers {
        let ours = self.ours.raw_request(method.into(), params.clone()).await;
        let theirs = self.theirs.raw_request(method.into(), params).await;
        let context = |side| format!("{method} on {side}");
        Answers {
            ours: ours.unwrap_or_else(|error| panic!("{}: {error}", context("ours"))),
            theirs: theirs.unwrap_or_else(|error| panic!("{}: {error}", context("anvil"))),
        }
    }

    /// A transaction in its block, and its receipt. Anvil has the receipt before it takes the
    /// transaction out of its pool, and gives it as pending until then.
    async fn mined(&self, hash: &Value) -> (Answers, Answers) {
        for _ in 0..100 {
            let transaction = self.ask("eth_getTransactionByHash", json!([hash])).await;
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await;
            if !transaction.theirs["blockNumber"].is_null() && !receipt.theirs.is_null() {
                return (transaction, receipt);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("anvil did not mine {hash}");
    }

    /// Both refuse with the same code and the same data.
    async fn same_refusal(&mut self, method: &'static str, params: Value) {
        let refusal = |provider: DynProvider| {
            let params = params.clone();
            async move {
                let error = provider
                    .raw_request::<_, Value>(method.into(), params)
                    .await
                    .unwrap_err();
                let payload = error.as_error_resp().expect("the node answered").clone();
                (payload.code, payload.data.map(|data| data.get().to_owned()))
            }
        };
        let (ours, theirs) = (
            refusal(self.ours.clone()).await,
            refusal(self.theirs.clone()).await,
        );
        self.same(&format!("{method} {params}"), &ours, &theirs);
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, ours: &T, theirs: &T) {
        if ours != theirs {
            self.differences
                .push(format!("{what}: {ours:?} | {theirs:?}"));
        }
    }

    /// What anvil gives that a client may read, we give too, and as the same kind of JSON.
    fn same_shape(&mut self, what: &str, answers: &Answers) {
        let (ours, mut theirs) = (shape(&answers.ours), shape(&answers.theirs));
        theirs.retain(|path| !ANVIL_ONLY.iter().any(|end| path.ends_with(end)));
        let only =
            |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
        self.same(what, &only(&ours, &theirs), &only(&theirs, &ours));
    }
}

/// Every path to a value with the value's kind; the elements of an array count as one.
fn shape(value: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut open = vec![(String::new(), value)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(fields) => open.extend(
                fields
                    .iter()
                    .map(|(name, value)| (format!("{path}.{name}"), value)),
            ),
            Value::Array(items) => {
                paths.insert(format!("{path}[]"));
                open.extend(items.iter().map(|item| (format!("{path}[]"), item)));
            }
            Value::String(text) if text.starts_with("0x") => {
                paths.insert(format!("{path} hex"));
            }
            Value::String(_) => drop(paths.insert(format!("{path} text"))),
            Value::Number(_) => drop(paths.insert(format!("{path} number"))),
            Value::Bool(_) => drop(paths.insert(format!("{path} bool"))),
            Value::Null => drop(paths.insert(format!("{path} null"))),
        }
    }
    paths
}
