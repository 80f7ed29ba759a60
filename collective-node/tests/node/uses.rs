//! Who used my data: a contributor sees every run that read a contribution, with its proof, and up to which block that is all.

use std::path::PathBuf;

use crate::by_hand::World;
use collective::id::Leaf;
use collective_node::verify::Uses;
use serde_json::Value;

fn uses(world: &World, leaf: Leaf) -> Uses {
    let told = world.json(&format!("contributions {leaf} --uses"));
    serde_json::from_value(told).expect("uses")
}

#[test]
fn a_contributor_sees_every_run_that_read_the_contribution() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let world = World::start_with(temporary.path().join("world"), &[]);
    let (manifest, program) = (
        world.path("manifests/mean.json"),
        world.path("programs/mean.wasm"),
    );
    let (founder, requester) = (world.key("founder-0"), world.key("requester"));
    let opened = world.json(&format!(
        "propose --manifest {manifest} --program {program} --key {founder}"
    ));
    world.decide(&[opened["proposal"].as_str().expect("an id")]);
    let run = |job: u64| {
        world.json(&format!(
            "job request --manifest {manifest} --key {requester}"
        ));
        let ran = world.json(&format!("job show {job} --wait"));
        assert_eq!(ran["state"], "completed", "{ran}");
        let list = ran["record"]["inputs"].as_str().expect("a blob");
        PathBuf::from(world.path(&format!("node/blobs/{}/{}", &list[2..4], &list[4..])))
    };
    let list = run(1);
    let leaves = std::fs::read(&list).expect("kept");
    let leaf = serde_json::from_slice::<Vec<Leaf>>(&leaves).expect("leaves")[7];
    let first = uses(&world, leaf);
    assert!(first.unknown.is_empty());
    let [used] = &first.uses[..] else {
        panic!("{first:?}")
    };
    assert!(used.holds(leaf) && !used.holds(Leaf(alloy::primitives::B256::ZERO)));
    let approved: Value =
        serde_json::from_slice(&std::fs::read(&manifest).expect("a manifest")).expect("JSON");
    assert_eq!(used.purpose.to_string(), approved["purpose"]);
    assert_eq!(used.program.to_string(), approved["program"]["sha256"]);
    assert!(used.share > Some(alloy::primitives::U256::ZERO));

    // Another run is another use; what was in neither was used by nobody. The node's own word is the same.
    run(2);
    let second = uses(&world, leaf);
    assert_eq!(
        second.uses.iter().map(|it| it.job).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(second.up_to.number > first.up_to.number);
    let unused = Leaf(alloy::primitives::B256::repeat_byte(7));
    assert!(uses(&world, unused).uses.is_empty());
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let node = world.told("node").parse().expect("a URL");
    let client = collective_node::client::Client::new(node).expect("a client");
    let said = runtime.block_on(client.uses(leaf)).expect("uses");
    assert_eq!(said.uses, second.uses);

    // Whoever gives no input set does not make a run disappear.
    std::fs::remove_file(&list).expect("removed");
    let output = world.run(&format!("contributions {leaf} --uses --json"));
    assert_eq!(output.status.code(), Some(1));
    let told: Uses = serde_json::from_slice(&output.stdout).expect("uses");
    assert_eq!((told.uses, told.unknown), (vec![], vec![1, 2]));
}
