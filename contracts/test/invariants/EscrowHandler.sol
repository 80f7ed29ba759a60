// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {contributorIdOf} from "../../src/ContributorId.sol";
import {Terms} from "../../src/interfaces/ICodeRegistry.sol";
import {Job, Receipt, State} from "../../src/interfaces/IJobEscrow.sol";
import {NodeKeys} from "../../src/interfaces/INodeRegistry.sol";
import {Pool} from "../../src/interfaces/IRewardDistributor.sol";
import {BaseTest} from "../BaseTest.sol";
import {Merkle} from "../Merkle.sol";
import {vm} from "../Vm.sol";

/// @dev Everybody at once, in any order: jobs of several approvals, bonds, rewards, revocations, passing time. Each action
/// picks something that it can act on and counts that it did; what it expects is kept beside the contracts.
contract EscrowHandler is BaseTest {
    uint256 internal constant APPROVALS = 4;
    uint256 internal constant PAYEES = 5;

    mapping(string action => uint256) public done;

    /// @dev Chains as the events would replay them.
    bytes32 public releaseReplay;
    bytes32 public receiptReplay;
    /// @dev First runs leased of each approval.
    mapping(bytes32 manifest => uint256) public firstLeases;

    /// @dev Leaves of the active and of the pending root.
    uint256[PAYEES] internal _active;
    uint256[PAYEES] internal _pending;

    constructor() {
        setUp();
        NodeKeys memory both = _keys(vm.addr(workerKey), nodes.ROLE_COMPUTE() | nodes.ROLE_HEAVY());
        vm.prank(operator);
        nodes.rotate(worker, both, RECIPIENT, ENDPOINT);
        _accept(worker);
        _install(1, 2);
        for (uint256 i = 0; i < APPROVALS; ++i) {
            Terms memory terms = _terms();
            terms.price = PRICE * i;
            terms.bond = BOND * (APPROVALS - i);
            terms.maxRuns = 12;
            terms.contributorsBps = uint16(2_500 * i);
            // One of them hands the data over, with a time of its own.
            if (i == 1) (terms.node, terms.returnSeconds) = (worker, 3 days);
            vm.prank(collective);
            codes.approve(manifest(i), terms, "");
        }
        // Money of another collective, which must never move.
        vm.prank(stranger);
        rewards.fund(stranger, address(token), 777);
    }

    // Actions

    function deposit(uint256 amount) external {
        vm.prank(operator);
        escrow.depositBond(worker, address(token), _bound(amount, 0, 5_000));
        done["deposit"] += 1;
    }

    function withdrawBond(uint256 amount) external {
        (uint256 total, uint256 locked) = escrow.bond(worker, address(token));
        vm.prank(operator);
        escrow.withdrawBond(worker, address(token), _bound(amount, 0, total - locked));
        done["withdrawBond"] += 1;
    }

    function request(uint256 which) external {
        bytes32 chosen = manifest(which % APPROVALS);
        (, Terms memory terms) = codes.approval(collective, chosen);
        if (!codes.isActive(collective, chosen) || escrow.runs(collective, chosen) >= terms.maxRuns) return;
        vm.prank(requester);
        escrow.request(collective, chosen, OUTPUT_TO, type(uint256).max);
        done["request"] += 1;
    }

    function lease(uint256 seed) external {
        uint256 id = _pick(seed, State.Requested);
        if (id == 0) id = _pick(seed, State.Leased);
        if (id == 0) return;
        Job memory job = escrow.job(id);
        uint64 deny = uint64(block.number - 1);
        bytes32 hash = blockhash(deny);
        vm.prank(operator);
        try escrow.lease(id, worker, deny, hash, deny, hash) {
            done["lease"] += 1;
            if (job.attempt == 0) firstLeases[job.manifest] += 1;
        } catch {
            done["lease refused"] += 1;
        }
    }

    function release(uint256 seed) external {
        uint256 id = _pick(seed, State.Leased);
        if (id == 0) return;
        Job memory job = escrow.job(id);
        if (block.timestamp > job.leaseDeadline + escrow.RELEASE_GRACE_SECONDS()) return;
        bytes32 structHash = _releaseStruct(id, job);
        _release(id);
        releaseReplay = keccak256(abi.encode(releaseReplay, structHash));
        done["release"] += 1;
    }

    function complete(uint256 seed) external {
        uint256 id = _pick(seed, State.Released);
        if (id == 0 || block.timestamp > _due(id)) return;
        Receipt memory receipt = _receipt(id);
        receipt.outcome = uint8(1 + seed % 2);
        escrow.complete(id, receipt, _sign(workerKey, escrow.receiptDigest(receipt)));
        receiptReplay = keccak256(abi.encode(receiptReplay, escrow.job(id).receipt));
        done["complete"] += 1;
    }

    function dispute(uint256 seed) external {
        uint256 id = _pick(seed, State.Completed);
        if (id == 0 || block.timestamp > escrow.job(id).completedAt + escrow.DISPUTE_SECONDS()) return;
        vm.prank(collective);
        escrow.dispute(id);
        done["dispute"] += 1;
    }

    function resolve(uint256 seed) external {
        uint256 id = _pick(seed, State.Disputed);
        if (id == 0) return;
        vm.prank(collective);
        escrow.resolve(id, seed % 2 == 0);
        done["resolve"] += 1;
    }

    function settle(uint256 seed) external {
        uint256 id = _pick(seed, seed % 5 == 0 ? State.Disputed : State.Completed);
        if (id == 0) return;
        try escrow.settle(id) {
            done["settle"] += 1;
        } catch {
            done["settle refused"] += 1;
        }
    }

    function abandon(uint256 seed) external {
        uint256 id = _pick(seed, State.Released);
        if (id == 0) return;
        uint256 until = _due(id);
        // Left to itself the walk seldom lets a receipt's time run out.
        if (seed % 4 == 0 && block.timestamp <= until) vm.warp(until + 1);
        if (block.timestamp <= until) return;
        escrow.abandon(id);
        done["abandon"] += 1;
    }

    function refund(uint256 seed) external {
        uint256 id = _pick(seed, seed % 2 == 0 ? State.Requested : State.Leased);
        if (id == 0) return;
        try escrow.refund(id) {
            done["refund"] += 1;
        } catch {
            done["refund refused"] += 1;
        }
    }

    function withdraw(uint256 seed) external {
        address account = accounts()[seed % 3];
        if (escrow.credit(address(token), account) == 0) return;
        vm.prank(account);
        escrow.withdraw(address(token));
        done["withdraw"] += 1;
    }

    /// @dev Rare, since nothing starts under a revoked approval.
    function revokeCode(uint256 seed) external {
        bytes32 chosen = manifest(seed % APPROVALS);
        if (seed % 64 != 0 || !codes.isActive(collective, chosen)) return;
        vm.prank(collective);
        codes.revoke(chosen);
        done["revokeCode"] += 1;
    }

    /// @dev Roots whose leaves may add up to more than the total, as a bad committee would sign.
    function proposeRoot(uint256 seed) external {
        _ripen();
        Pool memory pool = rewards.pool(collective, address(token));
        if (pool.pendingRoot != 0) return;
        uint256 total = _bound(seed, pool.total, pool.funded);
        for (uint256 i = 0; i < PAYEES; ++i) {
            _pending[i] = uint256(keccak256(abi.encode(seed, i))) % (total / 2 + 1);
        }
        bytes32 root = Merkle.root(_leaves(_pending));
        bytes32 digest = rewards.rootDigest(collective, address(token), root, total, MANIFEST, 1);
        rewards.propose(collective, address(token), root, total, MANIFEST, 1, _quorum(digest, 2));
        done["proposeRoot"] += 1;
    }

    function veto(uint256 seed) external {
        _ripen();
        if (seed % 4 != 0 || rewards.pool(collective, address(token)).pendingRoot == 0) return;
        vm.prank(collective);
        rewards.veto(collective, address(token));
        done["veto"] += 1;
    }

    function claim(uint256 seed) external {
        _ripen();
        uint256 i = seed % PAYEES;
        if (rewards.pool(collective, address(token)).root == 0) return;
        bytes32[] memory proof = Merkle.proof(_leaves(_active), i);
        try rewards.claim(collective, address(token), payee(i), _active[i], proof) {
            done["claim"] += 1;
        } catch {
            done["claim refused"] += 1;
        }
    }

    /// @dev Mostly minutes and hours, seldom days.
    function pass(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 1, time % 4 == 0 ? 2 days : 1 hours));
        vm.roll(block.number + 1);
        done["pass"] += 1;
    }

    // What the invariants read

    function manifest(uint256 i) public pure returns (bytes32) {
        return keccak256(abi.encode("approval", i));
    }

    function payee(uint256 i) public pure returns (bytes32) {
        return contributorIdOf(address(uint160(0xfee0000 + i)));
    }

    /// @dev All who can have a credit.
    function accounts() public view returns (address[3] memory) {
        return [requester, operator, collective];
    }

    /// @dev Prices in escrow and bonds locked, as the jobs' states say.
    function open() external view returns (uint256 prices, uint256 locked) {
        for (uint256 id = 1; id <= escrow.jobs(); ++id) {
            Job memory job = escrow.job(id);
            (, Terms memory terms) = codes.approval(job.collective, job.manifest);
            bool ended = job.state >= State.Settled;
            if (!ended) prices += terms.price;
            if (!ended && job.state >= State.Leased) locked += terms.bond;
        }
    }

    function credits() external view returns (uint256 sum) {
        for (uint256 i = 0; i < 3; ++i) {
            sum += escrow.credit(address(token), accounts()[i]);
        }
    }

    function bond() external view returns (uint256 total, uint256 locked) {
        return escrow.bond(worker, address(token));
    }

    function heads() external view returns (bytes32 released, bytes32 received) {
        return (escrow.releaseHead(collective), escrow.receiptHead(collective));
    }

    function runs(uint256 i) external view returns (uint256 consumed, uint256 most) {
        (, Terms memory terms) = codes.approval(collective, manifest(i));
        return (escrow.runs(collective, manifest(i)), terms.maxRuns);
    }

    function balances() external view returns (uint256 ofEscrow, uint256 ofRewards) {
        return (token.balanceOf(address(escrow)), token.balanceOf(address(rewards)));
    }

    function pools() external view returns (Pool memory own, Pool memory foreign) {
        return (rewards.pool(collective, address(token)), rewards.pool(stranger, address(token)));
    }

    function paid() external view returns (uint256 recorded, uint256 received) {
        for (uint256 i = 0; i < PAYEES; ++i) {
            recorded += rewards.claimed(collective, address(token), payee(i));
            received += token.balanceOf(address(uint160(0xfee0000 + i)));
        }
    }

    // Helpers

    /// @dev When the receipt is due.
    function _due(uint256 id) private view returns (uint256) {
        Job memory job = escrow.job(id);
        return job.releasedAt + (job.manifest == manifest(1) ? 3 days : escrow.RECEIPT_SECONDS());
    }

    function _pick(uint256 seed, State state) internal view returns (uint256) {
        uint256 count = escrow.jobs();
        for (uint256 i = 0; i < count; ++i) {
            uint256 id = 1 + (seed % count + i) % count;
            if (escrow.job(id).state == state) return id;
        }
        return 0;
    }

    function _ripen() internal {
        Pool memory pool = rewards.pool(collective, address(token));
        if (pool.pendingRoot == 0 || block.timestamp < pool.activeFrom) return;
        rewards.activate(collective, address(token));
        _active = _pending;
    }

    function _leaves(uint256[PAYEES] storage amounts) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](PAYEES);
        for (uint256 i = 0; i < PAYEES; ++i) {
            leaves[i] = rewards.leaf(payee(i), amounts[i]);
        }
    }

    function _releaseStruct(uint256 id, Job memory job) internal pure returns (bytes32) {
        bytes32 typehash = keccak256(
            "Release(uint256 job,uint32 attempt,address collective,bytes32 manifest,bytes32 node,bytes32 keys,uint64 allowBlock,bytes32 allowHash,uint64 denyBlock,bytes32 denyHash,bytes32 inputRoot,uint32 inputCount,uint64 epoch)"
        );
        bytes memory front = abi.encode(typehash, id, job.attempt, job.collective, job.manifest, job.node, job.keysHash);
        bytes memory back =
            abi.encode(job.allowBlock, job.allowHash, job.denyBlock, job.denyHash, INPUT_ROOT, INPUT_COUNT, job.epoch);
        return keccak256(bytes.concat(front, back));
    }
}
