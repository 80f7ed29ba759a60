// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ICodeRegistry, Status, Terms} from "../src/interfaces/ICodeRegistry.sol";
import {BaseTest} from "./BaseTest.sol";
import {vm} from "./Vm.sol";

contract CodeRegistryTest is BaseTest {
    function test_approve_stores_terms_and_tells() public {
        Terms memory terms = _terms();
        vm.expectEmit();
        emit ICodeRegistry.CodeApproved(collective, MANIFEST, terms, "ipfs://manifest");
        _approve();
        (Status status, Terms memory stored) = codes.approval(collective, MANIFEST);
        vm.assertTrue(status == Status.Approved);
        vm.assertEq(keccak256(abi.encode(stored)), keccak256(abi.encode(terms)));
        vm.assertTrue(codes.isActive(collective, MANIFEST));
    }

    function testFuzz_approve_counts_for_the_sender_only(address other, bytes32 manifest) public {
        vm.assume(other != collective);
        vm.prank(collective);
        codes.approve(manifest, _terms(), "");
        vm.assertFalse(codes.isActive(other, manifest));
        vm.assertFalse(codes.isActive(collective, ~manifest));
    }

    function test_approve_refuses_bad_terms() public {
        Terms memory terms = _terms();
        terms.expiry = uint64(block.timestamp);
        _refuse(terms, abi.encodeWithSelector(ICodeRegistry.AlreadyExpired.selector, terms.expiry));
        terms = _terms();
        terms.maxRuns = 0;
        _refuse(terms, abi.encodeWithSelector(ICodeRegistry.NoRuns.selector));
        terms = _terms();
        (terms.contributorsBps, terms.nodeBps) = (10_000, 1);
        _refuse(terms, abi.encodeWithSelector(ICodeRegistry.SplitExceedsWhole.selector, 10_001));
        (terms.contributorsBps, terms.nodeBps) = (type(uint16).max, type(uint16).max);
        _refuse(terms, abi.encodeWithSelector(ICodeRegistry.SplitExceedsWhole.selector, 131_070));
        terms = _terms();
        (terms.token, terms.bond) = (address(0), 0);
        _refuse(terms, abi.encodeWithSelector(ICodeRegistry.TokenMissing.selector));
        (terms.price, terms.bond) = (0, 1);
        _refuse(terms, abi.encodeWithSelector(ICodeRegistry.TokenMissing.selector));
    }

    function test_approve_refuses_half_a_hand_off() public {
        uint32 longest = codes.MAX_RETURN_SECONDS();
        _refuseHandOff(worker, 0);
        _refuseHandOff(0, 1);
        _refuseHandOff(worker, longest + 1);
        Terms memory terms = _terms();
        (terms.node, terms.returnSeconds) = (worker, longest);
        vm.prank(collective);
        codes.approve(MANIFEST, terms, "");
    }

    function _refuseHandOff(bytes32 node, uint32 returnSeconds) private {
        Terms memory terms = _terms();
        (terms.node, terms.returnSeconds) = (node, returnSeconds);
        _refuse(terms, abi.encodeWithSelector(ICodeRegistry.HandOffIncomplete.selector, node, returnSeconds));
    }

    function test_approve_free_of_charge_needs_no_token() public {
        Terms memory terms = _terms();
        (terms.token, terms.price, terms.bond) = (address(0), 0, 0);
        vm.prank(collective);
        codes.approve(MANIFEST, terms, "");
        vm.assertTrue(codes.isActive(collective, MANIFEST));
    }

    function test_approve_once() public {
        _approve();
        _refuse(_terms(), abi.encodeWithSelector(ICodeRegistry.AlreadyDecided.selector, MANIFEST, Status.Approved));
    }

    function test_revoke_is_for_ever() public {
        _approve();
        vm.expectEmit();
        emit ICodeRegistry.CodeRevoked(collective, MANIFEST, collective);
        vm.prank(collective);
        codes.revoke(MANIFEST);
        vm.assertFalse(codes.isActive(collective, MANIFEST));
        _refuse(_terms(), abi.encodeWithSelector(ICodeRegistry.AlreadyDecided.selector, MANIFEST, Status.Revoked));
        vm.expectRevert(abi.encodeWithSelector(ICodeRegistry.NotApproved.selector, MANIFEST));
        vm.prank(collective);
        codes.revoke(MANIFEST);
    }

    function test_revoke_by_another_has_no_effect() public {
        _approve();
        vm.expectRevert(abi.encodeWithSelector(ICodeRegistry.NotApproved.selector, MANIFEST));
        vm.prank(stranger);
        codes.revoke(MANIFEST);
        vm.assertTrue(codes.isActive(collective, MANIFEST));
    }

    function test_guardian_revokes_and_nobody_else() public {
        _approve();
        // Nobody is the guardian of a collective without one.
        vm.expectRevert(abi.encodeWithSelector(ICodeRegistry.NotGuardian.selector, stranger));
        vm.prank(stranger);
        codes.guardianRevoke(collective, MANIFEST);
        vm.prank(collective);
        codes.setGuardian(guardian);
        vm.expectRevert(abi.encodeWithSelector(ICodeRegistry.NotGuardian.selector, stranger));
        vm.prank(stranger);
        codes.guardianRevoke(collective, MANIFEST);
        vm.expectRevert(abi.encodeWithSelector(ICodeRegistry.NotApproved.selector, OUTPUT_TO));
        vm.prank(guardian);
        codes.guardianRevoke(collective, OUTPUT_TO);
        vm.prank(guardian);
        codes.guardianRevoke(collective, MANIFEST);
        vm.assertFalse(codes.isActive(collective, MANIFEST));
    }

    function testFuzz_expires_at_its_second(uint64 expiry) public {
        Terms memory terms = _terms();
        terms.expiry = uint64(_bound(expiry, block.timestamp + 1, type(uint64).max));
        vm.prank(collective);
        codes.approve(MANIFEST, terms, "");
        vm.warp(terms.expiry - 1);
        vm.assertTrue(codes.isActive(collective, MANIFEST));
        vm.warp(terms.expiry);
        vm.assertFalse(codes.isActive(collective, MANIFEST));
    }

    function _refuse(Terms memory terms, bytes memory why) internal {
        vm.expectRevert(why);
        vm.prank(collective);
        codes.approve(MANIFEST, terms, "");
    }
}
