// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @dev Contract account that accepts one digest, whatever the signature.
contract ContractAccount is IERC1271 {
    bytes32 public immutable accepted;

    constructor(bytes32 accepted_) {
        accepted = accepted_;
    }

    function isValidSignature(bytes32 hash, bytes calldata) external view returns (bytes4) {
        return hash == accepted ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// @dev Code that knows no ERC-1271, as an account might have delegated to.
contract Mute {}

/// @dev Code that takes all the gas that it is given.
contract Burner is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        assembly ("memory-safe") {
            invalid()
        }
    }
}
