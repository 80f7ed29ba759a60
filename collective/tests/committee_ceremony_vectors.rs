//! `vectors/ceremony.json`: one key made by 2 of 2 and shared anew among 2 of 3, every byte of it. `WRITE_VECTORS=1`
//! writes the file instead of comparing.

#[path = "seal/coins.rs"]
mod coins;
#[path = "ceremony/world.rs"]
mod world;

use std::path::Path;
use std::sync::Arc;

use coins::Coins;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::message::Message;
use collective::committee::ceremony::plan::Plan;
use collective::seal::Identity;
use collective::seal::tagged::TaggedIdentity;
use serde_json::{Value, json};
use world::{Node, World};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Node k has the signer 01kk…kk, an identity from coins that start at k, and seeds of 32 bytes k + 16 × ceremony.
fn nodes() -> (World, Vec<Value>) {
    let mut world = World::new(0, 0);
    let mut described = vec![];
    for number in 1..=3 {
        let mut node = Node::new(number, &mut world.rng);
        let mut coins = Coins::from(number);
        let identity = TaggedIdentity::random(&mut coins);
        let secret = identity.to_secret_string();
        node.recipient = identity.recipient();
        node.identity = Identity::Tagged(identity);
        described.push(json!({
            "node": node.id.to_string(),
            "signer": node.signer().to_string().to_lowercase(),
            "signer_key": format!("01{}", hex(&[number; 31])),
            "identity": secret.as_str(),
            "identity_coins": coins.hex(),
        }));
        world.nodes.insert(node.id, node);
    }
    (world, described)
}

fn record(world: &mut World, number: u8, plan: &Arc<Plan>) -> Value {
    world.prepare();
    for node in world.nodes.values_mut() {
        node.seed = [node.id.0[0] + 16 * number; 32];
    }
    let mut messages = vec![];
    let (mut round1, mut transcript) = (None, None);
    let made = world.run(plan, &mut |_, _, ask, answer| {
        match ask {
            Ask::Deal(set) => round1 = Some(set.digest()),
            Ask::Certify(set) => transcript = Some(set.transcript()),
            Ask::Commit | Ask::Defend(..) => {}
        }
        let message: Message = answer.unwrap();
        messages.push(json!({
            "node": message.node().to_string(),
            "digest": message.digest().to_string(),
            "bytes": hex(&message.to_bytes()),
        }));
        vec![message]
    });
    let made = made.unwrap();
    world.accept(plan, &made);
    json!({
        "plan": hex(&plan.to_bytes()),
        "ceremony": plan.id().0.to_string(),
        "seeds": world.nodes.values().map(|node| hex(&node.seed)).collect::<Vec<_>>(),
        "messages": messages,
        "round1": round1.unwrap().to_string(),
        "transcript": transcript.unwrap().to_string(),
        "certificate": hex(&made.certificate.to_bytes()),
        "statement": plan.statement_hash(&made.certificate).to_string(),
        "recipient": made.certificate.recipient().to_string(),
    })
}

#[test]
fn a_key_is_made_and_shared_anew() {
    let (mut world, described) = nodes();
    let plan = world.generate(2, &[1, 2], true);
    let generate = record(&mut world, 1, &plan);
    let plan = world.reshare(&[1, 2], 2, &[2, 3, 1]);
    let reshare = record(&mut world, 2, &plan);
    let plan = world.renew(&[2, 3], 2, &[1, 3]);
    let renew = record(&mut world, 3, &plan);
    let made =
        json!({ "nodes": described, "generate": generate, "reshare": reshare, "renew": renew });
    let made = format!("{made:#}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/ceremony.json");
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::write(&path, &made).expect("a writable folder");
    }
    let committed = std::fs::read_to_string(&path).expect("a committed vector");
    assert!(
        committed == made,
        "ceremony.json differs; WRITE_VECTORS=1 shows how"
    );
}
