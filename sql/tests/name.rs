//! The engine's name is what members vote on beside a query's text: it has to change with whatever decides what a query may be
//! and what it gives.

mod support;

use collective::id::sha256;
use collective_node::sandbox::sql_engine_id;
use support::sandbox;

/// Release of DataFusion, then the number of the sources below.
const NAME: &str = "datafusion/55.2.0/rules/1";

/// SHA-256 of those sources. Where they differ in no query's answer, the new digest belongs here; else a new number into the
/// name, too.
const RULES: &str = "0x2266a9479249dd0ff54507e610bf99e0045a461b2ee3ecddc5648b759bb4bbe6";

#[test]
fn the_name_stands_for_what_decides() {
    assert_eq!(sandbox().sql_engine().expect("a worker"), NAME);
    let sources = [
        include_str!("../src/check.rs"),
        include_str!("../src/engine.rs"),
        include_str!("../src/exact.rs"),
        include_str!("../src/output.rs"),
        include_str!("../src/ranges.rs"),
        include_str!("../src/table.rs"),
    ];
    assert_eq!(sha256(sources.concat().as_bytes()).to_string(), RULES);
    let release = NAME.split('/').nth(1).expect("a release");
    let locked = format!("name = \"datafusion\"\nversion = \"{release}\"\n");
    assert!(include_str!("../../Cargo.lock").contains(&locked));
    // The vector of SPEC "Engine id".
    let id = "b7c756e8a6d15150ffccf824edda690544255ea08c9ea0219b88f6b6afbb96b8";
    let bytes = sql_engine_id(NAME).0;
    assert_eq!(bytes.map(|byte| format!("{byte:02x}")).concat(), id);
}
