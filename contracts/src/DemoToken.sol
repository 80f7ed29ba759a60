// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title DemoToken
/// @notice Plain ERC-20 whose whole supply is handed out at deployment. For development chains: it is worth nothing.
contract DemoToken is ERC20 {
    /// @notice One amount for each holder.
    error LengthMismatch(uint256 holders, uint256 amounts);

    constructor(string memory name, string memory symbol, address[] memory holders, uint256[] memory amounts)
        ERC20(name, symbol)
    {
        require(holders.length == amounts.length, LengthMismatch(holders.length, amounts.length));
        for (uint256 i = 0; i < holders.length; ++i) {
            _mint(holders[i], amounts[i]);
        }
    }
}
