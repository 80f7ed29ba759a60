//! Ceremonies with one cheat in them: a clean end that names exactly the cheat, or the same key for all.

#[path = "ceremony/cheat.rs"]
mod cheat;
#[path = "ceremony/dealers.rs"]
mod dealers;
#[path = "ceremony/members.rs"]
mod members;
#[path = "ceremony/world.rs"]
mod world;
