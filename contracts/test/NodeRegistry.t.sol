// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Committee, INodeRegistry, NodeKeys} from "../src/interfaces/INodeRegistry.sol";
import {BaseTest} from "./BaseTest.sol";
import {vm} from "./Vm.sol";

contract NodeRegistryTest is BaseTest {
    bytes32 internal constant DIGEST = keccak256("digest");

    // Operator

    function test_register_derives_id_and_hash() public view {
        vm.assertEq(worker, keccak256(abi.encode(operator, bytes32("worker"))));
        (address who, NodeKeys memory keys, bool retired) = nodes.node(worker);
        vm.assertEq(who, operator);
        vm.assertFalse(retired);
        vm.assertEq(keccak256(abi.encode(keys)), keccak256(abi.encode(_keys(vm.addr(workerKey), 1))));
        vm.assertEq(nodes.keysHash(worker), keccak256(abi.encode(worker, operator, keys)));
    }

    function test_register_refuses_taken_id_missing_signer_and_wrong_string() public {
        NodeKeys memory keys = _keys(vm.addr(workerKey), 1);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NodeExists.selector, worker));
        nodes.register("worker", keys, RECIPIENT, ENDPOINT);
        vm.expectRevert(
            abi.encodeWithSelector(
                INodeRegistry.RecipientDigestMismatch.selector, keys.recipient, sha256("age1another")
            )
        );
        nodes.register("new", keys, "age1another", ENDPOINT);
        keys.signer = address(0);
        vm.expectRevert(INodeRegistry.SignerMissing.selector);
        nodes.register("new", keys, RECIPIENT, ENDPOINT);
    }

    function testFuzz_a_keyholder_needs_a_transport_key(uint8 roles) public {
        NodeKeys memory keys = _keys(stranger, roles);
        keys.transport = 0;
        bool holds = roles & nodes.ROLE_KEYHOLDER() != 0;
        bytes memory why = abi.encodeWithSelector(INodeRegistry.TransportMissing.selector);
        if (holds) vm.expectRevert(why);
        nodes.register("new", keys, RECIPIENT, ENDPOINT);
        if (holds) vm.expectRevert(why);
        vm.prank(operator);
        nodes.rotate(worker, keys, RECIPIENT, ENDPOINT);
    }

    function test_rotate_ends_acceptance() public {
        _accept(worker);
        vm.assertTrue(nodes.isAccepted(collective, worker));
        NodeKeys memory keys = _keys(stranger, 1);
        vm.prank(operator);
        nodes.rotate(worker, keys, RECIPIENT, ENDPOINT);
        vm.assertFalse(nodes.isAccepted(collective, worker));
        _accept(worker);
        vm.assertTrue(nodes.isAccepted(collective, worker));
    }

    function testFuzz_every_key_field_is_in_the_hash(uint8 field, uint256 change) public {
        _accept(worker);
        NodeKeys memory keys = _keys(vm.addr(workerKey), 1);
        uint256 which = field % 4;
        vm.assume(change != 0);
        if (which == 0) keys.signer = address(uint160(keys.signer) ^ (uint160(change) | 1));
        if (which == 1) keys.roles ^= uint8(change) | 1;
        if (which == 2) keys.measurement ^= bytes32(change);
        if (which == 3) keys.transport ^= bytes32(change);
        vm.assume(keys.signer != address(0) && keys.transport != 0);
        vm.prank(operator);
        nodes.rotate(worker, keys, RECIPIENT, ENDPOINT);
        vm.assertFalse(nodes.isAccepted(collective, worker));
    }

    function test_rotate_and_retire_by_operator_only() public {
        NodeKeys memory keys = _keys(stranger, 1);
        bytes memory why = abi.encodeWithSelector(INodeRegistry.NotOperator.selector, worker, stranger);
        vm.expectRevert(why);
        vm.prank(stranger);
        nodes.rotate(worker, keys, RECIPIENT, ENDPOINT);
        vm.expectRevert(why);
        vm.prank(stranger);
        nodes.retire(worker);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownNode.selector, DIGEST));
        vm.prank(operator);
        nodes.retire(DIGEST);
    }

    function test_retire_is_for_ever() public {
        _accept(worker);
        vm.prank(operator);
        nodes.retire(worker);
        vm.assertFalse(nodes.isAccepted(collective, worker));
        bytes memory why = abi.encodeWithSelector(INodeRegistry.Retired.selector, worker);
        NodeKeys memory keys = _keys(vm.addr(workerKey), 1);
        vm.expectRevert(why);
        vm.prank(operator);
        nodes.rotate(worker, keys, RECIPIENT, ENDPOINT);
        bytes32 hash = nodes.keysHash(worker);
        vm.expectRevert(why);
        vm.prank(collective);
        nodes.accept(worker, hash);
    }

    // Acceptance

    function test_accept_refuses_other_keys_and_unknown_node() public {
        bytes32 hash = nodes.keysHash(worker);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.KeysChanged.selector, worker, DIGEST, hash));
        vm.prank(collective);
        nodes.accept(worker, DIGEST);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownNode.selector, DIGEST));
        vm.prank(collective);
        nodes.accept(DIGEST, hash);
    }

    function test_reject_and_namespaces() public {
        _accept(worker);
        vm.prank(stranger);
        nodes.reject(worker);
        vm.assertTrue(nodes.isAccepted(collective, worker));
        vm.assertFalse(nodes.isAccepted(stranger, worker));
        vm.prank(collective);
        nodes.reject(worker);
        vm.assertFalse(nodes.isAccepted(collective, worker));
    }

    function test_unknown_node_is_never_accepted() public view {
        vm.assertFalse(nodes.isAccepted(collective, DIGEST));
    }

    // Committee

    function test_committee_published_accepted_and_read() public {
        Committee memory c = _committee(5, 2);
        bytes32 hash = _publish(c);
        vm.assertEq(hash, nodes.hashCommittee(collective, c));
        vm.assertEq(nodes.currentEpoch(collective), uint256(0));
        vm.expectEmit();
        emit INodeRegistry.CommitteeAccepted(collective, hash, 5);
        vm.prank(collective);
        nodes.acceptCommittee(hash);
        (Committee memory current, address[] memory signers) = nodes.committee(collective);
        vm.assertEq(current.epoch, 5);
        vm.assertEq(keccak256(abi.encode(current)), keccak256(abi.encode(c)));
        vm.assertEq(signers.length, holders.length);
        for (uint256 i = 0; i < signers.length; ++i) {
            vm.assertEq(signers[i], vm.addr(holderKeys[i]));
        }
        vm.assertEq(nodes.committeeHash(collective, 5), hash);
    }

    function test_publish_refuses_thresholds_out_of_range() public {
        _refuseThreshold(0, holders);
        _refuseThreshold(4, holders);
        _refuseThreshold(1, new bytes32[](0));
        _refuseThreshold(1, new bytes32[](nodes.MAX_MEMBERS() + 1));
    }

    function test_publish_refuses_bad_members() public {
        Committee memory c = _committee(1, 2);
        bytes32 first = holders[0];
        c.members[0] = worker;
        _refusePublish(c, abi.encodeWithSelector(INodeRegistry.NotKeyholder.selector, worker));
        c.members[0] = DIGEST;
        _refusePublish(c, abi.encodeWithSelector(INodeRegistry.UnknownNode.selector, DIGEST));
        c.members[0] = first;
        c.members[1] = first;
        _refusePublish(c, abi.encodeWithSelector(INodeRegistry.DuplicateSigner.selector, vm.addr(holderKeys[0])));
        vm.prank(operator);
        nodes.retire(first);
        _refusePublish(c, abi.encodeWithSelector(INodeRegistry.Retired.selector, first));
    }

    function test_publish_refuses_two_nodes_with_one_signer() public {
        Committee memory c = _committee(1, 2);
        c.members[1] = _register("twin", vm.addr(holderKeys[0]), 2);
        _refusePublish(c, abi.encodeWithSelector(INodeRegistry.DuplicateSigner.selector, vm.addr(holderKeys[0])));
    }

    function test_publish_refuses_missing_and_foreign_signatures() public {
        Committee memory c = _committee(1, 2);
        bytes[] memory signatures = _memberSignatures(c);
        bytes32 other = nodes.committeeDigest(stranger, c);
        signatures[2] = _sign(holderKeys[2], other);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.MemberSignatureInvalid.selector, holders[2]));
        nodes.publishCommittee(collective, c, RECIPIENT, signatures);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.SignatureCount.selector, 2, 3));
        nodes.publishCommittee(collective, c, RECIPIENT, new bytes[](2));
        vm.expectRevert(
            abi.encodeWithSelector(INodeRegistry.RecipientDigestMismatch.selector, c.recipient, sha256("age1another"))
        );
        nodes.publishCommittee(collective, c, "age1another", signatures);
    }

    function testFuzz_every_committee_field_is_in_the_hash(uint8 field, uint256 change) public view {
        Committee memory c = _committee(1, 2);
        bytes32 hash = nodes.hashCommittee(collective, c);
        vm.assume(change != 0);
        uint256 which = field % 6;
        if (which == 0) c.epoch ^= uint64(change) | 1;
        if (which == 1) c.threshold ^= uint16(change) | 1;
        if (which == 2) c.senderProof = !c.senderProof;
        if (which == 3) c.recipient ^= bytes32(change);
        if (which == 4) c.certificate ^= bytes32(change);
        if (which == 5) c.members[change % c.members.length] ^= bytes32(change);
        vm.assertTrue(nodes.hashCommittee(collective, c) != hash);
    }

    function test_publish_once() public {
        Committee memory c = _committee(1, 2);
        bytes32 hash = _publish(c);
        _refusePublish(c, abi.encodeWithSelector(INodeRegistry.CommitteeExists.selector, hash));
    }

    function test_accept_committee_refuses_unknown_foreign_and_old() public {
        bytes32 hash = _publish(_committee(2, 2));
        bytes memory unknown = abi.encodeWithSelector(INodeRegistry.UnknownCommittee.selector, hash);
        vm.expectRevert(unknown);
        vm.prank(stranger);
        nodes.acceptCommittee(hash);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownCommittee.selector, DIGEST));
        vm.prank(collective);
        nodes.acceptCommittee(DIGEST);
        vm.prank(collective);
        nodes.acceptCommittee(hash);
        bytes32 again = _publish(_committee(2, 1));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.EpochNotGrowing.selector, 2, 2));
        vm.prank(collective);
        nodes.acceptCommittee(again);
        // Zero stands for none.
        bytes32 zero = _publish(_committee(0, 2));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.EpochNotGrowing.selector, 2, 0));
        vm.prank(collective);
        nodes.acceptCommittee(zero);
    }

    function test_accept_committee_refuses_member_that_changed_since() public {
        bytes32 hash = _publish(_committee(1, 2));
        NodeKeys memory keys = _keys(stranger, 2);
        vm.prank(operator);
        nodes.rotate(holders[1], keys, RECIPIENT, ENDPOINT);
        vm.expectRevert(
            abi.encodeWithSelector(
                INodeRegistry.KeysChanged.selector,
                holders[1],
                bytes32(uint256(uint160(vm.addr(holderKeys[1])))),
                bytes32(uint256(uint160(stranger)))
            )
        );
        vm.prank(collective);
        nodes.acceptCommittee(hash);
        vm.prank(operator);
        nodes.retire(holders[1]);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.Retired.selector, holders[1]));
        vm.prank(collective);
        nodes.acceptCommittee(hash);
    }

    function test_convened_is_the_newest_plan_of_the_sender_alone() public {
        vm.assertEq(nodes.convened(collective), bytes32(0));
        vm.expectEmit();
        emit INodeRegistry.Convened(collective, DIGEST);
        vm.prank(collective);
        nodes.convene(DIGEST);
        vm.prank(stranger);
        nodes.convene(MANIFEST);
        vm.assertEq(nodes.convened(collective), DIGEST);
        vm.prank(collective);
        nodes.convene(MANIFEST);
        vm.assertEq(nodes.convened(collective), MANIFEST);
        vm.prank(collective);
        nodes.convene(0);
        vm.assertEq(nodes.convened(collective), bytes32(0));
    }

    // Quorum

    function testFuzz_quorum_of_any_subset(uint8 subset) public {
        _install(1, 2);
        uint256[] memory keys = new uint256[](3);
        uint256 count;
        for (uint256 i = 0; i < 3; ++i) {
            if ((subset >> i) & 1 == 1) keys[count++] = holderKeys[i];
        }
        assembly {
            mstore(keys, count)
        }
        bytes[] memory signatures = _signAscending(DIGEST, keys);
        if (count < 2) vm.expectRevert(abi.encodeWithSelector(INodeRegistry.QuorumMissing.selector, count, 2));
        nodes.checkQuorum(collective, 1, DIGEST, signatures);
    }

    function test_quorum_refuses_order_repetition_and_strangers() public {
        _install(1, 2);
        bytes[] memory good = _quorum(DIGEST, 2);
        address low = ECDSA.recover(DIGEST, good[0]);
        address high = ECDSA.recover(DIGEST, good[1]);
        bytes[] memory bad = new bytes[](2);
        (bad[0], bad[1]) = (good[1], good[0]);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.SignersNotAscending.selector, high, low));
        nodes.checkQuorum(collective, 1, DIGEST, bad);
        (bad[0], bad[1]) = (good[0], good[0]);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.SignersNotAscending.selector, low, low));
        nodes.checkQuorum(collective, 1, DIGEST, bad);
        uint256[] memory keys = new uint256[](2);
        (keys[0], keys[1]) = (holderKeys[0], workerKey);
        bad = _signAscending(DIGEST, keys);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotMember.selector, vm.addr(workerKey)));
        nodes.checkQuorum(collective, 1, DIGEST, bad);
        // Over another digest the same signatures recover to strangers.
        address unknown = ECDSA.recover(MANIFEST, good[0]);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.NotMember.selector, unknown));
        nodes.checkQuorum(collective, 1, MANIFEST, good);
    }

    function test_quorum_refuses_malleable_twin() public {
        _install(1, 2);
        bytes[] memory signatures = _quorum(DIGEST, 2);
        (uint8 v, bytes32 r, bytes32 s) = ECDSA.parse(signatures[0]);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes32 high = bytes32(order - uint256(s));
        signatures[0] = abi.encodePacked(r, high, v ^ 7);
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, high));
        nodes.checkQuorum(collective, 1, DIGEST, signatures);
    }

    function test_quorum_of_past_epoch_holds_and_of_no_epoch_does_not() public {
        _install(1, 2);
        _install(7, 3);
        nodes.checkQuorum(collective, 1, DIGEST, _quorum(DIGEST, 2));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.QuorumMissing.selector, 2, 3));
        nodes.checkQuorum(collective, 7, DIGEST, _quorum(DIGEST, 2));
        nodes.checkQuorum(collective, 7, DIGEST, _quorum(DIGEST, 3));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownEpoch.selector, collective, 2));
        nodes.checkQuorum(collective, 2, DIGEST, _quorum(DIGEST, 3));
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownEpoch.selector, stranger, 1));
        nodes.checkQuorum(stranger, 1, DIGEST, _quorum(DIGEST, 3));
    }

    function test_quorum_signers_are_frozen() public {
        _install(1, 2);
        NodeKeys memory keys = _keys(stranger, 2);
        vm.prank(operator);
        nodes.rotate(holders[0], keys, RECIPIENT, ENDPOINT);
        nodes.checkQuorum(collective, 1, DIGEST, _quorum(DIGEST, 2));
    }

    function _refuseThreshold(uint16 threshold, bytes32[] memory members) internal {
        Committee memory c = _committee(1, threshold);
        c.members = members;
        _refusePublish(c, abi.encodeWithSelector(INodeRegistry.ThresholdOutOfRange.selector, threshold, members.length));
    }

    function _refusePublish(Committee memory c, bytes memory why) internal {
        bytes[] memory signatures = _memberSignatures(c);
        vm.expectRevert(why);
        nodes.publishCommittee(collective, c, RECIPIENT, signatures);
    }
}
