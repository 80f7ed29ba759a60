// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {Status, Terms} from "../../src/interfaces/ICodeRegistry.sol";
import {ICustody} from "../../src/interfaces/ICustody.sol";
import {IJobEscrow, State} from "../../src/interfaces/IJobEscrow.sol";
import {vm} from "../Vm.sol";
import {CallbackToken} from "../mocks/Tokens.sol";
import {JobTest} from "./JobTest.sol";

contract SettlementTest is JobTest {
    // The whole way

    function test_story_pays_everybody() public {
        uint256 before = token.balanceOf(requester);
        uint256 id = _jobIn(State.Completed);
        vm.assertEq(token.balanceOf(requester), before - PRICE);
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        vm.expectEmit();
        emit IJobEscrow.Settled(id, CONTRIBUTORS, NODE, TREASURY);
        escrow.settle(id);

        _assertState(id, State.Settled);
        vm.assertEq(rewards.pool(collective, address(token)).funded, CONTRIBUTORS);
        vm.assertEq(token.balanceOf(address(rewards)), CONTRIBUTORS);
        vm.assertEq(escrow.credit(address(token), operator), NODE);
        vm.assertEq(escrow.credit(address(token), collective), TREASURY);
        _assertLocked(0);

        vm.prank(collective);
        escrow.withdraw(address(token));
        uint256 held = token.balanceOf(operator);
        vm.prank(operator);
        vm.assertEq(escrow.withdraw(address(token)), NODE);
        vm.assertEq(token.balanceOf(operator), held + NODE);
        vm.assertEq(escrow.credit(address(token), operator), uint256(0));
        vm.prank(operator);
        escrow.withdrawBond(worker, address(token), BOND);
        vm.assertEq(token.balanceOf(address(escrow)), uint256(0));
    }

    // settle, dispute, resolve

    function test_settle_after_window_only() public {
        uint256 id = _jobIn(State.Completed);
        uint256 until = block.timestamp + escrow.DISPUTE_SECONDS();
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.TooEarly.selector, id, until));
        escrow.settle(id);
        vm.warp(until + 1);
        escrow.settle(id);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Settled));
        escrow.settle(id);
    }

    function test_settle_needs_a_receipt() public {
        uint256 id = _jobIn(State.Released);
        vm.warp(block.timestamp + 60 days);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Released));
        escrow.settle(id);
    }

    function test_dispute_by_collective_or_guardian_in_time() public {
        uint256 id = _jobIn(State.Completed);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.NotCollective.selector, guardian));
        vm.prank(guardian);
        escrow.dispute(id);
        vm.prank(collective);
        codes.setGuardian(guardian);
        uint256 deadline = block.timestamp + escrow.DISPUTE_SECONDS();
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.TooLate.selector, id, deadline));
        vm.prank(guardian);
        escrow.dispute(id);
        vm.warp(deadline);
        vm.prank(guardian);
        escrow.dispute(id);
        _assertState(id, State.Disputed);
        vm.warp(deadline + 1);
        vm.expectRevert();
        escrow.settle(id);
    }

    function test_resolve_by_collective_only() public {
        uint256 id = _jobIn(State.Disputed);
        vm.prank(collective);
        codes.setGuardian(guardian);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.NotCollective.selector, guardian));
        vm.prank(guardian);
        escrow.resolve(id, true);
        vm.prank(collective);
        escrow.resolve(id, true);
        _assertState(id, State.Settled);
        vm.assertEq(escrow.credit(address(token), operator), NODE);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Settled));
        vm.prank(collective);
        escrow.resolve(id, false);
    }

    function test_resolve_against_the_node_slashes() public {
        uint256 id = _jobIn(State.Disputed);
        vm.prank(collective);
        escrow.resolve(id, false);
        _assertAbandoned(id);
    }

    function test_resolve_needs_dispute() public {
        uint256 id = _jobIn(State.Completed);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Completed));
        vm.prank(collective);
        escrow.resolve(id, false);
    }

    function test_undecided_dispute_pays_in_the_end() public {
        uint256 id = _jobIn(State.Disputed);
        uint256 until = block.timestamp + escrow.RESOLVE_SECONDS();
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.TooEarly.selector, id, until));
        escrow.settle(id);
        vm.warp(until + 1);
        escrow.settle(id);
        _assertState(id, State.Settled);
    }

    // abandon, refund

    function test_abandon_after_receipt_deadline() public {
        uint256 id = _jobIn(State.Released);
        uint256 until = block.timestamp + escrow.RECEIPT_SECONDS();
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.TooEarly.selector, id, until));
        escrow.abandon(id);
        vm.warp(until + 1);
        escrow.abandon(id);
        _assertAbandoned(id);
    }

    function test_abandon_needs_release_without_receipt() public {
        uint256 id = _jobIn(State.Completed);
        vm.warp(block.timestamp + 60 days);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Completed));
        escrow.abandon(id);
    }

    function test_refund_when_request_is_old() public {
        uint256 id = _jobIn(State.Requested);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.NotRefundable.selector, id));
        escrow.refund(id);
        vm.warp(block.timestamp + escrow.REQUEST_SECONDS());
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.NotRefundable.selector, id));
        escrow.refund(id);
        vm.warp(block.timestamp + 1);
        escrow.refund(id);
        _assertState(id, State.Refunded);
        vm.assertEq(escrow.credit(address(token), requester), PRICE);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Refunded));
        escrow.refund(id);
    }

    function test_refund_at_once_when_revoked() public {
        uint256 id = _jobIn(State.Requested);
        _revokeCode();
        escrow.refund(id);
        vm.assertEq(escrow.credit(address(token), requester), PRICE);
    }

    function test_refund_at_once_when_the_runs_are_gone() public {
        uint256 id = _jobIn(State.Requested);
        _consumeRuns(MAX_RUNS);
        escrow.refund(id);
        vm.assertEq(escrow.credit(address(token), requester), PRICE);
    }

    function test_refund_not_at_once_for_a_job_that_has_its_run() public {
        _consumeRuns(MAX_RUNS);
        vm.warp(block.timestamp + escrow.LEASE_SECONDS() + escrow.RELEASE_GRACE_SECONDS() + 1);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.NotRefundable.selector, 1));
        escrow.refund(1);
        _leaseAs(1, operator, worker);
        _assertState(1, State.Leased);
    }

    function test_refund_waits_for_live_lease_and_frees_the_bond() public {
        uint256 id = _jobIn(State.Leased);
        _revokeCode();
        uint256 until = block.timestamp + escrow.LEASE_SECONDS() + escrow.RELEASE_GRACE_SECONDS();
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.LeaseLive.selector, id, until));
        escrow.refund(id);
        vm.warp(until + 1);
        escrow.refund(id);
        _assertLocked(0);
        // The run stays consumed: nobody can tell whether something was released unrecorded.
        vm.assertEq(escrow.runs(collective, MANIFEST), 1);
    }

    function test_refund_never_after_release() public {
        uint256 id = _jobIn(State.Released);
        _revokeCode();
        vm.warp(block.timestamp + 60 days);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Released));
        escrow.refund(id);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, 77, State.None));
        escrow.refund(77);
    }

    function test_revocation_after_lease_does_not_stop_payment() public {
        uint256 id = _jobIn(State.Leased);
        _revokeCode();
        _release(id);
        _complete(id);
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        _assertState(id, State.Settled);
        (Status status,) = codes.approval(collective, MANIFEST);
        vm.assertTrue(status == Status.Revoked);
    }

    // Bonds and credits

    function test_bond_is_locked_while_leased_and_the_operators() public {
        _jobIn(State.Leased);
        vm.expectRevert(abi.encodeWithSelector(ICustody.BondMissing.selector, 0, 1));
        vm.prank(operator);
        escrow.withdrawBond(worker, address(token), 1);
        vm.expectRevert(abi.encodeWithSelector(ICustody.NotOperator.selector, worker, stranger));
        vm.prank(stranger);
        escrow.withdrawBond(worker, address(token), 0);
        vm.expectRevert(abi.encodeWithSelector(ICustody.UnknownNode.selector, MANIFEST));
        vm.prank(stranger);
        escrow.depositBond(MANIFEST, address(token), 1);
    }

    function test_withdraw_needs_credit() public {
        vm.expectRevert(ICustody.NothingToWithdraw.selector);
        escrow.withdraw(address(token));
    }

    function testFuzz_split_adds_up(uint128 price, uint16 a, uint16 b) public {
        Terms memory terms = _terms();
        terms.price = _bound(price, 1, 1e24);
        terms.contributorsBps = uint16(_bound(a, 0, 10_000));
        terms.nodeBps = uint16(_bound(b, 0, 10_000 - terms.contributorsBps));
        bytes32 manifest = "split";
        vm.prank(collective);
        codes.approve(manifest, terms, "");
        vm.prank(requester);
        uint256 id = escrow.request(collective, manifest, OUTPUT_TO, terms.price);
        _lease(id);
        _release(id);
        _complete(id);
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        uint256 paid = rewards.pool(collective, address(token)).funded + escrow.credit(address(token), operator)
            + escrow.credit(address(token), collective);
        vm.assertEq(paid, terms.price);
        vm.assertEq(token.balanceOf(address(escrow)), BOND + paid - rewards.pool(collective, address(token)).funded);
    }

    function test_tokens_that_call_back_get_nowhere() public {
        CallbackToken evil = new CallbackToken(requester);
        Terms memory terms = _terms();
        (terms.token, terms.bond) = (address(evil), 0);
        vm.prank(collective);
        codes.approve("evil", terms, "");
        vm.prank(requester);
        evil.approve(address(escrow), type(uint256).max);
        // Without the guard this call would go through at any moment.
        evil.arm(address(escrow), abi.encodeCall(ICustody.depositBond, (worker, address(evil), 0)));
        vm.prank(requester);
        uint256 id = escrow.request(collective, "evil", OUTPUT_TO, PRICE);
        _lease(id);
        _release(id);
        _complete(id);
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        vm.prank(operator);
        escrow.withdraw(address(evil));
        vm.assertTrue(evil.attempts() == 3);
        vm.assertEq(evil.successes(), uint256(0));
    }

    function _assertAbandoned(uint256 id) internal view {
        _assertState(id, State.Abandoned);
        vm.assertEq(rewards.pool(collective, address(token)).funded, CONTRIBUTORS);
        vm.assertEq(escrow.credit(address(token), requester), NODE);
        vm.assertEq(escrow.credit(address(token), collective), TREASURY + BOND);
        vm.assertEq(escrow.credit(address(token), operator), uint256(0));
        (uint256 total, uint256 locked) = escrow.bond(worker, address(token));
        vm.assertEq(total, uint256(0));
        vm.assertEq(locked, uint256(0));
    }
}
