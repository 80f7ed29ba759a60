// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {contributorIdOf} from "../src/ContributorId.sol";
import {LivenessRegistry} from "../src/LivenessRegistry.sol";
import {Contribution} from "../src/interfaces/IContributionRegistry.sol";
import {State} from "../src/interfaces/IJobEscrow.sol";
import {Commitment, Counts, Wage} from "../src/interfaces/ILivenessRegistry.sol";
import {Committee} from "../src/interfaces/INodeRegistry.sol";
import {GovernanceBase} from "./GovernanceBase.sol";
import {Merkle} from "./Merkle.sol";
import {Header, Payload} from "./Payload.sol";
import {vm} from "./Vm.sol";

/// @dev What each operation costs as a transaction. The figures are in .gas-snapshot/operations.json; a change of one is a
/// change of the repository.
contract GasTest is GovernanceBase {
    bytes32 internal constant ROOT = keccak256("root");
    uint256 internal constant BATCH_LIMIT = 50_000;
    uint256 internal constant PEOPLE = 10_000;
    /// @dev What paying any number of people may cost beside their own claims.
    uint256 internal constant PAYOUT_LIMIT = 100_000;

    function test_gas_contributions() public {
        vm.prank(aggregator);
        contributions.commitBatch(collective, ROOT, 10_000, MANIFEST);
        vm.assertLe(_note("commitBatch of 10000, first"), BATCH_LIMIT);
        vm.prank(aggregator);
        contributions.commitBatch(collective, MANIFEST, 10_000, ROOT);
        uint256 gas = _note("commitBatch of 10000, next");
        vm.assertLe(gas, BATCH_LIMIT);
        _share("commitBatch, a contribution of 10000", gas, 10_000);
        for (uint32 size = 1; size <= 100; size *= 100) {
            vm.prank(aggregator);
            contributions.commitBatch(collective, ROOT, size, MANIFEST);
            gas = vm.snapshotGasLastCall("operations", "commitBatch of 1 or 100, next");
            vm.assertLe(gas, BATCH_LIMIT);
            if (size == 1) _share("commitBatch, a contribution of 1", gas, 1);
            else _share("commitBatch, a contribution of 100", gas, 100);
        }

        Contribution memory c = _contribution(1);
        vm.prank(contributor);
        contributions.contribute(c, _details());
        _note("contribute, first of a collective");
        c = _contribution(2);
        vm.prank(contributor);
        contributions.contribute(c, _details());
        _note("contribute, next");

        vm.prank(contributor);
        contributions.revoke(contributorIdOf(contributor), 0, 1 << 7);
        _note("revoke, first of 256");
        vm.prank(contributor);
        contributions.revoke(contributorIdOf(contributor), 0, 1 << 8);
        _note("revoke, next of 256");
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Revoke(bytes32 contributorId,uint248 word,uint256 mask,uint256 deadline)"),
                contributorIdOf(contributor),
                0,
                2,
                block.timestamp
            )
        );
        bytes memory signature = _sign(_key("contributor"), _digest(structHash));
        contributions.revokeBySig(contributorIdOf(contributor), 0, 2, block.timestamp, signature);
        _note("revokeBySig, next of 256");
        vm.prank(contributor);
        contributions.revokeAll(contributorIdOf(contributor), 1_000);
        _note("revokeAll, first");
        vm.prank(collective);
        contributions.setAdmission(ROOT, MANIFEST);
        _note("setAdmission, first");
    }

    /// @dev As many bytes as those of a contribution with a sender proof have, under a hybrid key; none of them zero.
    function _details() private pure returns (bytes memory details) {
        details = new bytes(3_500);
        for (uint256 i = 0; i < details.length; ++i) {
            details[i] = 0x61;
        }
    }

    function test_gas_recovery() public {
        bytes32 id = contributorIdOf(contributor);
        vm.prank(contributor);
        contributions.nameRecovery(id, stranger);
        _note("nameRecovery, first");
        vm.prank(stranger);
        contributions.startRecovery(id, operator);
        _note("startRecovery, first");
        vm.prank(contributor);
        contributions.nameRecovery(id, stranger);
        _note("nameRecovery, as a veto");
        vm.prank(stranger);
        contributions.startRecovery(id, operator);
        vm.warp(block.timestamp + contributions.RECOVERY_SECONDS());
        contributions.finishRecovery(id);
        _note("finishRecovery, first");
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("NameRecovery(bytes32 contributorId,address recovery,uint32 sequence,uint256 deadline)"),
                id,
                requester,
                5,
                block.timestamp
            )
        );
        bytes memory signature = _sign(_key("operator"), _digest(structHash));
        contributions.nameRecoveryBySig(id, requester, block.timestamp, signature);
        _note("nameRecoveryBySig, next");
    }

    function test_gas_governance() public {
        vm.prank(stranger);
        codes.approve(MANIFEST, _terms(), "ipfs://manifest");
        _note("approve");
        vm.prank(stranger);
        codes.revoke(MANIFEST);
        _note("revoke code");

        uint256 id = _propose(address(codes), _approval(), DESCRIPTION);
        _note("propose");
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        _vote(id, founders[0], 1);
        _note("vote, first");
        _vote(id, founders[1], 1);
        _vote(id, founders[2], 1);
        _note("vote, next");
        vm.warp(block.timestamp + VOTING_PERIOD);
        _queue(address(codes), _approval(), DESCRIPTION);
        _note("queue");
        vm.warp(block.timestamp + TIMELOCK_DELAY);
        _execute(address(codes), _approval(), DESCRIPTION);
        _note("execute an approval");
        vm.prank(collective);
        membership.admit(stranger);
        _note("admit");
    }

    function test_gas_nodes() public {
        _register("another", stranger, 3);
        _note("register node");
        _accept(worker);
        _note("accept node");
        vm.prank(collective);
        nodes.convene(ROOT);
        _note("convene");
        Committee memory c = _committee(1, 2);
        bytes32 hash = _publish(c);
        _note("publishCommittee of 3");
        vm.prank(collective);
        nodes.acceptCommittee(hash);
        _note("acceptCommittee of 3");
    }

    function test_gas_jobs() public {
        _ready();
        _note("depositBond");
        uint256 id = _jobIn(State.Requested);
        _note("request");
        _lease(id);
        _note("lease");
        _release(id);
        _note("recordRelease, 2 of 3");
        _complete(id);
        _note("complete");
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        _note("settle, first of a collective");
        id = _jobIn(State.Requested);
        _note("request, next");
        _lease(id);
        _note("lease, next");
        _release(id);
        _complete(id);
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        _note("settle, next");
        vm.prank(operator);
        escrow.withdraw(address(token));
        _note("withdraw");
    }

    function test_gas_rewards() public {
        _install(1, 2);
        vm.prank(requester);
        rewards.fund(collective, address(token), 1e6);
        _note("fund, first");
        bytes32[] memory leaves = new bytes32[](PEOPLE);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = rewards.leaf(bytes32(0xbeef0000 + i), 50);
        }
        bytes32 root = Merkle.root(leaves);
        _proposeRoot(root, 50 * PEOPLE);
        _note("propose root, first of a collective");
        vm.warp(block.timestamp + rewards.CHALLENGE_SECONDS());
        rewards.claim(collective, address(token), bytes32(uint256(0xbeef0000)), 50, Merkle.proof(leaves, 0));
        _note("claim among 10000, first, with the root");
        rewards.claim(collective, address(token), bytes32(uint256(0xbeef0001)), 50, Merkle.proof(leaves, 1));
        _note("claim among 10000");

        // Whatever came before, another root costs this much for all of them together, and each pays for the own claim.
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = rewards.leaf(bytes32(0xbeef0000 + i), 100);
        }
        root = Merkle.root(leaves);
        _proposeRoot(root, 100 * PEOPLE);
        vm.assertLe(_note("propose root, next"), PAYOUT_LIMIT);
        vm.warp(block.timestamp + rewards.CHALLENGE_SECONDS());
        _proposeRoot(ROOT, 100 * PEOPLE);
        vm.assertLe(_note("propose root, next, with the one before"), PAYOUT_LIMIT);
        vm.warp(block.timestamp + rewards.CHALLENGE_SECONDS());
        rewards.activate(collective, address(token));
        _note("activate root");
        _proposeRoot(root, 100 * PEOPLE);
        vm.warp(block.timestamp + rewards.CHALLENGE_SECONDS());
        rewards.activate(collective, address(token));
        rewards.claim(collective, address(token), bytes32(uint256(0xbeef0000)), 100, Merkle.proof(leaves, 0));
        _note("claim among 10000, again");
    }

    function _proposeRoot(bytes32 root, uint256 total) private {
        bytes32 digest = rewards.rootDigest(collective, address(token), root, total, MANIFEST, 1);
        bytes[] memory signatures = _quorum(digest, 2);
        rewards.propose(collective, address(token), root, total, MANIFEST, 1, signatures);
    }

    function test_gas_liveness() public {
        LivenessRegistry liveness = new LivenessRegistry(codes, contributions, rewards);
        uint64 epoch = uint64(START / 1 days) + 1;
        uint256 day = uint256(epoch) * 1 days;
        bytes memory parent = Header.encode(FIRST_BLOCK + 1, day - 12, ROOT);
        bytes memory header = Header.encode(FIRST_BLOCK + 2, day, keccak256(parent));
        vm.roll(FIRST_BLOCK + 3);
        vm.setBlockhash(FIRST_BLOCK + 2, keccak256(header));
        vm.prank(collective);
        liveness.setWage(Wage(aggregator, address(token), 100));
        _note("setWage");
        liveness.fixSeed(epoch, header, parent);
        _note("fixSeed");

        bytes memory payload = new bytes(200 * 1_024);
        bytes32[] memory leaves = Payload.leaves(payload);
        Commitment memory m = Commitment(ROOT, Payload.root(leaves), uint64(payload.length), "poll");
        Contribution memory c = _contribution(1);
        bytes32 typeHash = keccak256("Commitment(bytes32 header,bytes32 payload,uint64 length,string source)");
        c.commitment = keccak256(abi.encode(typeHash, m.header, m.payload, m.length, keccak256(bytes(m.source))));
        uint64 index = liveness.drawn(collective, epoch, contributions.leaf(c), m.length);
        bytes memory chunk = Payload.chunk(payload, index);
        bytes32[] memory path = Payload.path(leaves, index);
        liveness.disputeChunk(c, m, epoch, chunk, path);
        _note("disputeChunk of 200 KiB");

        vm.prank(requester);
        token.approve(address(liveness), 1_000);
        vm.prank(requester);
        liveness.fund(collective, address(token), 1_000);
        vm.warp(day + 1 days);
        vm.prank(aggregator);
        liveness.post(collective, epoch, ROOT, MANIFEST, Counts(1, 0, 0, 0));
        _note("post epoch, first of a collective");
        vm.warp(day + 5 days);
        liveness.settle(collective, epoch);
        _note("settle epoch, first of a collective");
    }

    /// @dev What each of so many adds, rounded up.
    function _share(string memory name, uint256 gas, uint256 count) private {
        vm.snapshotValue("operations", name, (gas + count - 1) / count);
    }

    function _note(string memory name) internal returns (uint256) {
        return vm.snapshotGasLastCall("operations", name);
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
