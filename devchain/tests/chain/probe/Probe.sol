// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What the tests of the dev chain need from a contract, and nothing else.
/// Probe.hex is its creation code: solc 0.8.37, optimizer on (200 runs), evmVersion cancun, no metadata.
contract Probe {
    uint256 public value;
    mapping(address => uint256) public marks;

    event Set(address indexed by, uint256 indexed value, uint256 time);

    error TooLarge(uint256 value, uint256 limit);

    function set(uint256 to) external {
        if (to > 1000) revert TooLarge(to, 1000);
        value = to;
        marks[msg.sender] = to;
        emit Set(msg.sender, to, block.timestamp);
    }

    /// Emits `count` logs, and changes nothing.
    function shout(uint256 count) external {
        for (uint256 i = 0; i < count; ++i) emit Set(msg.sender, i, block.timestamp);
    }

    function fail() external pure {
        revert("not today");
    }

    function spin() external view {
        while (gasleft() > 0) {}
    }

    function here() external view returns (uint256 number, uint256 timestamp, bytes32 parent) {
        return (block.number, block.timestamp, blockhash(block.number - 1));
    }

    function hashOf(uint256 number) external view returns (bytes32) {
        return blockhash(number);
    }

    /// Calls itself `depth` deep before it sets: each level keeps a 64th of the gas back (EIP-150).
    function nest(uint256 depth) external {
        if (depth == 0) value += 1;
        else this.nest(depth - 1);
    }
}
