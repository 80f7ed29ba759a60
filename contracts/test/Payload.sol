// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";

/// @dev A payload's tree level by level, as SPEC "Payload tree" defines it.
library Payload {
    function leaves(bytes memory payload) internal pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](payload.length == 0 ? 1 : (payload.length + 1023) / 1024);
        for (uint64 i = 0; i < hashes.length; ++i) {
            hashes[i] = sha256(abi.encodePacked(uint8(0), i, chunk(payload, i)));
        }
    }

    function chunk(bytes memory payload, uint64 index) internal pure returns (bytes memory bytes_) {
        uint256 start = uint256(index) * 1024;
        uint256 end = start + 1024 < payload.length ? start + 1024 : payload.length;
        bytes_ = new bytes(end - start);
        for (uint256 i = start; i < end; ++i) {
            bytes_[i - start] = payload[i];
        }
    }

    function root(bytes32[] memory hashes) internal pure returns (bytes32) {
        while (hashes.length > 1) {
            hashes = _above(hashes);
        }
        return hashes[0];
    }

    function path(bytes32[] memory hashes, uint64 index) internal pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](0);
        for (; hashes.length > 1; (hashes, index) = (_above(hashes), index / 2)) {
            uint256 sibling = index ^ 1;
            if (sibling < hashes.length) siblings = longer(siblings, hashes[sibling]);
        }
    }

    function longer(bytes32[] memory list, bytes32 item) internal pure returns (bytes32[] memory all) {
        all = new bytes32[](list.length + 1);
        for (uint256 i = 0; i < list.length; ++i) {
            all[i] = list[i];
        }
        all[list.length] = item;
    }

    function _above(bytes32[] memory hashes) private pure returns (bytes32[] memory above) {
        above = new bytes32[]((hashes.length + 1) / 2);
        for (uint256 i = 0; i < above.length; ++i) {
            above[i] = 2 * i + 1 == hashes.length
                ? hashes[2 * i]
                : sha256(abi.encodePacked(uint8(1), hashes[2 * i], hashes[2 * i + 1]));
        }
    }
}

/// @dev A block header with the fields of Prague; those that nobody asks for are zero.
library Header {
    using RLP for RLP.Encoder;

    bytes32 internal constant RANDOMNESS = keccak256("randomness");

    function encode(uint256 number, uint256 time, bytes32 parent) internal pure returns (bytes memory) {
        return encode(number, time, parent, RANDOMNESS);
    }

    function encode(uint256 number, uint256 time, bytes32 parent, bytes32 randomness)
        internal
        pure
        returns (bytes memory)
    {
        RLP.Encoder memory fields = RLP.encoder().push(parent);
        for (uint256 i = 1; i < 21; ++i) {
            fields = i == 13 ? fields.push(randomness) : fields.push(i == 8 ? number : i == 11 ? time : 0);
        }
        return fields.encode();
    }
}
