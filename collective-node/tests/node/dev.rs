//! A world that `dev` made is left and found again, until somebody asks for a fresh one.

use crate::by_hand::{World, refusal, start_node};
use serde_json::Value;

const RECORD: &[u8] = b"0,7,7,1,6,6,36,3,1,1\n";

#[test]
fn a_world_is_reopened_as_it_was_left() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = temporary.path().join("world");
    let world = World::start_with(folder.clone(), &["--finality-lag", "5"]);
    let leaf = contribute(&world);
    let state = world.json(&format!("contributions {leaf} --wait"));
    assert_eq!(state["state"], "batched");
    let (lines, handout) = (finality_lag(&world), world.handout.clone());
    assert_eq!(lines, 5);
    let (_, well) = world.dev.stop();
    assert!(well, "dev ended with an error");

    // The ports are others now, the rest is as it was; the node is a process of its own.
    let world = World::start(folder.clone());
    let same = |world: &World| {
        for name in ["nodeId", "deployment", "accounts", "manifests", "identity"] {
            assert_eq!(world.handout[name], handout[name]);
        }
    };
    same(&world);
    let (node, _) = start_node(&world.path("node.toml"));
    let state = world.json(&format!("contributions {leaf}"));
    assert_eq!(state["state"], "batched");
    approve(&world);
    let key = world.key("requester");
    let manifest = world.path("manifests/mean.json");
    world.json(&format!("job request --manifest {manifest} --key {key}"));
    let ran = world.json("job show 1 --wait");
    assert_eq!(ran["state"], "completed", "{ran}");
    // Both are killed: nothing that was acknowledged is lost.
    drop((node, world));

    let world = World::start_with(folder.clone(), &[]);
    same(&world);
    assert_eq!(world.json("job show 1"), ran);
    let output = world.run(&format!(
        "job output 1 --identity {}",
        world.told("identity")
    ));
    let means: Value = serde_json::from_slice(&output.stdout).expect("the means");
    // Contributor 0 contributed twice and counts once.
    assert_eq!(means["n"], 850);
    let again = world.run_with(&contribution(&world), RECORD);
    refusal(again, "a used nonce", "(409");
    drop(world);

    std::fs::remove_file(folder.join("deployment.json")).expect("a file");
    let half = World::start_with_refusal(&folder, &[]);
    refusal(half, "half a world", "--fresh founds it anew");
    let world = World::start_with(folder.clone(), &["--fresh"]);
    let unknown = format!("contributions {leaf}");
    world.refused(&unknown, "(404");
    contribute(&world);
    drop(world);

    let precious = temporary.path().join("precious");
    std::fs::create_dir(&precious).expect("a folder");
    std::fs::write(precious.join("letter"), "dear").expect("a file");
    for flags in [&[][..], &["--fresh"]] {
        let other = World::start_with_refusal(&precious, flags);
        refusal(other, "somebody's folder", "name a new folder");
    }
    assert!(precious.join("letter").exists());
}

fn contribution(world: &World) -> String {
    let key = world.key("contributor-0");
    format!("contribute --record - --source anes96 --purposes statistics --nonce 1 --key {key}")
}

fn contribute(world: &World) -> String {
    let said = world.json_with(&contribution(world), RECORD);
    said["leaf"].as_str().expect("a leaf").to_owned()
}

/// Blocks between the newest and the newest finalized one, as the node says, while no block comes between.
fn finality_lag(world: &World) -> u64 {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let provider = alloy::providers::ProviderBuilder::new()
        .connect_http(world.told("rpc").parse().expect("a URL"));
    runtime.block_on(async {
        use alloy::eips::BlockId;
        use alloy::providers::Provider;
        loop {
            let number = |id| {
                let block = provider.get_block(id);
                async { block.await.expect("an answer").expect("a block").number() }
            };
            let before = number(BlockId::latest()).await;
            let finalized = number(BlockId::finalized()).await;
            if number(BlockId::latest()).await == before {
                return before - finalized;
            }
        }
    })
}

fn approve(world: &World) {
    let manifest = world.path("manifests/mean.json");
    let program = world.path("programs/mean.wasm");
    let founder = world.key("founder-0");
    let propose = format!("propose --manifest {manifest} --program {program} --key {founder}");
    let opened = world.json(&propose);
    let id = opened["proposal"].as_str().expect("an id");
    world.decide(&[id]);
}
