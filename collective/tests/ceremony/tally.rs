//! What a simulation has seen.

/// What happened, so that a quiet simulation is seen as one.
#[derive(Debug, Default)]
pub struct Tally {
    pub keys: u64,
    pub aborts: u64,
    pub answers: u64,
    pub refusals: u64,
    pub lost: u64,
    pub doubled: u64,
    pub crashes: u64,
    pub convener_crashes: u64,
    pub cheats: u64,
}

impl Tally {
    /// The sum of both.
    pub fn add(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            aborts: self.aborts + other.aborts,
            answers: self.answers + other.answers,
            refusals: self.refusals + other.refusals,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            crashes: self.crashes + other.crashes,
            convener_crashes: self.convener_crashes + other.convener_crashes,
            cheats: self.cheats + other.cheats,
        }
    }
}
