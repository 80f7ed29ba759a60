//! The parts of the binary `collective`, as a library for its tests and benches.

pub mod anchor;
pub mod blobs;
pub mod chain;
pub mod client;
pub mod cmd;
pub mod contributor;
pub mod crash;
pub mod decision;
pub mod demo;
pub mod driver;
pub mod follower;
pub mod founding;
pub mod governance;
pub mod http;
pub mod intake;
pub mod keystore;
pub mod ledger;
pub mod node;
pub mod pace;
pub mod plugin;
pub mod registration;
pub mod requester;
pub mod rewards;
pub mod run;
pub mod sandbox;
pub mod verify;
