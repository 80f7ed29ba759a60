// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @dev Keeps one unit of every transfer.
contract FeeToken is ERC20 {
    constructor(address holder) ERC20("Fee", "FEE") {
        _mint(holder, 1e30);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0) && value != 0) super._update(to, address(1), 1);
    }
}

/// @dev Calls `target` back with `data` in the middle of every transfer, and keeps whether the call went through.
contract CallbackToken is ERC20 {
    address public target;
    bytes public data;
    uint256 public attempts;
    uint256 public successes;

    constructor(address holder) ERC20("Callback", "CB") {
        _mint(holder, 1e30);
    }

    function arm(address target_, bytes calldata data_) external {
        target = target_;
        data = data_;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target == address(0)) return;
        attempts += 1;
        (bool ok,) = target.call(data);
        if (ok) successes += 1;
    }
}
