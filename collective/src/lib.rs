//! Bytes and decisions of a data collective.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

pub mod admission;
pub mod approval;
pub mod bundle;
pub mod charter;
pub mod committee;
pub mod contribution;
mod decimal;
pub mod document;
pub mod epochs;
pub mod groups;
pub mod id;
pub mod index;
pub mod input;
pub mod limits;
pub mod liveness;
pub mod merkle;
pub mod permit;
pub mod query;
pub mod receipt;

pub mod reward;
pub mod seal;
pub mod source;
pub mod terms;
pub mod training;

#[cfg(test)]
mod test_story;
