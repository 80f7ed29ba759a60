// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

import {CollectiveGovernor} from "../src/CollectiveGovernor.sol";
import {Membership} from "../src/Membership.sol";
import {ICodeRegistry} from "../src/interfaces/ICodeRegistry.sol";
import {BaseTest} from "./BaseTest.sol";
import {vm} from "./Vm.sol";

/// @dev A collective with governance of its own: membership, governor, and a timelock that is the collective.
abstract contract GovernanceBase is BaseTest {
    uint48 internal constant VOTING_DELAY = 1 hours;
    uint32 internal constant VOTING_PERIOD = 3 days;
    uint48 internal constant VOTE_EXTENSION = 1 days;
    uint256 internal constant TIMELOCK_DELAY = 2 days;
    string internal constant DESCRIPTION = "approve logit";

    TimelockController internal timelock;
    Membership internal membership;
    CollectiveGovernor internal governor;
    address[] internal founders;

    function setUp() public virtual override {
        super.setUp();
        founders = [_account("founder 1"), _account("founder 2"), _account("founder 3"), _account("founder 4")];
        address[] memory none = new address[](0);
        address[] memory anyone = new address[](1);
        timelock = new TimelockController(TIMELOCK_DELAY, none, anyone, address(this));
        collective = address(timelock);
        membership = new Membership("Members", "MEM", collective, founders);
        governor = new CollectiveGovernor(membership, timelock, VOTING_DELAY, VOTING_PERIOD, 50, VOTE_EXTENSION);
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(governor));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(governor));
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), address(this));
        // A vote counts from the second after it was given.
        vm.warp(block.timestamp + 1);
    }

    function _propose(address target, bytes memory data, string memory description) internal returns (uint256 id) {
        (address[] memory targets, uint256[] memory values, bytes[] memory datas) = _action(target, data);
        vm.prank(founders[0]);
        return governor.propose(targets, values, datas, description);
    }

    function _vote(uint256 id, address voter, uint8 support) internal {
        vm.prank(voter);
        governor.castVote(id, support);
    }

    function _queue(address target, bytes memory data, string memory description) internal {
        (address[] memory targets, uint256[] memory values, bytes[] memory datas) = _action(target, data);
        governor.queue(targets, values, datas, keccak256(bytes(description)));
    }

    function _execute(address target, bytes memory data, string memory description) internal {
        (address[] memory targets, uint256[] memory values, bytes[] memory datas) = _action(target, data);
        governor.execute(targets, values, datas, keccak256(bytes(description)));
    }

    /// @dev The whole way: proposed, voted by three, queued, executed.
    function _decide(address target, bytes memory data, string memory description) internal {
        uint256 id = _propose(target, data, description);
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        for (uint256 i = 0; i < 3; ++i) {
            _vote(id, founders[i], 1);
        }
        vm.warp(block.timestamp + VOTING_PERIOD);
        _queue(target, data, description);
        vm.warp(block.timestamp + TIMELOCK_DELAY);
        _execute(target, data, description);
    }

    function _action(address target, bytes memory data)
        internal
        pure
        returns (address[] memory targets, uint256[] memory values, bytes[] memory datas)
    {
        targets = new address[](1);
        values = new uint256[](1);
        datas = new bytes[](1);
        (targets[0], datas[0]) = (target, data);
    }

    function _approval() internal view returns (bytes memory) {
        return abi.encodeCall(ICodeRegistry.approve, (MANIFEST, _terms(), "ipfs://manifest"));
    }
}
