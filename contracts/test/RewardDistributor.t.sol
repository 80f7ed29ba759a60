// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {NotAnAddress, contributorIdOf} from "../src/ContributorId.sol";
import {INodeRegistry} from "../src/interfaces/INodeRegistry.sol";
import {Claim, IRewardDistributor, Pool} from "../src/interfaces/IRewardDistributor.sol";
import {BaseTest} from "./BaseTest.sol";
import {Merkle} from "./Merkle.sol";
import {vm} from "./Vm.sol";
import {CallbackToken, FeeToken} from "./mocks/Tokens.sol";

contract RewardDistributorTest is BaseTest {
    uint256 internal constant FUNDS = 1_000;
    bytes32 internal constant LIST = keccak256("list of leaves");

    function setUp() public override {
        super.setUp();
        _install(1, 2);
        vm.prank(requester);
        rewards.fund(collective, address(token), FUNDS);
    }

    // fund

    function test_fund_adds_up() public {
        vm.expectEmit();
        emit IRewardDistributor.Funded(collective, address(token), stranger, 5);
        vm.prank(stranger);
        rewards.fund(collective, address(token), 5);
        vm.assertEq(_pool().funded, FUNDS + 5);
        vm.assertEq(rewards.pool(stranger, address(token)).funded, uint256(0));
    }

    function test_fund_refuses_token_that_takes_a_fee() public {
        FeeToken fee = new FeeToken(stranger);
        vm.prank(stranger);
        fee.approve(address(rewards), 100);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.TransferShort.selector, fee, 100, 99));
        vm.prank(stranger);
        rewards.fund(collective, address(fee), 100);
    }

    // propose

    function test_propose_waits_then_activates() public {
        bytes32 root = _root(10);
        uint64 from = uint64(block.timestamp + rewards.CHALLENGE_SECONDS());
        vm.expectEmit();
        emit IRewardDistributor.RootProposed(collective, address(token), root, 55, LIST, 1, from);
        _propose(root, 55);
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.ChallengeOpen.selector, from));
        rewards.activate(collective, address(token));
        vm.warp(from);
        vm.expectEmit();
        emit IRewardDistributor.RootActivated(collective, address(token), root, 55);
        rewards.activate(collective, address(token));
        Pool memory pool = _pool();
        vm.assertEq(pool.root, root);
        vm.assertEq(pool.total, 55);
        vm.assertEq(pool.pendingRoot, bytes32(0));
        vm.expectRevert(IRewardDistributor.NothingPending.selector);
        rewards.activate(collective, address(token));
    }

    function test_propose_signature_is_over_every_value() public {
        bytes32 root = _root(10);
        bytes32 typehash = keccak256(
            "RewardRoot(address collective,address token,bytes32 root,uint256 total,bytes32 manifest,uint256 sequence,uint64 epoch)"
        );
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("RewardDistributor"),
                keccak256("1"),
                block.chainid,
                address(rewards)
            )
        );
        bytes32 structHash = keccak256(abi.encode(typehash, collective, address(token), root, 55, LIST, 1, uint64(1)));
        vm.assertEq(
            rewards.rootDigest(collective, address(token), root, 55, LIST, 1),
            keccak256(abi.encodePacked(hex"1901", domain, structHash))
        );
        bytes[] memory signatures = _signatures(root, 55);
        vm.expectRevert();
        rewards.propose(collective, address(token), root, 56, LIST, 1, signatures);
        vm.expectRevert();
        rewards.propose(collective, address(token), root, 55, root, 1, signatures);
        vm.expectRevert();
        rewards.propose(collective, address(token), LIST, 55, LIST, 1, signatures);
        rewards.propose(collective, address(token), root, 55, LIST, 1, signatures);
    }

    function test_propose_refusals() public {
        bytes32 root = _root(10);
        bytes[] memory few = _quorum(rewards.rootDigest(collective, address(token), root, 55, LIST, 1), 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.QuorumMissing.selector, 1, 2));
        rewards.propose(collective, address(token), root, 55, LIST, 1, few);
        _refuse(
            root, FUNDS + 1, abi.encodeWithSelector(IRewardDistributor.TotalExceedsFunds.selector, FUNDS + 1, FUNDS)
        );
        _refuse(bytes32(0), 1, abi.encodeWithSelector(IRewardDistributor.RootMissing.selector));
        _propose(root, 55);
        uint64 from = _pool().activeFrom;
        _refuse(LIST, 56, abi.encodeWithSelector(IRewardDistributor.PendingExists.selector, root, from));
        vm.warp(from);
        // The window is over, so the pending root counts before the next is judged.
        _refuse(LIST, 54, abi.encodeWithSelector(IRewardDistributor.TotalShrinks.selector, 54, 55));
        _propose(LIST, 55);
        vm.assertEq(_pool().root, root);
    }

    function test_propose_by_the_current_committee_only() public {
        bytes32 root = _root(10);
        bytes[] memory old = _signatures(root, 55);
        _install(2, 2);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.StaleEpoch.selector, 2, 1));
        rewards.propose(collective, address(token), root, 55, LIST, 1, old);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.UnknownEpoch.selector, stranger, 0));
        rewards.propose(stranger, address(token), root, 0, LIST, 0, old);
    }

    // veto

    function test_veto_spends_the_sequence() public {
        bytes32 root = _root(10);
        bytes[] memory signatures = _signatures(root, 55);
        rewards.propose(collective, address(token), root, 55, LIST, 1, signatures);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.NotCollective.selector, stranger));
        vm.prank(stranger);
        rewards.veto(collective, address(token));
        vm.prank(collective);
        codes.setGuardian(guardian);
        vm.expectEmit();
        emit IRewardDistributor.RootVetoed(collective, address(token), root, guardian);
        vm.prank(guardian);
        rewards.veto(collective, address(token));
        vm.assertEq(_pool().pendingRoot, bytes32(0));
        vm.expectRevert();
        rewards.propose(collective, address(token), root, 55, LIST, 1, signatures);
        vm.expectRevert(IRewardDistributor.NothingPending.selector);
        vm.prank(collective);
        rewards.veto(collective, address(token));
    }

    function test_veto_comes_too_late_after_the_window() public {
        _propose(_root(10), 55);
        uint64 from = _pool().activeFrom;
        vm.warp(from);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.ChallengeOver.selector, from));
        vm.prank(collective);
        rewards.veto(collective, address(token));
    }

    // claim

    function testFuzz_claim_pays_each_leaf_once(uint8 size) public {
        uint256 count = _bound(size, 1, 40);
        _activate(_root(count), _sum(count));
        for (uint256 i = 0; i < count; ++i) {
            bytes32[] memory proof = Merkle.proof(_leaves(count), i);
            rewards.claim(collective, address(token), _id(i), i + 1, proof);
            vm.assertEq(token.balanceOf(_payee(i)), i + 1);
            vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.NothingToClaim.selector, _id(i)));
            rewards.claim(collective, address(token), _id(i), i + 1, proof);
        }
        vm.assertEq(_pool().claimed, _sum(count));
        vm.assertEq(token.balanceOf(address(rewards)), FUNDS - _sum(count));
    }

    function test_claim_pays_the_difference_under_the_next_root() public {
        _activate(_root(2), 3);
        rewards.claim(collective, address(token), _id(1), 2, Merkle.proof(_leaves(2), 1));
        bytes32[] memory next = new bytes32[](2);
        next[0] = rewards.leaf(_id(0), 1);
        next[1] = rewards.leaf(_id(1), 9);
        _activate(Merkle.root(next), 10);
        vm.assertEq(rewards.claim(collective, address(token), _id(1), 9, Merkle.proof(next, 1)), 7);
        vm.assertEq(rewards.claimed(collective, address(token), _id(1)), 9);
    }

    function test_claim_ripens_pending_root() public {
        _propose(_root(2), 3);
        bytes32[] memory proof = Merkle.proof(_leaves(2), 0);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.InvalidProof.selector, _id(0)));
        rewards.claim(collective, address(token), _id(0), 1, proof);
        vm.warp(_pool().activeFrom);
        rewards.claim(collective, address(token), _id(0), 1, proof);
        vm.assertEq(_pool().root, _root(2));
    }

    function test_claim_refuses_what_is_not_in_the_tree() public {
        _activate(_root(3), 6);
        bytes32[] memory proof = Merkle.proof(_leaves(3), 0);
        bytes memory why = abi.encodeWithSelector(IRewardDistributor.InvalidProof.selector, _id(0));
        vm.expectRevert(why);
        rewards.claim(collective, address(token), _id(0), 2, proof);
        vm.expectRevert(why);
        rewards.claim(stranger, address(token), _id(0), 1, proof);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.InvalidProof.selector, _id(1)));
        rewards.claim(collective, address(token), _id(1), 1, proof);
    }

    function test_claim_never_exceeds_total_even_if_leaves_do() public {
        // The funds of another collective are in the same contract.
        vm.prank(requester);
        rewards.fund(stranger, address(token), 1_000_000);
        bytes32[] memory greedy = new bytes32[](2);
        greedy[0] = rewards.leaf(_id(0), FUNDS);
        greedy[1] = rewards.leaf(_id(1), 1);
        _activate(Merkle.root(greedy), FUNDS);
        rewards.claim(collective, address(token), _id(0), FUNDS, Merkle.proof(greedy, 0));
        bytes32[] memory proof = Merkle.proof(greedy, 1);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.Overclaimed.selector, FUNDS, FUNDS + 1));
        rewards.claim(collective, address(token), _id(1), 1, proof);
        vm.assertEq(token.balanceOf(address(rewards)), 1_000_000);
    }

    function test_claim_refuses_id_that_is_no_address() public {
        bytes32 id = bytes32(uint256(1) << 200);
        bytes32[] memory leaves = new bytes32[](1);
        leaves[0] = rewards.leaf(id, 1);
        _activate(leaves[0], 1);
        vm.expectRevert(abi.encodeWithSelector(NotAnAddress.selector, id));
        rewards.claim(collective, address(token), id, 1, new bytes32[](0));
    }

    function test_claimMany_passes_over_what_was_paid() public {
        _activate(_root(3), 6);
        Claim[] memory claims = new Claim[](3);
        for (uint256 i = 0; i < 3; ++i) {
            claims[i] = Claim({contributorId: _id(i), cumulative: i + 1, proof: Merkle.proof(_leaves(3), i)});
        }
        rewards.claim(collective, address(token), _id(1), 2, claims[1].proof);
        vm.assertEq(rewards.claimMany(collective, address(token), claims), 4);
        vm.assertEq(rewards.claimMany(collective, address(token), claims), uint256(0));
        claims[2].cumulative = 4;
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.InvalidProof.selector, _id(2)));
        rewards.claimMany(collective, address(token), claims);
    }

    function test_claimMany_passes_over_a_leaf_below_what_was_paid() public {
        _activate(_root(2), 3);
        rewards.claim(collective, address(token), _id(1), 2, Merkle.proof(_leaves(2), 1));
        bytes32[] memory lower = new bytes32[](2);
        lower[0] = rewards.leaf(_id(0), 2);
        lower[1] = rewards.leaf(_id(1), 1);
        _activate(Merkle.root(lower), 3);
        Claim[] memory claims = new Claim[](1);
        claims[0] = Claim({contributorId: _id(1), cumulative: 1, proof: Merkle.proof(lower, 1)});
        vm.assertEq(rewards.claimMany(collective, address(token), claims), uint256(0));
        vm.assertEq(rewards.claimed(collective, address(token), _id(1)), 2);
    }

    function test_tokens_that_call_back_get_nowhere() public {
        CallbackToken evil = new CallbackToken(address(this));
        evil.approve(address(rewards), FUNDS);
        rewards.fund(collective, address(evil), FUNDS);
        bytes32 root = rewards.leaf(_id(0), FUNDS);
        bytes32 digest = rewards.rootDigest(collective, address(evil), root, FUNDS, LIST, 1);
        rewards.propose(collective, address(evil), root, FUNDS, LIST, 1, _quorum(digest, 2));
        vm.warp(block.timestamp + rewards.CHALLENGE_SECONDS());
        bytes32[] memory none = new bytes32[](0);
        // Without the guard this call would go through at any moment.
        Claim[] memory nothing = new Claim[](0);
        evil.arm(address(rewards), abi.encodeCall(IRewardDistributor.claimMany, (collective, address(evil), nothing)));
        rewards.claim(collective, address(evil), _id(0), FUNDS, none);
        vm.assertEq(evil.attempts(), 1);
        vm.assertEq(evil.successes(), uint256(0));
        vm.assertEq(evil.balanceOf(_payee(0)), FUNDS);
    }

    // Helpers: contributor i earns i + 1.

    function _payee(uint256 i) internal pure returns (address) {
        return address(uint160(0xbeef0000 + i));
    }

    function _id(uint256 i) internal pure returns (bytes32) {
        return contributorIdOf(_payee(i));
    }

    function _sum(uint256 count) internal pure returns (uint256) {
        return count * (count + 1) / 2;
    }

    function _leaves(uint256 count) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = rewards.leaf(_id(i), i + 1);
        }
    }

    function _root(uint256 count) internal view returns (bytes32) {
        return Merkle.root(_leaves(count));
    }

    function _pool() internal view returns (Pool memory) {
        return rewards.pool(collective, address(token));
    }

    function _signatures(bytes32 root, uint256 total) internal view returns (bytes[] memory) {
        uint64 epoch = nodes.currentEpoch(collective);
        return _quorum(rewards.rootDigest(collective, address(token), root, total, LIST, epoch), 2);
    }

    function _propose(bytes32 root, uint256 total) internal {
        rewards.propose(collective, address(token), root, total, LIST, 1, _signatures(root, total));
    }

    function _refuse(bytes32 root, uint256 total, bytes memory why) internal {
        bytes[] memory signatures = _signatures(root, total);
        vm.expectRevert(why);
        rewards.propose(collective, address(token), root, total, LIST, 1, signatures);
    }

    function _activate(bytes32 root, uint256 total) internal {
        _propose(root, total);
        vm.warp(_pool().activeFrom);
        rewards.activate(collective, address(token));
    }
}
