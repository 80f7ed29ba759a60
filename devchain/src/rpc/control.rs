//! Methods that only a development chain has: mining, time, snapshots, balances, finality.

use alloy::primitives::{U64, U256};
use serde::{Deserialize, Deserializer, de::Error};

use super::{Answer, Params, RpcFailure, result};
use crate::{DevChain, chain::MAX_BLOCKS_AT_ONCE, config::Mining};

impl DevChain {
    /// `evm_mine`: one block.
    pub(super) fn mine_one(&self) -> Answer {
        self.write().mine(1)?;
        result("0x0")
    }

    /// `anvil_mine`: the number of blocks, one where it is not given.
    pub(super) fn mine_many(&self, params: &mut Params) -> Answer {
        let count = params
            .next_if_given::<Quantity>("count")?
            .map_or(1, |count| count.0);
        if count > MAX_BLOCKS_AT_ONCE {
            return Err(RpcFailure::TooMuch(format!(
                "more than {MAX_BLOCKS_AT_ONCE} blocks; mine fewer at a time"
            )));
        }
        self.write().mine(count)?;
        result(())
    }

    /// Gives the seconds that the chain is ahead of the clock.
    pub(super) fn increase_time_on_request(&self, params: &mut Params) -> Answer {
        let seconds = params.next::<Quantity>("seconds")?.0;
        result(self.write().increase_time(seconds)?)
    }

    pub(super) fn set_next_timestamp(&self, params: &mut Params) -> Answer {
        let timestamp = params.next::<Quantity>("timestamp")?.0;
        result(self.write().set_next_timestamp(timestamp)?)
    }

    pub(super) fn take_snapshot(&self) -> Answer {
        result(U64::from(self.snapshot()))
    }

    pub(super) fn revert_on_request(&self, params: &mut Params) -> Answer {
        let id = params.next::<Quantity>("snapshot")?.0;
        result(self.revert(id)?)
    }

    /// `true`: a block for each transaction. `false`: blocks only on demand.
    pub(super) fn set_automine(&self, params: &mut Params) -> Answer {
        let mining = if params.next("automatic")? {
            Mining::Automatic
        } else {
            Mining::OnDemand
        };
        self.write().set_mining(mining);
        result(())
    }

    /// Seals a block, so that the new balance can be proven.
    pub(super) fn set_balance(&self, params: &mut Params) -> Answer {
        let (address, balance) = (params.next("address")?, params.next::<U256>("balance")?);
        self.write().set_balance(address, balance)?;
        result(())
    }

    /// `devchain_setFinalityLag(finalized, safe)`: blocks behind the latest.
    pub(super) fn set_lag(&self, params: &mut Params) -> Answer {
        let (finalized, safe) = (
            params.next::<Quantity>("finalized")?,
            params.next::<Quantity>("safe")?,
        );
        self.set_finality_lag(finalized.0, safe.0);
        result(())
    }
}

/// A number as the tools send it: `5`, `"5"` or `"0x5"`.
struct Quantity(u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => {
                let parsed = match text.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => text.parse(),
                };
                parsed.map(Self).map_err(D::Error::custom)
            }
        }
    }
}
