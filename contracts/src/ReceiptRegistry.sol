// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IReceiptRegistry} from "./interfaces/IReceiptRegistry.sol";

/// @title ReceiptRegistry
/// @notice See IReceiptRegistry. It keeps the chains; what may enter them is the business of whoever inherits it.
abstract contract ReceiptRegistry is IReceiptRegistry {
    /// @inheritdoc IReceiptRegistry
    mapping(address collective => bytes32) public releaseHead;
    /// @inheritdoc IReceiptRegistry
    mapping(address collective => bytes32) public receiptHead;

    function _foldRelease(address collective, bytes32 structHash) internal returns (bytes32 head) {
        head = keccak256(abi.encode(releaseHead[collective], structHash));
        releaseHead[collective] = head;
    }

    function _foldReceipt(address collective, bytes32 structHash) internal returns (bytes32 head) {
        head = keccak256(abi.encode(receiptHead[collective], structHash));
        receiptHead[collective] = head;
    }
}
