// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";

import {Membership} from "../src/Membership.sol";
import {Contribution} from "../src/interfaces/IContributionRegistry.sol";
import {IMembership} from "../src/interfaces/IMembership.sol";
import {GovernanceBase} from "./GovernanceBase.sol";
import {vm} from "./Vm.sol";

contract GovernanceTest is GovernanceBase {
    // Membership

    function test_founders_hold_their_votes_at_once() public view {
        for (uint256 i = 0; i < founders.length; ++i) {
            vm.assertEq(membership.getVotes(founders[i]), 1);
            vm.assertEq(membership.delegates(founders[i]), founders[i]);
            vm.assertEq(membership.ownerOf(membership.membershipOf(founders[i])), founders[i]);
        }
        vm.assertEq(membership.collective(), collective);
        vm.assertEq(membership.CLOCK_MODE(), "mode=timestamp");
        vm.assertEq(membership.clock(), block.timestamp);
    }

    function test_admit_and_expel_by_the_collective_only() public {
        bytes memory why = abi.encodeWithSelector(IMembership.NotCollective.selector, founders[0]);
        vm.expectRevert(why);
        vm.prank(founders[0]);
        membership.admit(stranger);
        vm.expectRevert(why);
        vm.prank(founders[0]);
        membership.expel(founders[1]);
        vm.prank(collective);
        membership.admit(stranger);
        vm.assertEq(membership.getVotes(stranger), 1);
        vm.prank(collective);
        membership.expel(stranger);
        vm.assertEq(membership.getVotes(stranger), uint256(0));
    }

    function test_membership_needs_a_collective() public {
        vm.expectRevert(IMembership.CollectiveMissing.selector);
        new Membership("Members", "MEM", address(0), founders);
    }

    function test_admit_once_and_readmit() public {
        vm.expectRevert();
        vm.prank(collective);
        membership.admit(founders[0]);
        vm.prank(collective);
        membership.expel(founders[0]);
        vm.prank(collective);
        membership.admit(founders[0]);
        vm.assertEq(membership.getVotes(founders[0]), 1);
    }

    function test_admit_keeps_a_delegate_chosen_before() public {
        vm.prank(stranger);
        membership.delegate(founders[0]);
        vm.prank(collective);
        membership.admit(stranger);
        vm.assertEq(membership.getVotes(founders[0]), 2);
        vm.assertEq(membership.getVotes(stranger), uint256(0));
    }

    function testFuzz_memberships_cannot_be_transferred(address to) public {
        vm.assume(to != address(0));
        uint256 id = membership.membershipOf(founders[0]);
        vm.expectRevert(IMembership.NotTransferable.selector);
        vm.prank(founders[0]);
        membership.transferFrom(founders[0], to, id);
        vm.prank(founders[0]);
        membership.approve(stranger, id);
        vm.expectRevert(IMembership.NotTransferable.selector);
        vm.prank(stranger);
        membership.transferFrom(founders[0], to, id);
        vm.assertEq(membership.getVotes(founders[0]), 1);
    }

    function test_contributing_gives_no_vote() public {
        for (uint256 i = 0; i < 10; ++i) {
            Contribution memory c = _contribution(i);
            vm.prank(contributor);
            contributions.contribute(c, "");
        }
        vm.assertEq(membership.balanceOf(contributor), uint256(0));
        vm.assertEq(membership.getVotes(contributor), uint256(0));
    }

    function test_power_got_in_a_block_is_zero_in_that_block() public {
        vm.prank(collective);
        membership.admit(stranger);
        uint48 current = uint48(block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(Votes.ERC5805FutureLookup.selector, current, current));
        membership.getPastVotes(stranger, current);
        vm.assertEq(membership.getPastVotes(stranger, current - 1), uint256(0));
        (address[] memory targets, uint256[] memory values, bytes[] memory datas) = _action(address(codes), _approval());
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInsufficientProposerVotes.selector, stranger, 0, 1));
        vm.prank(stranger);
        governor.propose(targets, values, datas, DESCRIPTION);
    }

    // Governor

    function test_decision_makes_a_digest_active() public {
        _decide(address(codes), _approval(), DESCRIPTION);
        vm.assertTrue(codes.isActive(collective, MANIFEST));
    }

    function test_member_admitted_after_the_snapshot_weighs_nothing() public {
        uint256 id = _propose(address(codes), _approval(), DESCRIPTION);
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        vm.prank(collective);
        membership.admit(stranger);
        vm.warp(block.timestamp + 1);
        _vote(id, stranger, 1);
        (, uint256 inFavour,) = governor.proposalVotes(id);
        vm.assertEq(inFavour, uint256(0));
    }

    function test_proposal_below_quorum_or_majority_fails() public {
        uint256 few = _propose(address(codes), _approval(), "few");
        uint256 split = _propose(address(codes), _approval(), "split");
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        _vote(few, founders[0], 1);
        _vote(split, founders[0], 1);
        _vote(split, founders[1], 1);
        _vote(split, founders[2], 0);
        _vote(split, founders[3], 0);
        vm.warp(block.timestamp + VOTING_PERIOD + VOTE_EXTENSION);
        vm.assertEq(uint256(governor.state(few)), uint256(IGovernor.ProposalState.Defeated));
        vm.assertEq(uint256(governor.state(split)), uint256(IGovernor.ProposalState.Defeated));
    }

    function test_execution_waits_for_the_timelock() public {
        uint256 id = _propose(address(codes), _approval(), DESCRIPTION);
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        for (uint256 i = 0; i < 3; ++i) {
            _vote(id, founders[i], 1);
        }
        vm.warp(block.timestamp + VOTING_PERIOD);
        _queue(address(codes), _approval(), DESCRIPTION);
        vm.warp(block.timestamp + TIMELOCK_DELAY - 1);
        vm.expectRevert();
        this.execute(DESCRIPTION);
        vm.warp(block.timestamp + 1);
        this.execute(DESCRIPTION);
        vm.assertTrue(codes.isActive(collective, MANIFEST));
    }

    function execute(string memory description) external {
        _execute(address(codes), _approval(), description);
    }

    function test_late_quorum_extends_the_vote() public {
        uint256 id = _propose(address(codes), _approval(), DESCRIPTION);
        uint256 deadline = governor.proposalDeadline(id);
        vm.warp(deadline - 1);
        _vote(id, founders[0], 1);
        vm.assertEq(governor.proposalDeadline(id), deadline);
        _vote(id, founders[1], 1);
        vm.assertEq(governor.proposalDeadline(id), block.timestamp + VOTE_EXTENSION);
    }

    function test_guardian_set_by_vote_cancels_queued_proposal() public {
        _decide(address(governor), abi.encodeCall(governor.setProposalGuardian, (guardian)), "guardian");
        uint256 id = _propose(address(codes), _approval(), DESCRIPTION);
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        for (uint256 i = 0; i < 3; ++i) {
            _vote(id, founders[i], 1);
        }
        vm.warp(block.timestamp + VOTING_PERIOD);
        _queue(address(codes), _approval(), DESCRIPTION);
        (address[] memory targets, uint256[] memory values, bytes[] memory datas) = _action(address(codes), _approval());
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, id, founders[0]));
        vm.prank(founders[0]);
        governor.cancel(targets, values, datas, keccak256(bytes(DESCRIPTION)));
        vm.prank(guardian);
        governor.cancel(targets, values, datas, keccak256(bytes(DESCRIPTION)));
        vm.assertEq(uint256(governor.state(id)), uint256(IGovernor.ProposalState.Canceled));
        vm.warp(block.timestamp + TIMELOCK_DELAY);
        vm.expectRevert();
        this.execute(DESCRIPTION);
    }

    function test_guardian_is_set_by_vote_only() public {
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorOnlyExecutor.selector, founders[0]));
        vm.prank(founders[0]);
        governor.setProposalGuardian(founders[0]);
    }

    function test_settings() public view {
        vm.assertEq(governor.votingDelay(), VOTING_DELAY);
        vm.assertEq(governor.votingPeriod(), VOTING_PERIOD);
        vm.assertEq(governor.proposalThreshold(), 1);
        vm.assertEq(governor.lateQuorumVoteExtension(), VOTE_EXTENSION);
        vm.assertEq(governor.quorumNumerator(), 50);
        vm.assertEq(governor.timelock(), address(timelock));
    }

    function test_nobody_is_left_with_power_over_the_timelock() public view {
        bytes32 admin = timelock.DEFAULT_ADMIN_ROLE();
        vm.assertFalse(timelock.hasRole(admin, address(this)));
        vm.assertTrue(timelock.hasRole(admin, address(timelock)));
        vm.assertTrue(timelock.hasRole(timelock.PROPOSER_ROLE(), address(governor)));
    }
}
