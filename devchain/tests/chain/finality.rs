//! The tags, and what a reader can rely on.

use alloy::{eips::BlockNumberOrTag as Tag, providers::Provider};
use devchain::{Config, DevChain};
use serde_json::json;

use crate::{chain, wallet};

async fn number(provider: &impl Provider, tag: Tag) -> u64 {
    provider
        .get_block(tag.into())
        .await
        .unwrap()
        .expect("every tag names a block")
        .header
        .number
}

#[tokio::test]
async fn safe_and_finalized_follow_at_their_distance() {
    let (chain, alice) = chain();
    for (mined, safe, finalized) in [(0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 2, 1), (10, 9, 8)] {
        chain.mine(mined - chain.head().number).unwrap();
        let tags = [
            Tag::Latest,
            Tag::Safe,
            Tag::Finalized,
            Tag::Earliest,
            Tag::Pending,
        ];
        let mut numbers = Vec::new();
        for tag in tags {
            numbers.push(number(&alice, tag).await);
        }
        assert_eq!(numbers, [mined, safe, finalized, 0, mined + 1]);
    }
}

#[tokio::test]
async fn the_distance_can_be_chosen() {
    let chain = DevChain::new(Config {
        finalized_lag: 5,
        safe_lag: 3,
        ..Config::repeatable()
    });
    let alice = wallet(&chain, 0);
    chain.mine(10).unwrap();
    assert_eq!(
        (
            number(&alice, Tag::Finalized).await,
            number(&alice, Tag::Safe).await
        ),
        (5, 7)
    );
    alice
        .raw_request::<_, ()>("devchain_setFinalityLag".into(), json!([8, "0x4"]))
        .await
        .unwrap();
    assert_eq!(
        (
            number(&alice, Tag::Finalized).await,
            number(&alice, Tag::Safe).await
        ),
        (2, 6)
    );
}
