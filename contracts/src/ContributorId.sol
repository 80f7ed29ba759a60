// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

// Ids of contributors. Today each is an address, left-padded; the width leaves room for keys that are none.

/// @notice The id stands for no address, so it can neither sign nor be paid on chain.
error NotAnAddress(bytes32 contributorId);

function contributorIdOf(address account) pure returns (bytes32) {
    return bytes32(uint256(uint160(account)));
}

function addressOf(bytes32 contributorId) pure returns (address) {
    require(uint256(contributorId) <= type(uint160).max, NotAnAddress(contributorId));
    return address(uint160(uint256(contributorId)));
}
