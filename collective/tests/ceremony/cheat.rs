//! What a cheat sends instead.

use std::sync::Arc;

use crate::world::World;
use collective::committee::ceremony::ask::Ask;
use collective::committee::ceremony::blame::Complaint;
use collective::committee::ceremony::convener::Culprit;
use collective::committee::ceremony::deal::{Deal, Part, Round2};
use collective::committee::ceremony::message::{Body, Message, Round, Signed};
use collective::committee::ceremony::plan::Plan;
use collective::id::NodeId;
use collective::seal::{self, Recipient};

/// Signs what the node would never say.
pub fn forge<B: Body>(world: &World, plan: &Plan, node: NodeId, body: B) -> Signed<B> {
    let node = &world.nodes[&node];
    Signed::sign(plan, node.id, body, &|digest| node.sign(digest)).unwrap()
}

/// 2 of 3 that make a key, and 3 of 4 that take it over from members 1 and 3, as it is and with a new ML-KEM half: every
/// cheat is tried in each.
pub fn each_ceremony(mut check: impl FnMut(&mut World, &Arc<Plan>, &[u8], &[u8])) {
    let mut world = World::new(4, 500);
    let plan = world.generate(2, &[1, 2, 3], true);
    check(&mut world, &plan, &[1, 2, 3], &[1, 2, 3]);
    world.complete(&plan);
    let plan = world.reshare(&[1, 3], 3, &[1, 2, 3, 4]);
    check(&mut world, &plan, &[1, 3], &[1, 2, 3, 4]);
    let plan = world.renew(&[1, 3], 3, &[1, 2, 3, 4]);
    check(&mut world, &plan, &[1, 3], &[1, 2, 3, 4]);
}

pub fn is_generate(plan: &Plan) -> bool {
    plan.proposal().epoch == 1
}

/// Runs with every answer of `bad` in `round` changed by `change`.
pub fn with_cheat(
    world: &mut World,
    plan: &Arc<Plan>,
    bad: u8,
    round: Round,
    change: impl Fn(&World, NodeId, &Ask, Message) -> Vec<Message>,
) -> Result<collective::committee::ceremony::certify::Certification, Vec<Culprit>> {
    world.prepare();
    let bad = World::id(bad);
    world.run(plan, &mut |world, node, ask, answer| match answer {
        Some(message) if node == bad && message.round() == round => {
            change(world, node, ask, message)
        }
        answer => answer.into_iter().collect(),
    })
}

/// The deal with the share for `victim` replaced by `plaintext`.
pub fn bad_deal(
    world: &World,
    plan: &Plan,
    message: &Message,
    victim: u16,
    plaintext: &[u8],
) -> Message {
    let Message::Deal(deal) = message else {
        panic!("a deal")
    };
    let mut body: Deal = deal.body().clone();
    let place = usize::from(victim) - 1;
    let recipient = plan.proposal().members[place].recipient.clone();
    let mut rng = crate::world::rng(9);
    body.parts[place].share =
        seal::seal(&[Recipient::Tagged(recipient)], plaintext, &mut rng).unwrap();
    Message::Deal(forge(world, plan, deal.node(), body))
}

/// A complaint about what came from the dealer in this place.
pub fn complaint(
    world: &World,
    plan: &Plan,
    node: NodeId,
    round2: &Round2,
    place: usize,
    part: Part,
) -> Signed<Complaint> {
    let body = Complaint {
        deal: round2.deals()[place].digest(),
        dealer: plan.dealers()[place].number,
        part,
    };
    forge(world, plan, node, body)
}
