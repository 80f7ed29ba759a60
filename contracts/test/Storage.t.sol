// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {contributorIdOf} from "../src/ContributorId.sol";
import {LivenessRegistry} from "../src/LivenessRegistry.sol";
import {Terms} from "../src/interfaces/ICodeRegistry.sol";
import {Contribution} from "../src/interfaces/IContributionRegistry.sol";
import {State} from "../src/interfaces/IJobEscrow.sol";
import {Counts, Wage} from "../src/interfaces/ILivenessRegistry.sol";
import {BaseTest} from "./BaseTest.sol";
import {vm} from "./Vm.sol";

/// @dev Where the facts lie that `eth_getProof` proves: the table "Storage" of SPEC.md. A failure here is a change of what
/// every verifier reads.
contract StorageTest is BaseTest {
    function test_contributions() public {
        address at = address(contributions);
        bytes32 id = contributorIdOf(contributor);
        vm.prank(aggregator);
        contributions.commitBatch(collective, MANIFEST, 1, MANIFEST);
        Contribution memory c = _contribution(1);
        vm.prank(contributor);
        contributions.contribute(c, "");
        vm.prank(contributor);
        contributions.revoke(id, 5, 9);
        vm.prank(contributor);
        contributions.revokeAll(id, 11);
        vm.prank(collective);
        contributions.setAdmission(MANIFEST, MANIFEST);

        bytes32 own = _in(collective, bytes32(uint256(2)));
        vm.assertEq(vm.load(at, _in(aggregator, own)), contributions.head(collective, aggregator));
        vm.assertEq(vm.load(at, _in(collective, bytes32(uint256(3)))), contributions.directHead(collective));
        vm.assertEq(vm.load(at, _in(bytes32(uint256(5)), _in(id, bytes32(uint256(4))))), bytes32(uint256(9)));
        vm.assertEq(vm.load(at, _in(id, bytes32(uint256(5)))), bytes32(uint256(11)));
        vm.assertEq(vm.load(at, _in(collective, bytes32(uint256(6)))), MANIFEST);
    }

    function test_recoveries() public {
        bytes32 id = contributorIdOf(contributor);
        vm.prank(contributor);
        contributions.nameRecovery(id, stranger);
        vm.prank(stranger);
        contributions.startRecovery(id, operator);
        address at = address(contributions);
        uint256 slot = uint256(_in(id, bytes32(uint256(7))));
        uint256 finishableAt = START + contributions.RECOVERY_SECONDS();
        vm.assertEq(vm.load(at, bytes32(slot)), bytes32(uint256(2) << 224));
        vm.assertEq(vm.load(at, bytes32(slot + 1)), contributorIdOf(stranger));
        vm.assertEq(uint256(vm.load(at, bytes32(slot + 2))), uint256(uint160(operator)) | (finishableAt << 160));
        vm.warp(finishableAt);
        contributions.finishRecovery(id);
        uint256 first = uint256(uint160(operator)) | (FIRST_BLOCK << 160) | (uint256(3) << 224);
        vm.assertEq(uint256(vm.load(at, bytes32(slot))), first);
        vm.assertEq(vm.load(at, bytes32(slot + 2)), bytes32(0));
    }

    function test_approvals() public {
        Terms memory terms = _terms();
        (terms.node, terms.returnSeconds) = (worker, 3 days);
        vm.prank(collective);
        codes.approve(MANIFEST, terms, "");
        uint256 slot = uint256(_in(MANIFEST, _in(collective, bytes32(0))));
        address at = address(codes);
        vm.assertEq(vm.load(at, bytes32(slot)), bytes32(uint256(1)));
        vm.assertEq(vm.load(at, bytes32(slot + 1)), contributorIdOf(address(token)));
        vm.assertEq(vm.load(at, bytes32(slot + 2)), bytes32(PRICE));
        vm.assertEq(vm.load(at, bytes32(slot + 3)), bytes32(BOND));
        vm.assertEq(vm.load(at, bytes32(slot + 4)), OUTPUT_TO);
        uint256 rules = uint256(vm.load(at, bytes32(slot + 5)));
        vm.assertEq(uint64(rules), _terms().expiry);
        vm.assertEq(uint32(rules >> 64), MAX_RUNS);
        vm.assertEq(uint16(rules >> 96), 7_000);
        vm.assertEq(uint16(rules >> 112), 2_000);
        vm.assertEq(rules >> 128, 3 days);
        vm.assertEq(vm.load(at, bytes32(slot + 6)), worker);
        vm.prank(collective);
        codes.revoke(MANIFEST);
        vm.assertEq(vm.load(at, bytes32(slot)), bytes32(uint256(2)));
    }

    function test_nodes() public {
        _accept(worker);
        bytes32 hash = _install(3, 2);
        address at = address(nodes);
        uint256 slot = uint256(_in(worker, bytes32(uint256(2))));
        vm.assertEq(vm.load(at, bytes32(slot)), contributorIdOf(operator));
        vm.assertEq(vm.load(at, bytes32(slot + 1)), contributorIdOf(vm.addr(workerKey)));
        vm.assertEq(vm.load(at, bytes32(slot + 2)), sha256(bytes(RECIPIENT)));
        vm.assertEq(vm.load(at, bytes32(slot + 3)), bytes32(uint256(1)));
        vm.assertEq(vm.load(at, bytes32(slot + 4)), keccak256("measurement"));
        vm.assertEq(vm.load(at, bytes32(slot + 5)), keccak256("transport"));
        bytes32 own = _in(collective, bytes32(uint256(4)));
        vm.assertEq(vm.load(at, _in(worker, own)), nodes.keysHash(worker));
        vm.assertEq(vm.load(at, _in(collective, bytes32(uint256(5)))), bytes32(uint256(3)));
        own = _in(collective, bytes32(uint256(6)));
        vm.assertEq(vm.load(at, _in(bytes32(uint256(3)), own)), hash);
        _assertCommittee(at, uint256(_in(hash, bytes32(uint256(3)))));
        vm.prank(collective);
        nodes.convene(MANIFEST);
        vm.assertEq(vm.load(at, _in(collective, bytes32(uint256(7)))), MANIFEST);
        vm.prank(operator);
        nodes.retire(worker);
        vm.assertEq(vm.load(at, bytes32(slot)), contributorIdOf(operator) | bytes32(uint256(1) << 160));
    }

    function _assertCommittee(address at, uint256 slot) internal view {
        vm.assertEq(vm.load(at, bytes32(slot)), contributorIdOf(collective));
        uint256 packed = uint256(vm.load(at, bytes32(slot + 1)));
        vm.assertEq(uint64(packed), 3);
        vm.assertEq(uint16(packed >> 64), 2);
        vm.assertEq(packed >> 80, 1);
        vm.assertEq(vm.load(at, bytes32(slot + 2)), sha256(bytes(RECIPIENT)));
        vm.assertEq(vm.load(at, bytes32(slot + 3)), keccak256("certificate"));
        vm.assertEq(vm.load(at, bytes32(slot + 4)), bytes32(holders.length));
        vm.assertEq(vm.load(at, bytes32(slot + 5)), bytes32(holders.length));
        uint256 members = uint256(keccak256(abi.encode(slot + 4)));
        uint256 signers = uint256(keccak256(abi.encode(slot + 5)));
        for (uint256 i = 0; i < holders.length; ++i) {
            vm.assertEq(vm.load(at, bytes32(members + i)), holders[i]);
            vm.assertEq(vm.load(at, bytes32(signers + i)), contributorIdOf(vm.addr(holderKeys[i])));
        }
    }

    function test_jobs() public {
        _ready();
        uint256 id = _jobIn(State.Completed);
        address at = address(escrow);
        vm.assertEq(vm.load(at, _in(collective, bytes32(0))), escrow.releaseHead(collective));
        vm.assertEq(vm.load(at, _in(collective, bytes32(uint256(1)))), escrow.receiptHead(collective));
        uint256 slot = uint256(_in(bytes32(id), bytes32(uint256(6))));
        uint256 first = uint256(vm.load(at, bytes32(slot)));
        vm.assertEq(address(uint160(first)), collective);
        vm.assertEq(uint8(first >> 160), uint256(State.Completed));
        vm.assertEq(vm.load(at, bytes32(slot + 3)), worker);
        vm.assertEq(vm.load(at, bytes32(slot + 9)), INPUT_ROOT);
        vm.assertEq(vm.load(at, bytes32(slot + 11)), escrow.job(id).receipt);
        bytes32 own = _in(collective, bytes32(uint256(8)));
        vm.assertEq(vm.load(at, _in(MANIFEST, own)), bytes32(uint256(1)));
        slot = uint256(_in(address(token), _in(worker, bytes32(uint256(2)))));
        vm.assertEq(vm.load(at, bytes32(slot)), bytes32(BOND));
        vm.assertEq(vm.load(at, bytes32(slot + 1)), bytes32(BOND));
        vm.warp(block.timestamp + 2 days);
        escrow.settle(id);
        own = _in(address(token), bytes32(uint256(3)));
        vm.assertEq(vm.load(at, _in(operator, own)), bytes32(escrow.credit(address(token), operator)));
        own = _in(collective, bytes32(uint256(2)));
        bytes32 funded = bytes32(rewards.pool(collective, address(token)).funded);
        vm.assertEq(vm.load(address(rewards), _in(address(token), own)), funded);
    }

    function test_liveness() public {
        LivenessRegistry liveness = new LivenessRegistry(codes, contributions, rewards);
        address at = address(liveness);
        bytes32 epoch = bytes32(uint256(START / 1 days));
        vm.store(at, keccak256(abi.encode(epoch, 0)), MANIFEST);
        vm.assertEq(liveness.randomnessOf(uint64(uint256(epoch))), MANIFEST);
        bytes32 own = _in(epoch, _in(collective, bytes32(uint256(4))));
        vm.store(at, _in(MANIFEST, own), bytes32(uint256(1)));
        vm.assertTrue(liveness.shown(collective, uint64(uint256(epoch)), MANIFEST));

        vm.warp(START - 1 days);
        vm.prank(collective);
        liveness.setWage(Wage(aggregator, address(token), 60));
        vm.warp(START + 1 days);
        vm.assertEq(vm.load(at, _in(collective, bytes32(uint256(3)))), epoch);
        vm.prank(requester);
        token.approve(at, 100);
        vm.prank(requester);
        liveness.fund(collective, address(token), 100);
        vm.prank(aggregator);
        liveness.post(collective, uint64(uint256(epoch)), OUTPUT_TO, INPUT_ROOT, Counts(1, 0, 0, 0));
        vm.assertEq(vm.load(at, _in(address(token), _in(collective, bytes32(uint256(1))))), bytes32(uint256(40)));
        vm.assertEq(vm.load(at, _in(collective, bytes32(uint256(2)))), epoch);
        uint256 slot = uint256(_in(collective, bytes32(uint256(5))));
        vm.assertEq(vm.load(at, bytes32(slot)), contributorIdOf(aggregator));
        vm.assertEq(vm.load(at, bytes32(slot + 1)), contributorIdOf(address(token)));
        vm.assertEq(vm.load(at, bytes32(slot + 2)), bytes32(uint256(60)));
        slot = uint256(_in(epoch, _in(collective, bytes32(uint256(6)))));
        vm.assertEq(vm.load(at, bytes32(slot)), OUTPUT_TO);
        vm.assertEq(vm.load(at, bytes32(slot + 1)), INPUT_ROOT);
        vm.assertEq(vm.load(at, bytes32(slot + 2)), contributorIdOf(address(token)));
        vm.assertEq(vm.load(at, bytes32(slot + 3)), bytes32(uint256(60)));
        uint256 state = (START + 5 days) << 160 | uint160(aggregator);
        vm.assertEq(vm.load(at, bytes32(slot + 4)), bytes32(state));
        vm.warp(START + 5 days);
        liveness.settle(collective, uint64(uint256(epoch)));
        vm.assertEq(vm.load(at, bytes32(slot + 4)), bytes32(state | 1 << 224));
    }

    /// @dev Slot of a key in the mapping at `slot`.
    function _in(bytes32 key, bytes32 slot) internal pure returns (bytes32) {
        return keccak256(abi.encode(key, slot));
    }

    function _in(address key, bytes32 slot) internal pure returns (bytes32) {
        return keccak256(abi.encode(key, slot));
    }
}
