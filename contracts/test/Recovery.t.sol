// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {contributorIdOf} from "../src/ContributorId.sol";
import {Contribution, IContributionRegistry, Recovery} from "../src/interfaces/IContributionRegistry.sol";
import {Claim, IRewardDistributor} from "../src/interfaces/IRewardDistributor.sol";
import {BaseTest} from "./BaseTest.sol";
import {Merkle} from "./Merkle.sol";
import {vm} from "./Vm.sol";
import {Burner, ContractAccount} from "./mocks/Accounts.sol";

/// @dev Ann contributes, and names the key that lies in her safe. `next` is the key that she makes when she has lost hers.
contract RecoveryTest is BaseTest {
    address internal safe = _account("safe");
    address internal next = _account("next");
    bytes32 internal id = contributorIdOf(contributor);

    bytes32 internal constant NAMING =
        keccak256("NameRecovery(bytes32 contributorId,address recovery,uint32 sequence,uint256 deadline)");
    bytes32 internal constant STARTING =
        keccak256("StartRecovery(bytes32 contributorId,address next,uint32 sequence,uint256 deadline)");

    // The whole way

    function test_a_lost_key_is_recovered() public {
        vm.expectEmit();
        emit IContributionRegistry.RecoveryNamed(id, safe);
        _name(safe);
        uint64 from = uint64(block.timestamp) + contributions.RECOVERY_SECONDS();
        vm.expectEmit();
        emit IContributionRegistry.RecoveryStarted(id, next, from);
        _start();
        vm.assertEq(contributions.controllerOf(id), contributor);
        vm.warp(from);
        vm.roll(FIRST_BLOCK + 7);
        vm.expectEmit();
        emit IContributionRegistry.RecoveryFinished(id, next);
        vm.prank(stranger);
        contributions.finishRecovery(id);

        Recovery memory stored = contributions.recoveryOf(id);
        vm.assertEq(stored.controller, next);
        vm.assertEq(stored.rotatedAt, FIRST_BLOCK + 7);
        vm.assertEq(stored.sequence, 3);
        vm.assertEq(stored.recovery, safe);
        vm.assertEq(stored.next, address(0));
        vm.assertEq(stored.finishableAt, uint256(0));
        vm.assertEq(contributions.controllerOf(id), next);
        // Nobody else's id has moved.
        vm.assertEq(contributions.controllerOf(contributorIdOf(next)), next);
        vm.assertEq(contributions.controllerOf(contributorIdOf(safe)), safe);
    }

    function test_the_new_key_alone_names_and_both_revoke() public {
        _rotate();
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NotController.selector, next, contributor));
        vm.prank(contributor);
        contributions.nameRecovery(id, contributor);
        bytes memory refused = abi.encodeWithSelector(IContributionRegistry.NotController.selector, next, safe);
        vm.expectRevert(refused);
        vm.prank(safe);
        contributions.nameRecovery(id, safe);
        vm.expectRevert(refused);
        vm.prank(safe);
        contributions.revoke(id, 0, 1);
        vm.expectRevert(refused);
        vm.prank(safe);
        contributions.revokeAll(id, 1);

        vm.prank(next);
        contributions.revoke(id, 0, 1);
        vm.prank(contributor);
        contributions.revoke(id, 0, 2);
        vm.assertEq(contributions.revocations(id, 0), 3);
        vm.prank(next);
        contributions.revokeAll(id, 9);
        vm.prank(contributor);
        contributions.revokeAll(id, 10);
        vm.assertEq(contributions.watermark(id), 10);
        vm.prank(next);
        contributions.nameRecovery(id, stranger);
        vm.assertEq(contributions.recoveryOf(id).recovery, stranger);
    }

    function test_signatures_of_the_old_key_revoke_and_do_nothing_else_afterwards() public {
        uint256 until = block.timestamp + 1_000 days;
        bytes32 word = keccak256("Revoke(bytes32 contributorId,uint248 word,uint256 mask,uint256 deadline)");
        bytes32 all = keccak256("RevokeAll(bytes32 contributorId,uint256 watermark,uint256 deadline)");
        bytes memory revocation = _by("contributor", keccak256(abi.encode(word, id, 0, 2, until)));
        bytes memory everything = _by("contributor", keccak256(abi.encode(all, id, 5, until)));
        _rotate();
        bytes memory named = _by("contributor", keccak256(abi.encode(NAMING, id, contributor, 3, until)));
        bytes memory invalid = abi.encodeWithSelector(IContributionRegistry.InvalidSignature.selector, next);
        vm.expectRevert(invalid);
        contributions.nameRecoveryBySig(id, contributor, until, named);
        bytes memory foreign = _by("safe", keccak256(abi.encode(word, id, 0, 2, until)));
        vm.expectRevert(invalid);
        contributions.revokeBySig(id, 0, 2, until, foreign);
        foreign = _by("safe", keccak256(abi.encode(all, id, 5, until)));
        vm.expectRevert(invalid);
        contributions.revokeAllBySig(id, 5, until, foreign);
        vm.expectRevert(invalid);
        contributions.revokeBySig(id, 0, 3, until, revocation);

        contributions.revokeBySig(id, 0, 2, until, revocation);
        vm.assertEq(contributions.revocations(id, 0), 2);
        revocation = _by("next", keccak256(abi.encode(word, id, 0, 4, until)));
        contributions.revokeBySig(id, 0, 4, until, revocation);
        vm.assertEq(contributions.revocations(id, 0), 6);
        contributions.revokeAllBySig(id, 5, until, everything);
        vm.assertEq(contributions.watermark(id), 5);
        everything = _by("next", keccak256(abi.encode(all, id, 6, until)));
        contributions.revokeAllBySig(id, 6, until, everything);
        vm.assertEq(contributions.watermark(id), 6);
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.SignatureExpired.selector, until));
        contributions.revokeAllBySig(id, 6, until, everything);
    }

    function test_a_key_that_burns_all_gas_holds_up_no_revocation_by_the_first_one() public {
        uint256 until = block.timestamp + 1_000 days;
        bytes32 word = keccak256("Revoke(bytes32 contributorId,uint248 word,uint256 mask,uint256 deadline)");
        bytes32 all = keccak256("RevokeAll(bytes32 contributorId,uint256 watermark,uint256 deadline)");
        _rotate();
        vm.etch(next, address(new Burner()).code);
        bytes memory signature = _by("contributor", keccak256(abi.encode(word, id, 0, 2, until)));
        // What a node pays for at most.
        contributions.revokeBySig{gas: 150_000}(id, 0, 2, until, signature);
        vm.assertEq(contributions.revocations(id, 0), 2);
        signature = _by("contributor", keccak256(abi.encode(all, id, 5, until)));
        contributions.revokeAllBySig{gas: 150_000}(id, 5, until, signature);
        vm.assertEq(contributions.watermark(id), 5);
        // Nor by the key of an account that has code (EIP-7702).
        vm.etch(contributor, address(new Burner()).code);
        signature = _by("contributor", keccak256(abi.encode(all, id, 6, until)));
        contributions.revokeAllBySig{gas: 150_000}(id, 6, until, signature);
        vm.assertEq(contributions.watermark(id), 6);
    }

    function test_a_contract_that_took_an_id_over_revokes_by_its_code() public {
        uint256 until = block.timestamp + 1_000 days;
        bytes32 all = keccak256("RevokeAll(bytes32 contributorId,uint256 watermark,uint256 deadline)");
        _rotate();
        bytes32 digest = _digest(keccak256(abi.encode(all, id, 5, until)));
        vm.etch(next, address(new ContractAccount(digest)).code);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.InvalidSignature.selector, next));
        contributions.revokeAllBySig(id, 6, until, "anything");
        contributions.revokeAllBySig(id, 5, until, "anything");
        vm.assertEq(contributions.watermark(id), 5);
        // And the account's own code, if that is a contract.
        digest = _digest(keccak256(abi.encode(all, id, 6, until)));
        vm.etch(contributor, address(new ContractAccount(digest)).code);
        contributions.revokeAllBySig(id, 6, until, "anything");
        vm.assertEq(contributions.watermark(id), 6);
    }

    function test_nothing_more_is_contributed_under_a_rotated_id() public {
        vm.prank(contributor);
        contributions.contribute(_contribution(1), "");
        bytes32 head = contributions.directHead(collective);
        _rotate();
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.ContributorRotated.selector, id));
        vm.prank(contributor);
        contributions.contribute(_contribution(2), "");
        // Nor by the new key, which has an id of its own.
        vm.expectRevert(
            abi.encodeWithSelector(IContributionRegistry.NotContributor.selector, contributorIdOf(next), id)
        );
        vm.prank(next);
        contributions.contribute(_contribution(2), "");
        vm.assertEq(contributions.directHead(collective), head);
        Contribution memory own = _contribution(2);
        own.contributorId = contributorIdOf(next);
        vm.prank(next);
        contributions.contribute(own, "");
    }

    function test_an_id_is_closed_in_the_block_of_its_first_rotation_for_good() public {
        _rotate();
        uint64 first = contributions.recoveryOf(id).rotatedAt;
        vm.roll(block.number + 9);
        // Back to where it began.
        vm.prank(safe);
        contributions.startRecovery(id, contributor);
        vm.warp(block.timestamp + contributions.RECOVERY_SECONDS());
        contributions.finishRecovery(id);
        vm.assertEq(contributions.controllerOf(id), contributor);
        vm.assertEq(contributions.recoveryOf(id).rotatedAt, first);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.ContributorRotated.selector, id));
        vm.prank(contributor);
        contributions.contribute(_contribution(2), "");
    }

    // Who may name, start, veto, finish

    function test_only_the_controller_names() public {
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NotController.selector, contributor, stranger));
        vm.prank(stranger);
        contributions.nameRecovery(id, stranger);
        _name(safe);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NotController.selector, contributor, safe));
        vm.prank(safe);
        contributions.nameRecovery(id, safe);
    }

    function test_only_the_named_key_starts() public {
        bytes memory unnamed = abi.encodeWithSelector(IContributionRegistry.NotRecovery.selector, address(0), stranger);
        vm.expectRevert(unnamed);
        vm.prank(stranger);
        contributions.startRecovery(id, next);
        // A signature that recovers to nobody is not that of nobody's key.
        bytes memory garbage = new bytes(65);
        vm.expectRevert(unnamed);
        vm.prank(stranger);
        contributions.startRecoveryBySig(id, next, block.timestamp, garbage);
        _name(safe);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NotRecovery.selector, safe, contributor));
        vm.prank(contributor);
        contributions.startRecovery(id, next);
        _name(stranger);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NotRecovery.selector, stranger, safe));
        vm.prank(safe);
        contributions.startRecovery(id, next);
        _name(address(0));
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NotRecovery.selector, address(0), stranger));
        vm.prank(stranger);
        contributions.startRecovery(id, next);
    }

    function test_start_refuses_nobody_and_a_second_recovery() public {
        _name(safe);
        vm.expectRevert(IContributionRegistry.NextMissing.selector);
        vm.prank(safe);
        contributions.startRecovery(id, address(0));
        _start();
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.RecoveryUnderWay.selector, next));
        vm.prank(safe);
        contributions.startRecovery(id, stranger);
    }

    function test_finish_waits_for_the_delay() public {
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NoRecovery.selector, id));
        contributions.finishRecovery(id);
        _name(safe);
        _start();
        uint64 from = contributions.recoveryOf(id).finishableAt;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.RecoveryTooEarly.selector, from));
        contributions.finishRecovery(id);
        vm.warp(from);
        contributions.finishRecovery(id);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NoRecovery.selector, id));
        contributions.finishRecovery(id);
    }

    function testFuzz_the_first_key_vetoes_until_it_is_finished(uint32 later, bool same) public {
        _name(safe);
        _start();
        vm.warp(block.timestamp + later);
        vm.expectEmit();
        emit IContributionRegistry.RecoveryVetoed(id, next);
        _name(same ? safe : stranger);
        vm.warp(block.timestamp + contributions.RECOVERY_SECONDS());
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NoRecovery.selector, id));
        contributions.finishRecovery(id);
        vm.assertEq(contributions.controllerOf(id), contributor);
        vm.assertEq(contributions.recoveryOf(id).finishableAt, uint256(0));
    }

    function test_another_recovery_key_ends_the_attempts_of_a_stolen_one() public {
        _name(safe);
        _start();
        _name(stranger);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.NotRecovery.selector, stranger, safe));
        vm.prank(safe);
        contributions.startRecovery(id, next);
    }

    function test_a_recovery_to_a_key_that_nobody_has_is_followed_by_another() public {
        _name(safe);
        vm.prank(safe);
        contributions.startRecovery(id, address(0xdead));
        vm.warp(block.timestamp + contributions.RECOVERY_SECONDS());
        contributions.finishRecovery(id);
        _start();
        vm.warp(block.timestamp + contributions.RECOVERY_SECONDS());
        contributions.finishRecovery(id);
        vm.assertEq(contributions.controllerOf(id), next);
    }

    // By signature

    function test_name_by_signature_once() public {
        uint256 until = block.timestamp;
        bytes memory signature = _by("contributor", _naming(safe, 0, until));
        bytes memory invalid = abi.encodeWithSelector(IContributionRegistry.InvalidSignature.selector, contributor);
        vm.expectRevert(invalid);
        contributions.nameRecoveryBySig(id, stranger, until, signature);
        vm.expectRevert(invalid);
        contributions.nameRecoveryBySig(id, safe, until + 1, signature);
        bytes memory foreign = _by("stranger", _naming(safe, 0, until));
        vm.expectRevert(invalid);
        contributions.nameRecoveryBySig(id, safe, until, foreign);
        bytes memory early = _by("contributor", _naming(safe, 1, until));
        vm.expectRevert(invalid);
        contributions.nameRecoveryBySig(id, safe, until, early);
        vm.expectRevert(
            abi.encodeWithSelector(IContributionRegistry.InvalidSignature.selector, address(uint160(uint256(id)) + 1))
        );
        contributions.nameRecoveryBySig(bytes32(uint256(id) + 1), safe, until, signature);
        vm.chainId(999);
        vm.expectRevert(invalid);
        contributions.nameRecoveryBySig(id, safe, until, signature);
        vm.chainId(31_337);

        vm.prank(stranger);
        contributions.nameRecoveryBySig(id, safe, until, signature);
        vm.assertEq(contributions.recoveryOf(id).recovery, safe);
        // Sent again it would name a key again that was replaced, or veto.
        vm.expectRevert(invalid);
        contributions.nameRecoveryBySig(id, safe, until, signature);
        signature = _by("contributor", _naming(stranger, 1, until));
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.SignatureExpired.selector, until));
        contributions.nameRecoveryBySig(id, stranger, until, signature);
    }

    function test_start_by_signature_once() public {
        uint256 until = block.timestamp;
        _name(safe);
        bytes memory signature = _by("safe", _starting(next, 1, until));
        bytes memory invalid = abi.encodeWithSelector(IContributionRegistry.InvalidSignature.selector, safe);
        vm.expectRevert(invalid);
        contributions.startRecoveryBySig(id, stranger, until, signature);
        vm.expectRevert(invalid);
        contributions.startRecoveryBySig(id, next, until + 1, signature);
        bytes memory foreign = _by("contributor", _starting(next, 1, until));
        vm.expectRevert(invalid);
        contributions.startRecoveryBySig(id, next, until, foreign);
        // What names a recovery key starts no recovery.
        bytes memory naming = _by("safe", _naming(next, 1, until));
        vm.expectRevert(invalid);
        contributions.startRecoveryBySig(id, next, until, naming);

        contributions.startRecoveryBySig(id, next, until, signature);
        vm.assertEq(contributions.recoveryOf(id).next, next);
        _name(safe);
        // A vetoed attempt does not come again by the same signature.
        vm.expectRevert(invalid);
        contributions.startRecoveryBySig(id, next, until, signature);
        signature = _by("safe", _starting(next, 3, until));
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IContributionRegistry.SignatureExpired.selector, until));
        contributions.startRecoveryBySig(id, next, until, signature);
    }

    function test_contract_accounts_recover_too() public {
        address vault = address(0xacc0);
        _name(vault);
        bytes32 digest = _digest(_starting(next, 1, block.timestamp));
        vm.etch(vault, address(new ContractAccount(digest)).code);
        contributions.startRecoveryBySig(id, next, block.timestamp, "anything");
        vm.assertEq(contributions.recoveryOf(id).next, next);
    }

    // Rewards

    function test_rewards_go_to_the_key_that_speaks_for_the_id_when_they_are_claimed() public {
        _install(1, 2);
        vm.prank(requester);
        rewards.fund(collective, address(token), 1_000);
        bytes32[] memory proof = _give(10);
        rewards.claim(collective, address(token), id, 10, proof);
        vm.assertEq(token.balanceOf(contributor), 10);

        // A recovery that is under way, or was vetoed, moves nothing; the key that it would take the place of claims for itself.
        _name(safe);
        _start();
        proof = _give(30);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.RecoveryUnderWay.selector, id, contributor));
        rewards.claim(collective, address(token), id, 30, proof);
        vm.prank(contributor);
        rewards.claim(collective, address(token), id, 30, proof);
        vm.assertEq(token.balanceOf(contributor), 30);
        vm.warp(block.timestamp + contributions.RECOVERY_SECONDS());
        contributions.finishRecovery(id);
        proof = _give(60);
        Claim[] memory claims = new Claim[](1);
        claims[0] = Claim({contributorId: id, cumulative: 60, proof: proof});
        vm.prank(contributor);
        vm.assertEq(rewards.claimMany(collective, address(token), claims), 30);
        proof = _give(100);
        rewards.claim(collective, address(token), id, 100, proof);
        vm.assertEq(token.balanceOf(contributor), 30);
        vm.assertEq(token.balanceOf(next), 70);
        vm.assertEq(token.balanceOf(safe), uint256(0));
        vm.assertEq(rewards.claimed(collective, address(token), id), 100);
        vm.assertEq(rewards.pool(collective, address(token)).claimed, 100);
    }

    function test_a_recovery_that_is_under_way_holds_up_no_other_claim() public {
        _install(1, 2);
        vm.prank(requester);
        rewards.fund(collective, address(token), 1_000);
        _name(safe);
        _start();
        bytes32[] memory proof = _give(10);
        Claim[] memory claims = new Claim[](2);
        claims[0] = Claim({contributorId: id, cumulative: 10, proof: proof});
        bytes32[] memory others = new bytes32[](1);
        others[0] = rewards.leaf(id, 10);
        claims[1] = Claim({contributorId: contributorIdOf(stranger), cumulative: 1, proof: others});
        uint256 before = token.balanceOf(stranger);
        // Sent by anybody, by the recovery key and by the next one.
        address[3] memory senders = [requester, safe, next];
        for (uint256 i = 0; i < senders.length; ++i) {
            vm.prank(senders[i]);
            vm.assertEq(rewards.claimMany(collective, address(token), claims), i == 0 ? 1 : 0);
        }
        vm.assertEq(token.balanceOf(stranger), before + 1);
        vm.assertEq(rewards.claimed(collective, address(token), id), uint256(0));
        // A veto ends it, and then anybody claims for the account.
        _name(safe);
        vm.prank(stranger);
        vm.assertEq(rewards.claimMany(collective, address(token), claims), 10);
        vm.assertEq(token.balanceOf(contributor), 10);
    }

    // Steps

    function _name(address recovery) private {
        vm.prank(contributor);
        contributions.nameRecovery(id, recovery);
    }

    function _start() private {
        vm.prank(safe);
        contributions.startRecovery(id, next);
    }

    function _rotate() private {
        _name(safe);
        _start();
        vm.warp(block.timestamp + contributions.RECOVERY_SECONDS());
        contributions.finishRecovery(id);
    }

    /// @dev An active root under which the id was given so much in all.
    function _give(uint256 cumulative) private returns (bytes32[] memory) {
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = rewards.leaf(id, cumulative);
        leaves[1] = rewards.leaf(contributorIdOf(stranger), 1);
        bytes32 root = Merkle.root(leaves);
        bytes32 digest = rewards.rootDigest(collective, address(token), root, 101, MANIFEST, 1);
        rewards.propose(collective, address(token), root, 101, MANIFEST, 1, _quorum(digest, 2));
        vm.warp(block.timestamp + rewards.CHALLENGE_SECONDS());
        return Merkle.proof(leaves, 0);
    }

    function _naming(address recovery, uint32 sequence, uint256 deadline) private view returns (bytes32) {
        return keccak256(abi.encode(NAMING, id, recovery, sequence, deadline));
    }

    function _starting(address to, uint32 sequence, uint256 deadline) private view returns (bytes32) {
        return keccak256(abi.encode(STARTING, id, to, sequence, deadline));
    }

    function _by(string memory name, bytes32 structHash) private view returns (bytes memory) {
        return _sign(_key(name), _digest(structHash));
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
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
