// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {Terms} from "../../src/interfaces/ICodeRegistry.sol";
import {ICustody} from "../../src/interfaces/ICustody.sol";
import {IJobEscrow, Job, State} from "../../src/interfaces/IJobEscrow.sol";
import {NodeKeys} from "../../src/interfaces/INodeRegistry.sol";
import {vm} from "../Vm.sol";
import {FeeToken} from "../mocks/Tokens.sol";
import {JobTest} from "./JobTest.sol";

contract RequestTest is JobTest {
    // request

    function test_request_records_and_pulls_the_price_only() public {
        uint256 before = token.balanceOf(requester);
        vm.expectEmit();
        emit IJobEscrow.JobRequested(1, collective, MANIFEST, requester);
        vm.prank(requester);
        uint256 id = escrow.request(collective, MANIFEST, OUTPUT_TO, PRICE * 2);
        vm.assertEq(id, 1);
        vm.assertEq(escrow.jobs(), 1);
        vm.assertEq(token.balanceOf(requester), before - PRICE);
        Job memory job = escrow.job(id);
        vm.assertTrue(job.state == State.Requested);
        vm.assertEq(job.collective, collective);
        vm.assertEq(job.manifest, MANIFEST);
        vm.assertEq(job.requester, requester);
        vm.assertEq(job.requestedAt, block.timestamp);
    }

    function test_request_refusals() public {
        bytes memory inactive = abi.encodeWithSelector(IJobEscrow.NotActive.selector, collective, OUTPUT_TO);
        vm.prank(requester);
        vm.expectRevert(inactive);
        escrow.request(collective, OUTPUT_TO, OUTPUT_TO, PRICE);
        vm.prank(requester);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.RecipientMismatch.selector, OUTPUT_TO, MANIFEST));
        escrow.request(collective, MANIFEST, MANIFEST, PRICE);
        vm.prank(requester);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.Underpaid.selector, PRICE, PRICE - 1));
        escrow.request(collective, MANIFEST, OUTPUT_TO, PRICE - 1);
        _revokeCode();
        _refuseRequest(abi.encodeWithSelector(IJobEscrow.NotActive.selector, collective, MANIFEST));
    }

    function test_request_refused_when_expired() public {
        vm.warp(_terms().expiry);
        _refuseRequest(abi.encodeWithSelector(IJobEscrow.NotActive.selector, collective, MANIFEST));
    }

    function test_request_refused_when_runs_are_consumed() public {
        _consumeRuns(MAX_RUNS);
        _refuseRequest(abi.encodeWithSelector(IJobEscrow.RunsExhausted.selector, MAX_RUNS));
    }

    function test_request_refuses_token_that_takes_a_fee() public {
        FeeToken fee = new FeeToken(requester);
        Terms memory terms = _terms();
        terms.token = address(fee);
        vm.prank(collective);
        codes.approve("fee", terms, "");
        vm.prank(requester);
        fee.approve(address(escrow), PRICE);
        vm.expectRevert(abi.encodeWithSelector(ICustody.TransferShort.selector, fee, PRICE, PRICE - 1));
        vm.prank(requester);
        escrow.request(collective, "fee", OUTPUT_TO, PRICE);
    }

    function test_free_job_needs_no_token() public {
        Terms memory terms = _terms();
        (terms.token, terms.price, terms.bond) = (address(0), 0, 0);
        vm.prank(collective);
        codes.approve("free", terms, "");
        vm.prank(stranger);
        uint256 id = escrow.request(collective, "free", OUTPUT_TO, 0);
        _lease(id);
        _release(id);
        _complete(id);
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        _assertState(id, State.Settled);
    }

    // lease

    function test_lease_fixes_everything() public {
        uint256 id = _jobIn(State.Requested);
        uint64 deny = uint64(block.number - 1);
        bytes32 keysHash = nodes.keysHash(worker);
        vm.expectEmit();
        emit IJobEscrow.Leased(id, 1, worker, keysHash, deny - 64, deny);
        _lease(id);
        Job memory job = escrow.job(id);
        vm.assertTrue(job.state == State.Leased);
        vm.assertEq(job.attempt, 1);
        vm.assertEq(job.node, worker);
        vm.assertEq(job.keysHash, keysHash);
        vm.assertEq(job.signer, vm.addr(workerKey));
        vm.assertEq(job.epoch, 1);
        vm.assertEq(job.leaseDeadline, block.timestamp + escrow.LEASE_SECONDS());
        vm.assertEq(job.allowBlock, deny - 64);
        vm.assertEq(job.allowHash, blockhash(deny - 64));
        vm.assertEq(job.denyBlock, deny);
        vm.assertEq(job.denyHash, blockhash(deny));
        vm.assertEq(escrow.runs(collective, MANIFEST), 1);
        _assertLocked(BOND);
    }

    function test_lease_by_signer_or_operator_only() public {
        uint256 id = _jobIn(State.Requested);
        _refuseLease(id, stranger, worker, abi.encodeWithSelector(IJobEscrow.NotNode.selector, worker, stranger));
        _leaseAs(id, operator, worker);
        _assertState(id, State.Leased);
    }

    function test_lease_refuses_node_that_is_not_accepted() public {
        uint256 id = _jobIn(State.Requested);
        bytes32 other = _register("other", vm.addr(workerKey), 1);
        bytes memory why = abi.encodeWithSelector(IJobEscrow.NotAccepted.selector, collective, other);
        _refuseLease(id, operator, other, why);
        NodeKeys memory keys = _keys(stranger, 1);
        vm.prank(operator);
        nodes.rotate(worker, keys, RECIPIENT, ENDPOINT);
        why = abi.encodeWithSelector(IJobEscrow.NotAccepted.selector, collective, worker);
        _refuseLease(id, operator, worker, why);
    }

    function test_lease_refuses_node_without_compute_role() public {
        uint256 id = _jobIn(State.Requested);
        _accept(holders[0]);
        _refuseLease(id, operator, holders[0], abi.encodeWithSelector(IJobEscrow.NotCompute.selector, holders[0]));
    }

    function test_lease_refuses_revoked_and_expired_approval() public {
        Terms memory terms = _terms();
        terms.expiry = uint64(block.timestamp + 1 hours);
        vm.prank(collective);
        codes.approve("short", terms, "");
        vm.prank(requester);
        uint256 id = escrow.request(collective, "short", OUTPUT_TO, PRICE);
        vm.warp(terms.expiry);
        bytes memory why = abi.encodeWithSelector(IJobEscrow.NotActive.selector, collective, bytes32("short"));
        _refuseLease(id, operator, worker, why);
        id = _jobIn(State.Requested);
        _revokeCode();
        why = abi.encodeWithSelector(IJobEscrow.NotActive.selector, collective, MANIFEST);
        _refuseLease(id, operator, worker, why);
    }

    function test_lease_refuses_second_lease_while_one_is_live() public {
        uint256 id = _jobIn(State.Leased);
        uint256 until = block.timestamp + escrow.LEASE_SECONDS() + escrow.RELEASE_GRACE_SECONDS();
        vm.warp(until);
        _refuseLease(id, operator, worker, abi.encodeWithSelector(IJobEscrow.LeaseLive.selector, id, until));
        vm.warp(until + 1);
        _leaseAs(id, operator, worker);
        Job memory job = escrow.job(id);
        vm.assertEq(job.attempt, 2);
        // Neither a second run nor a second bond.
        vm.assertEq(escrow.runs(collective, MANIFEST), 1);
        _assertLocked(BOND);
    }

    function test_lease_refuses_job_in_any_other_state() public {
        _refuseLease(9, operator, worker, abi.encodeWithSelector(IJobEscrow.WrongState.selector, 9, State.None));
        uint256 id = _jobIn(State.Released);
        _refuseLease(id, operator, worker, abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Released));
    }

    function test_lease_refuses_a_run_too_many() public {
        uint256 id = _jobIn(State.Requested);
        _consumeRuns(MAX_RUNS);
        _refuseLease(id, operator, worker, abi.encodeWithSelector(IJobEscrow.RunsExhausted.selector, MAX_RUNS));
    }

    function test_lease_refuses_missing_bond() public {
        uint256 id = _jobIn(State.Requested);
        vm.prank(operator);
        escrow.withdrawBond(worker, address(token), 1);
        _refuseLease(id, operator, worker, abi.encodeWithSelector(ICustody.BondMissing.selector, BOND - 1, BOND));
    }

    function test_lease_refuses_without_committee() public {
        vm.prank(stranger);
        codes.approve(MANIFEST, _terms(), "");
        bytes32 keysHash = nodes.keysHash(worker);
        vm.prank(stranger);
        nodes.accept(worker, keysHash);
        vm.prank(requester);
        uint256 id = escrow.request(stranger, MANIFEST, OUTPUT_TO, PRICE);
        _refuseLease(id, operator, worker, abi.encodeWithSelector(IJobEscrow.NoCommittee.selector, stranger));
    }

    function test_lease_refuses_old_request() public {
        uint256 id = _jobIn(State.Requested);
        uint256 deadline = block.timestamp + escrow.REQUEST_SECONDS();
        vm.warp(deadline + 1);
        _refuseLease(id, operator, worker, abi.encodeWithSelector(IJobEscrow.RequestExpired.selector, id, deadline));
        vm.warp(deadline);
        _leaseAs(id, operator, worker);
    }

    function test_lease_checks_both_blocks() public {
        uint256 id = _jobIn(State.Requested);
        uint64 tip = uint64(block.number);
        bytes32 last = blockhash(tip - 1);
        bytes32 older = blockhash(tip - 64);
        bytes32 wrong = keccak256("wrong");
        _refuseBlocks(id, tip - 1, last, tip, wrong, IJobEscrow.BlocksOutOfOrder.selector);
        _refuseBlocks(id, tip - 1, last, tip - 64, older, IJobEscrow.BlocksOutOfOrder.selector);
        _refuseBlocks(id, tip - 64, older, tip - 1, wrong, IJobEscrow.BlockHashMismatch.selector);
        _refuseBlocks(id, tip - 64, wrong, tip - 1, last, IJobEscrow.BlockHashMismatch.selector);
        _refuseBlocks(id, tip - 300, wrong, tip - 257, wrong, IJobEscrow.DenyBlockForgotten.selector);
        // The same block may serve as both; a forgotten allow block is the holders' business.
        vm.prank(operator);
        escrow.lease(id, worker, tip - 1, last, tip - 1, last);
        id = _jobIn(State.Requested);
        vm.prank(operator);
        escrow.depositBond(worker, address(token), BOND);
        vm.prank(operator);
        escrow.lease(id, worker, tip - 9_000, wrong, tip - 1, last);
    }

    // Helpers

    function _refuseLease(uint256 id, address sender, bytes32 node, bytes memory why) internal {
        vm.expectRevert(why);
        _leaseAs(id, sender, node);
    }

    function _refuseBlocks(uint256 id, uint64 allow, bytes32 allowHash, uint64 deny, bytes32 denyHash, bytes4 selector)
        internal
    {
        bytes memory why;
        if (selector == IJobEscrow.BlocksOutOfOrder.selector) why = abi.encodeWithSelector(selector, allow, deny);
        if (selector == IJobEscrow.DenyBlockForgotten.selector) why = abi.encodeWithSelector(selector, deny);
        if (selector == IJobEscrow.BlockHashMismatch.selector) {
            why = denyHash != blockhash(deny)
                ? abi.encodeWithSelector(selector, deny, blockhash(deny), denyHash)
                : abi.encodeWithSelector(selector, allow, blockhash(allow), allowHash);
        }
        vm.expectRevert(why);
        vm.prank(operator);
        escrow.lease(id, worker, allow, allowHash, deny, denyHash);
    }

    function _refuseRequest(bytes memory why) internal {
        vm.expectRevert(why);
        vm.prank(requester);
        escrow.request(collective, MANIFEST, OUTPUT_TO, PRICE);
    }
}
