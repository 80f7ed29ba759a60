// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @title The tree over a sealed file's payload.
/// @notice SHA-256, leaves of 1024 bytes with their index inside; an odd last node moves up unchanged (SPEC "Payload tree").
/// Positions are bound, so a sibling is on the side that index and length give.
library PayloadTree {
    uint64 internal constant LEAF_BYTES = 1024;

    /// @notice Leaves of a payload; an empty one has one.
    function leafCount(uint64 length) internal pure returns (uint64) {
        // Not (length + 1023) / 1024, which overflows for the longest.
        uint64 whole = length / LEAF_BYTES;
        return length % LEAF_BYTES != 0 || length == 0 ? whole + 1 : whole;
    }

    /// @notice Whether `chunk` is leaf `index` of the payload of this root and length.
    function verify(bytes32 root, uint64 length, uint64 index, bytes calldata chunk, bytes32[] calldata siblings)
        internal
        pure
        returns (bool)
    {
        uint64 last = leafCount(length) - 1;
        if (index > last || chunk.length != (index == last ? length - last * LEAF_BYTES : LEAF_BYTES)) return false;

        bytes32 hash = sha256(abi.encodePacked(uint8(0), index, chunk));
        uint256 used = 0;
        // Place of the node in its level, and of the level's last node.
        for ((uint64 place, uint64 end) = (index, last); end > 0; (place, end) = (place / 2, end / 2)) {
            bool isLeft = place % 2 == 0;
            if (isLeft && place == end) continue;
            if (used == siblings.length) return false;
            bytes32 sibling = siblings[used++];
            hash = isLeft
                ? sha256(abi.encodePacked(uint8(1), hash, sibling))
                : sha256(abi.encodePacked(uint8(1), sibling, hash));
        }
        return used == siblings.length && hash == root;
    }
}
