// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {NotAnAddress, contributorIdOf} from "../src/ContributorId.sol";
import {Contribution, IContributionRegistry} from "../src/interfaces/IContributionRegistry.sol";
import {BaseTest} from "./BaseTest.sol";
import {Merkle} from "./Merkle.sol";
import {vm} from "./Vm.sol";
import {ContractAccount, Mute} from "./mocks/Accounts.sol";

contract ContributionRegistryTest is BaseTest {
    bytes32 internal constant ROOT = keccak256("root");
    bytes32 internal id = contributorIdOf(contributor);
    uint256 internal contributorKey = _key("contributor");

    // commitBatch

    function test_commitBatch_folds_head_and_tells_it() public {
        bytes32 first = keccak256(abi.encode(bytes32(0), ROOT, uint32(7), MANIFEST));
        vm.expectEmit();
        emit IContributionRegistry.BatchCommitted(collective, aggregator, ROOT, 7, MANIFEST, first);
        vm.prank(aggregator);
        contributions.commitBatch(collective, ROOT, 7, MANIFEST);
        vm.assertEq(contributions.head(collective, aggregator), first);

        vm.prank(aggregator);
        contributions.commitBatch(collective, MANIFEST, 1, ROOT);
        bytes32 second = keccak256(abi.encode(first, MANIFEST, uint32(1), ROOT));
        vm.assertEq(contributions.head(collective, aggregator), second);
    }

    function testFuzz_commitBatch_moves_only_the_own_chain(address other, address otherCollective) public {
        vm.assume(other != aggregator && otherCollective != collective);
        vm.prank(aggregator);
        contributions.commitBatch(collective, ROOT, 1, MANIFEST);
        vm.assertEq(contributions.head(collective, other), bytes32(0));
        vm.assertEq(contributions.head(otherCollective, aggregator), bytes32(0));
        vm.assertEq(contributions.directHead(collective), bytes32(0));
    }

    function test_commitBatch_refuses_nothing() public {
        vm.expectRevert(IContributionRegistry.EmptyBatch.selector);
        contributions.commitBatch(collective, bytes32(0), 1, MANIFEST);
        vm.expectRevert(IContributionRegistry.EmptyBatch.selector);
        contributions.commitBatch(collective, ROOT, 0, MANIFEST);
    }

    // contribute

    function test_contribute_folds_leaf() public {
        Contribution memory c = _contribution(1);
        bytes32 inner = keccak256(abi.encode(c.collective, c.contributorId, c.point, c.commitment, c.terms, c.nonce));
        bytes32 leaf = keccak256(bytes.concat(inner));
        vm.assertEq(contributions.leaf(c), leaf);
        bytes memory details = "what it opens to";
        bytes32 head = keccak256(abi.encode(bytes32(0), leaf, keccak256(details)));
        vm.expectEmit();
        emit IContributionRegistry.Contributed(collective, id, c.point, c.commitment, c.terms, c.nonce, details, head);
        vm.prank(contributor);
        contributions.contribute(c, details);
        vm.assertEq(contributions.directHead(collective), head);
        // The same leaf again, with nothing beside it, is another link.
        vm.prank(contributor);
        contributions.contribute(c, "");
        head = keccak256(abi.encode(head, leaf, keccak256("")));
        vm.assertEq(contributions.directHead(collective), head);
        vm.assertEq(contributions.head(collective, contributor), bytes32(0));
    }

    function test_contribute_bounds_the_details() public {
        uint256 most = contributions.MAX_DETAILS_BYTES();
        vm.assertEq(most, 20_549);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.DetailsTooLong.selector, most, most + 1));
        vm.prank(contributor);
        contributions.contribute(_contribution(1), new bytes(most + 1));
        vm.assertEq(contributions.directHead(collective), bytes32(0));
        vm.prank(contributor);
        contributions.contribute(_contribution(1), new bytes(most));
    }

    function test_contribute_refuses_another_contributor() public {
        vm.expectRevert(
            abi.encodeWithSelector(IContributionRegistry.NotContributor.selector, contributorIdOf(stranger), id)
        );
        vm.prank(stranger);
        contributions.contribute(_contribution(1), "");
    }

    // verify

    function test_verify_accepts_the_contributor_only() public view {
        Contribution memory c = _contribution(1);
        bytes32 digest = contributions.digest(c);
        vm.assertTrue(contributions.verify(c, _sign(contributorKey, digest)));
        vm.assertFalse(contributions.verify(c, _sign(_key("stranger"), digest)));
        vm.assertFalse(contributions.verify(c, ""));
    }

    function testFuzz_verify_binds_every_field(uint8 field, uint256 change) public view {
        Contribution memory c = _contribution(1);
        bytes memory signature = _sign(contributorKey, contributions.digest(c));
        vm.assume(change != 0);
        uint256 which = field % 5;
        if (which == 0) c.collective = address(uint160(c.collective) ^ (uint160(change) | 1));
        if (which == 1) c.point ^= bytes32(change);
        if (which == 2) c.commitment ^= bytes32(change);
        if (which == 3) c.terms ^= bytes32(change);
        if (which == 4) c.nonce ^= change;
        vm.assertFalse(contributions.verify(c, signature));
    }

    function test_verify_binds_chain() public {
        Contribution memory c = _contribution(1);
        bytes memory signature = _sign(contributorKey, contributions.digest(c));
        vm.chainId(999);
        vm.assertFalse(contributions.verify(c, signature));
    }

    function test_verify_accepts_contract_account() public {
        Contribution memory c = _contribution(1);
        // The digest contains the account's address, so code is placed at a known one.
        address account = address(0xacc0);
        c.contributorId = contributorIdOf(account);
        vm.etch(account, address(new ContractAccount(contributions.digest(c))).code);
        vm.assertTrue(contributions.verify(c, "anything"));
        c.nonce += 1;
        vm.assertFalse(contributions.verify(c, "anything"));
    }

    function test_verify_accepts_key_of_account_with_mute_code() public {
        Contribution memory c = _contribution(1);
        vm.etch(contributor, address(new Mute()).code);
        vm.assertTrue(contributions.verify(c, _sign(contributorKey, contributions.digest(c))));
    }

    function test_verify_refuses_id_that_is_no_address() public {
        Contribution memory c = _contribution(1);
        c.contributorId = bytes32(uint256(1) << 160);
        vm.expectRevert(abi.encodeWithSelector(NotAnAddress.selector, c.contributorId));
        contributions.verify(c, "");
    }

    // revoke

    function testFuzz_revoke_sets_exactly_these_bits(uint248 word, uint256 mask, uint256 more, uint256 nonce) public {
        vm.prank(contributor);
        contributions.revoke(id, word, mask);
        vm.prank(contributor);
        contributions.revoke(id, word, more);
        vm.assertEq(contributions.revocations(id, word), mask | more);
        bool inMask = nonce >> 8 == word && ((mask | more) >> (nonce & 255)) & 1 == 1;
        vm.assertEq(contributions.isRevoked(id, nonce), inMask);
        uint256 near = (uint256(word) << 8) | (nonce & 255);
        vm.assertEq(contributions.isRevoked(id, near), ((mask | more) >> (nonce & 255)) & 1 == 1);
    }

    function testFuzz_revoke_touches_only_the_own_space(bytes32 other, uint248 word, uint256 mask) public {
        vm.assume(other != id);
        vm.prank(contributor);
        contributions.revoke(id, word, mask);
        vm.assertEq(contributions.revocations(other, word), uint256(0));
    }

    function test_revoke_refuses_another_sender() public {
        bytes memory refused =
            abi.encodeWithSelector(IContributionRegistry.NotController.selector, contributor, stranger);
        vm.expectRevert(refused);
        vm.prank(stranger);
        contributions.revoke(id, 0, 1);
        vm.expectRevert(refused);
        vm.prank(stranger);
        contributions.revokeAll(id, 1);
        vm.expectRevert(abi.encodeWithSelector(NotAnAddress.selector, bytes32(type(uint256).max)));
        vm.prank(stranger);
        contributions.revokeAll(bytes32(type(uint256).max), 1);
    }

    function testFuzz_revokeAll_is_exclusive_and_never_falls(uint256 mark, uint256 lower) public {
        vm.assume(mark > 0);
        lower = _bound(lower, 0, mark - 1);
        vm.prank(contributor);
        contributions.revokeAll(id, mark);
        vm.prank(contributor);
        contributions.revokeAll(id, lower);
        vm.assertEq(contributions.watermark(id), mark);
        vm.assertTrue(contributions.isRevoked(id, mark - 1));
        vm.assertFalse(contributions.isRevoked(id, mark));
    }

    function testFuzz_revokeBySig_by_anyone_any_number_of_times(uint248 word, uint256 mask) public {
        uint256 deadline = block.timestamp;
        bytes memory signature = _sign(contributorKey, _revokeDigest(id, word, mask, deadline));
        contributions.revokeBySig(id, word, mask, deadline, signature);
        vm.prank(stranger);
        contributions.revokeBySig(id, word, mask, deadline, signature);
        vm.assertEq(contributions.revocations(id, word), mask);
    }

    function test_revokeBySig_refuses_late_foreign_and_altered() public {
        uint256 deadline = block.timestamp;
        bytes memory signature = _sign(contributorKey, _revokeDigest(id, 1, 2, deadline));
        bytes memory invalid = abi.encodeWithSelector(IContributionRegistry.InvalidSignature.selector, contributor);
        vm.expectRevert(invalid);
        contributions.revokeBySig(id, 2, 2, deadline, signature);
        vm.expectRevert(invalid);
        contributions.revokeBySig(id, 1, 3, deadline, signature);
        vm.expectRevert(invalid);
        contributions.revokeBySig(id, 1, 2, deadline + 1, signature);
        bytes memory foreign = _sign(_key("stranger"), _revokeDigest(id, 1, 2, deadline));
        vm.expectRevert(invalid);
        contributions.revokeBySig(id, 1, 2, deadline, foreign);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.SignatureExpired.selector, deadline));
        contributions.revokeBySig(id, 1, 2, deadline, signature);
        vm.assertEq(contributions.revocations(id, 1), uint256(0));
    }

    function test_revokeAllBySig() public {
        uint256 deadline = block.timestamp;
        bytes memory signature = _sign(contributorKey, _revokeAllDigest(id, 10, deadline));
        bytes memory invalid = abi.encodeWithSelector(IContributionRegistry.InvalidSignature.selector, contributor);
        vm.expectRevert(invalid);
        contributions.revokeAllBySig(id, 11, deadline, signature);
        contributions.revokeAllBySig(id, 10, deadline, signature);
        vm.assertEq(contributions.watermark(id), 10);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.SignatureExpired.selector, deadline));
        contributions.revokeAllBySig(id, 10, deadline, signature);
    }

    // Admission

    function testFuzz_admission_by_proof(uint8 size, uint256 index) public {
        uint256 count = _bound(size, 1, 40);
        index = _bound(index, 0, count - 1);
        bytes32[] memory leaves = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = contributions.admissionLeaf(bytes32(i + 1));
        }
        vm.prank(collective);
        contributions.setAdmission(Merkle.root(leaves), MANIFEST);
        bytes32[] memory proof = Merkle.proof(leaves, index);
        vm.assertTrue(contributions.isAdmitted(collective, bytes32(index + 1), proof));
        vm.assertFalse(contributions.isAdmitted(collective, bytes32(count + 1), proof));
        vm.assertFalse(contributions.isAdmitted(stranger, bytes32(index + 1), proof));
    }

    function test_admission_closed_at_first_open_on_demand() public {
        bytes32[] memory none = new bytes32[](0);
        vm.assertFalse(contributions.isAdmitted(collective, id, none));
        bytes32 open = contributions.OPEN();
        vm.expectEmit();
        emit IContributionRegistry.AdmissionSet(collective, open, MANIFEST);
        vm.prank(collective);
        contributions.setAdmission(open, MANIFEST);
        vm.assertTrue(contributions.isAdmitted(collective, id, none));
        vm.prank(collective);
        contributions.setAdmission(bytes32(0), MANIFEST);
        vm.assertFalse(contributions.isAdmitted(collective, id, none));
    }

    function _revokeDigest(bytes32 who, uint248 word, uint256 mask, uint256 deadline) internal view returns (bytes32) {
        bytes32 typehash = keccak256("Revoke(bytes32 contributorId,uint248 word,uint256 mask,uint256 deadline)");
        return _digest(keccak256(abi.encode(typehash, who, word, mask, deadline)));
    }

    function _revokeAllDigest(bytes32 who, uint256 mark, uint256 deadline) internal view returns (bytes32) {
        bytes32 typehash = keccak256("RevokeAll(bytes32 contributorId,uint256 watermark,uint256 deadline)");
        return _digest(keccak256(abi.encode(typehash, who, mark, deadline)));
    }

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("ContributionRegistry"),
                keccak256("1"),
                block.chainid,
                address(contributions)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
