//! What runs on a heavy node, a requester's own machine: foreign programs with folders for input, output and state (SPEC "Heavy
//! programs"), each behind a jail.
//!
//! Owns: the jail around such programs, what is taken of the folders that they leave, and the worker that makes their input and follows
//! trainings. Must not know: keys, the chain, who contributed.

mod filter;
pub mod jail;
pub mod left;
pub mod training;
