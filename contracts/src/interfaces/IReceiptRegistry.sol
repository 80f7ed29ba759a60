// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @title Hash chains of what holders released and what nodes ran.
/// @notice head' = keccak256(abi.encode(head, structHash)), from 0. A log can be withheld by whoever serves it; a head
/// in a proven slot shows that one was.
interface IReceiptRegistry {
    /// @notice Chain of EIP-712 `Release` struct hashes of a collective.
    function releaseHead(address collective) external view returns (bytes32);

    /// @notice Chain of EIP-712 `Receipt` struct hashes of a collective.
    function receiptHead(address collective) external view returns (bytes32);
}
