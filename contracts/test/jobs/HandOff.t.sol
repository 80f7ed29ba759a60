// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {Terms} from "../../src/interfaces/ICodeRegistry.sol";
import {IJobEscrow, Job, Receipt, State} from "../../src/interfaces/IJobEscrow.sol";
import {vm} from "../Vm.sol";
import {JobTest} from "./JobTest.sol";

/// @dev Jobs whose vote hands the data to one heavy node.
contract HandOffTest is JobTest {
    bytes32 internal constant HANDED = keccak256("manifest of a hand-off");
    uint32 internal constant RETURN_SECONDS = 10 days;

    bytes32 internal heavy;
    uint256 internal heavyKey = _key("heavy signer");

    function setUp() public override {
        super.setUp();
        heavy = _register("heavy", vm.addr(heavyKey), nodes.ROLE_HEAVY());
        Terms memory terms = _terms();
        (terms.node, terms.returnSeconds) = (heavy, RETURN_SECONDS);
        vm.prank(collective);
        codes.approve(HANDED, terms, "");
        vm.prank(operator);
        escrow.depositBond(heavy, address(token), BOND);
    }

    function test_only_the_named_node_takes_it_and_only_once_it_is_accepted() public {
        uint256 id = _requested();
        _refuseLease(id, worker, abi.encodeWithSelector(IJobEscrow.NotHandedTo.selector, worker, heavy));
        _refuseLease(id, heavy, abi.encodeWithSelector(IJobEscrow.NotAccepted.selector, collective, heavy));
        _accept(heavy);
        _leaseAs(id, operator, heavy);
        Job memory job = escrow.job(id);
        vm.assertTrue(job.state == State.Leased);
        vm.assertEq(job.node, heavy);
        vm.assertEq(job.signer, vm.addr(heavyKey));
        (, uint256 locked) = escrow.bond(heavy, address(token));
        vm.assertEq(locked, BOND);
    }

    function test_a_heavy_node_takes_nothing_that_does_not_name_it() public {
        _accept(heavy);
        uint256 id = _jobIn(State.Requested);
        _refuseLease(id, heavy, abi.encodeWithSelector(IJobEscrow.NotCompute.selector, heavy));
    }

    function test_the_named_node_needs_its_role() public {
        Terms memory terms = _terms();
        (terms.node, terms.returnSeconds) = (worker, RETURN_SECONDS);
        vm.prank(collective);
        codes.approve("to a compute node", terms, "");
        vm.prank(requester);
        uint256 id = escrow.request(collective, "to a compute node", OUTPUT_TO, PRICE);
        _refuseLease(id, worker, abi.encodeWithSelector(IJobEscrow.NotHeavy.selector, worker));
    }

    function test_the_vote_says_when_the_receipt_is_due_and_who_is_late_loses_the_bond() public {
        uint256 id = _released();
        uint256 deadline = block.timestamp + RETURN_SECONDS;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.TooEarly.selector, id, deadline));
        escrow.abandon(id);
        vm.warp(deadline + 1);
        Receipt memory receipt = _receipt(id);
        bytes memory signature = _sign(heavyKey, escrow.receiptDigest(receipt));
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.TooLate.selector, id, deadline));
        escrow.complete(id, receipt, signature);

        escrow.abandon(id);
        (uint256 total, uint256 locked) = escrow.bond(heavy, address(token));
        vm.assertEq(total, 0);
        vm.assertEq(locked, 0);
        vm.assertEq(escrow.credit(address(token), collective), TREASURY + BOND);
        vm.assertEq(escrow.credit(address(token), requester), NODE);
    }

    function test_who_returns_in_time_is_paid_and_has_the_bond_back() public {
        uint256 id = _released();
        vm.warp(block.timestamp + RETURN_SECONDS);
        Receipt memory receipt = _receipt(id);
        escrow.complete(id, receipt, _sign(heavyKey, escrow.receiptDigest(receipt)));
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        (uint256 total, uint256 locked) = escrow.bond(heavy, address(token));
        vm.assertEq(total, BOND);
        vm.assertEq(locked, 0);
        vm.assertEq(escrow.credit(address(token), operator), NODE);
    }

    function _requested() private returns (uint256) {
        vm.prank(requester);
        return escrow.request(collective, HANDED, OUTPUT_TO, PRICE);
    }

    function _released() private returns (uint256 id) {
        _accept(heavy);
        id = _requested();
        _leaseAs(id, operator, heavy);
        _release(id);
    }

    function _refuseLease(uint256 id, bytes32 node, bytes memory why) private {
        vm.expectRevert(why);
        _leaseAs(id, operator, node);
    }
}
