// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {Custody} from "./Custody.sol";
import {ReceiptRegistry} from "./ReceiptRegistry.sol";
import {ICodeRegistry, Terms} from "./interfaces/ICodeRegistry.sol";
import {IJobEscrow, Job, Receipt, Release, State} from "./interfaces/IJobEscrow.sol";
import {INodeRegistry, NodeKeys} from "./interfaces/INodeRegistry.sol";
import {IRewardDistributor} from "./interfaces/IRewardDistributor.sol";

/// @title JobEscrow
/// @notice See IJobEscrow, which is the manual. For every token: balance = prices of open jobs + bonds + credits.
contract JobEscrow is IJobEscrow, ReceiptRegistry, Custody, EIP712 {
    using SafeERC20 for IERC20;

    bytes32 private constant RELEASE_TYPEHASH = keccak256(
        "Release(uint256 job,uint32 attempt,address collective,bytes32 manifest,bytes32 node,bytes32 keys,uint64 allowBlock,bytes32 allowHash,uint64 denyBlock,bytes32 denyHash,bytes32 inputRoot,uint32 inputCount,uint64 epoch)"
    );
    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(uint256 job,uint32 attempt,bytes32 manifest,bytes32 allowHash,bytes32 denyHash,bytes32 inputRoot,uint32 inputCount,uint8 outcome,bytes32 output,uint64 outputBytes,uint64 fuel,uint64 memoryBytes,uint64 milliseconds,bytes32 sandbox,bytes32 evidence,uint64 lag,bytes32 quorum)"
    );

    uint8 private constant OUTCOME_RAN = 1;
    uint8 private constant OUTCOME_FAILED = 2;
    uint256 private constant WHOLE_BPS = 10_000;

    /// @inheritdoc IJobEscrow
    uint64 public constant LEASE_SECONDS = 1 hours;
    /// @inheritdoc IJobEscrow
    uint64 public constant RELEASE_GRACE_SECONDS = 10 minutes;
    /// @inheritdoc IJobEscrow
    uint64 public constant RECEIPT_SECONDS = 1 days;
    /// @inheritdoc IJobEscrow
    uint64 public constant REQUEST_SECONDS = 7 days;
    /// @inheritdoc IJobEscrow
    uint64 public constant DISPUTE_SECONDS = 1 days;
    /// @inheritdoc IJobEscrow
    uint64 public constant RESOLVE_SECONDS = 30 days;

    ICodeRegistry private immutable _codeRegistry;
    IRewardDistributor private immutable _rewardDistributor;

    // Written through storage pointers only, which the detector does not see.
    // slither-disable-next-line uninitialized-state
    mapping(uint256 job => Job) private _jobs;

    /// @inheritdoc IJobEscrow
    uint256 public jobs;
    /// @inheritdoc IJobEscrow
    mapping(address collective => mapping(bytes32 manifest => uint32)) public runs;

    constructor(ICodeRegistry codeRegistry, INodeRegistry nodeRegistry, IRewardDistributor rewardDistributor)
        EIP712("JobEscrow", "1")
        Custody(nodeRegistry)
    {
        _codeRegistry = codeRegistry;
        _rewardDistributor = rewardDistributor;
    }

    // Requester

    /// @inheritdoc IJobEscrow
    function request(address collective, bytes32 manifest, bytes32 recipient, uint256 amount)
        external
        nonReentrant
        returns (uint256 id)
    {
        require(_codeRegistry.isActive(collective, manifest), NotActive(collective, manifest));
        Terms memory terms = _terms(collective, manifest);
        require(recipient == terms.recipient, RecipientMismatch(terms.recipient, recipient));
        require(amount >= terms.price, Underpaid(terms.price, amount));
        require(runs[collective][manifest] < terms.maxRuns, RunsExhausted(terms.maxRuns));

        id = ++jobs;
        Job storage stored = _jobs[id];
        stored.collective = collective;
        stored.state = State.Requested;
        stored.requestedAt = uint64(block.timestamp);
        stored.manifest = manifest;
        stored.requester = msg.sender;
        emit JobRequested(id, collective, manifest, msg.sender);
        _pull(terms.token, terms.price);
    }

    /// @inheritdoc IJobEscrow
    function refund(uint256 id) external nonReentrant {
        Job storage stored = _jobs[id];
        _requireNoLease(id, stored);
        Terms memory terms = _terms(stored.collective, stored.manifest);
        require(_isDead(stored, terms), NotRefundable(id));

        if (stored.state == State.Leased) _unlock(stored.node, terms);
        stored.state = State.Refunded;
        emit Refunded(id, stored.requester, terms.price);
        _credit(stored.requester, terms.token, terms.price);
    }

    // Node

    /// @inheritdoc IJobEscrow
    function lease(uint256 id, bytes32 node, uint64 allowBlock, bytes32 allowHash, uint64 denyBlock, bytes32 denyHash)
        external
        nonReentrant
    {
        Job storage stored = _jobs[id];
        _checkBlocks(allowBlock, allowHash, denyBlock, denyHash);
        _lease(id, stored, node);

        stored.allowBlock = allowBlock;
        stored.allowHash = allowHash;
        stored.denyBlock = denyBlock;
        stored.denyHash = denyHash;
        emit Leased(id, stored.attempt, node, stored.keysHash, allowBlock, denyBlock);
    }

    /// @inheritdoc IJobEscrow
    function recordRelease(
        uint256 id,
        uint32 attempt,
        bytes32 inputRoot,
        uint32 inputCount,
        bytes[] calldata signatures
    ) external nonReentrant {
        Job storage stored = _jobs[id];
        _requireState(id, stored, State.Leased);
        require(attempt == stored.attempt, WrongAttempt(stored.attempt, attempt));
        uint256 deadline = stored.leaseDeadline + RELEASE_GRACE_SECONDS;
        require(block.timestamp <= deadline, TooLate(id, deadline));
        bytes32 structHash = _releaseHash(id, inputRoot, inputCount);
        _nodeRegistry.checkQuorum(stored.collective, stored.epoch, _hashTypedDataV4(structHash), signatures);

        stored.state = State.Released;
        stored.releasedAt = uint64(block.timestamp);
        stored.inputRoot = inputRoot;
        stored.inputCount = inputCount;
        bytes32 head = _foldRelease(stored.collective, structHash);
        emit Released(id, attempt, inputRoot, inputCount, stored.epoch, head);
    }

    /// @inheritdoc IJobEscrow
    function complete(uint256 id, Receipt calldata receipt, bytes calldata nodeSignature) external nonReentrant {
        Job storage stored = _jobs[id];
        _requireState(id, stored, State.Released);
        uint256 deadline = _receiptDeadline(stored);
        require(block.timestamp <= deadline, TooLate(id, deadline));
        _checkReceipt(id, stored, receipt);
        bytes32 structHash = _receiptHash(receipt);
        address signer = ECDSA.recoverCalldata(_hashTypedDataV4(structHash), nodeSignature);
        require(signer == stored.signer, InvalidSignature(stored.signer));

        stored.state = State.Completed;
        stored.completedAt = uint64(block.timestamp);
        stored.outcome = receipt.outcome;
        stored.receipt = structHash;
        bytes32 head = _foldReceipt(stored.collective, structHash);
        emit Completed(id, receipt, head);
    }

    // Settlement

    /// @inheritdoc IJobEscrow
    function dispute(uint256 id) external nonReentrant {
        Job storage stored = _jobs[id];
        _requireState(id, stored, State.Completed);
        address collective = stored.collective;
        require(msg.sender == collective || msg.sender == _codeRegistry.guardian(collective), NotCollective(msg.sender));
        uint256 deadline = stored.completedAt + DISPUTE_SECONDS;
        require(block.timestamp <= deadline, TooLate(id, deadline));

        stored.state = State.Disputed;
        stored.disputedAt = uint64(block.timestamp);
        emit Disputed(id, msg.sender);
    }

    /// @inheritdoc IJobEscrow
    function resolve(uint256 id, bool pay) external nonReentrant {
        Job storage stored = _jobs[id];
        _requireState(id, stored, State.Disputed);
        require(msg.sender == stored.collective, NotCollective(msg.sender));
        if (pay) _settle(id, stored);
        else _abandon(id, stored);
    }

    /// @inheritdoc IJobEscrow
    function settle(uint256 id) external nonReentrant {
        Job storage stored = _jobs[id];
        uint256 until;
        if (stored.state == State.Disputed) {
            until = stored.disputedAt + RESOLVE_SECONDS;
        } else {
            _requireState(id, stored, State.Completed);
            until = stored.completedAt + DISPUTE_SECONDS;
        }
        require(block.timestamp > until, TooEarly(id, until));
        _settle(id, stored);
    }

    /// @inheritdoc IJobEscrow
    function abandon(uint256 id) external nonReentrant {
        Job storage stored = _jobs[id];
        _requireState(id, stored, State.Released);
        uint256 until = _receiptDeadline(stored);
        require(block.timestamp > until, TooEarly(id, until));
        _abandon(id, stored);
    }

    // Views

    /// @inheritdoc IJobEscrow
    function job(uint256 id) external view returns (Job memory) {
        return _jobs[id];
    }

    /// @inheritdoc IJobEscrow
    function releaseDigest(uint256 id, bytes32 inputRoot, uint32 inputCount) external view returns (bytes32) {
        return _hashTypedDataV4(_releaseHash(id, inputRoot, inputCount));
    }

    /// @inheritdoc IJobEscrow
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32) {
        return _hashTypedDataV4(_receiptHash(receipt));
    }

    // Lease

    /// @dev All of a lease but the blocks.
    function _lease(uint256 id, Job storage stored, bytes32 node) private {
        _requireNoLease(id, stored);
        uint256 deadline = stored.requestedAt + REQUEST_SECONDS;
        require(block.timestamp <= deadline, RequestExpired(id, deadline));
        address collective = stored.collective;
        bytes32 manifest = stored.manifest;
        require(_codeRegistry.isActive(collective, manifest), NotActive(collective, manifest));
        Terms memory terms = _terms(collective, manifest);
        address signer = _checkNode(collective, node, terms.node);
        uint64 epoch = _nodeRegistry.currentEpoch(collective);
        require(epoch != 0, NoCommittee(collective));

        if (stored.state == State.Leased) {
            _unlock(stored.node, terms);
        } else {
            // Only here: an attempt that ends without a release is tried again on the same run.
            require(runs[collective][manifest] < terms.maxRuns, RunsExhausted(terms.maxRuns));
            runs[collective][manifest] += 1;
        }
        _lock(node, terms);
        stored.state = State.Leased;
        stored.attempt += 1;
        stored.leaseDeadline = uint64(block.timestamp) + LEASE_SECONDS;
        stored.node = node;
        stored.keysHash = _nodeRegistry.acceptedKeys(collective, node);
        stored.signer = signer;
        stored.epoch = epoch;
        // Zero in most votes: then a word that is not written costs nothing.
        if (terms.returnSeconds != 0) stored.returnSeconds = terms.returnSeconds;
    }

    /// @dev Neither leased now nor ever released: Requested, or Leased with deadline and grace over.
    function _requireNoLease(uint256 id, Job storage stored) private view {
        if (stored.state == State.Requested) return;
        _requireState(id, stored, State.Leased);
        uint256 until = stored.leaseDeadline + RELEASE_GRACE_SECONDS;
        require(block.timestamp > until, LeaseLive(id, until));
    }

    /// @dev Acceptance makes a heavy node known to the holders; only a vote that names it hands it anything.
    function _checkNode(address collective, bytes32 node, bytes32 named) private view returns (address signer) {
        (address operator, NodeKeys memory keys,) = _nodeRegistry.node(node);
        require(msg.sender == keys.signer || msg.sender == operator, NotNode(node, msg.sender));
        require(_nodeRegistry.isAccepted(collective, node), NotAccepted(collective, node));
        if (named == 0) {
            require(keys.roles & _nodeRegistry.ROLE_COMPUTE() != 0, NotCompute(node));
        } else {
            require(node == named, NotHandedTo(node, named));
            require(keys.roles & _nodeRegistry.ROLE_HEAVY() != 0, NotHeavy(node));
        }
        return keys.signer;
    }

    function _checkBlocks(uint64 allowBlock, bytes32 allowHash, uint64 denyBlock, bytes32 denyHash) private view {
        require(allowBlock <= denyBlock && denyBlock < block.number, BlocksOutOfOrder(allowBlock, denyBlock));
        bytes32 known = blockhash(denyBlock);
        require(known != 0, DenyBlockForgotten(denyBlock));
        require(known == denyHash, BlockHashMismatch(denyBlock, known, denyHash));
        // Finality may lag behind the 256 blocks of the opcode; EIP-2935 remembers 8,191 where it is deployed.
        known = Blockhash.blockHash(allowBlock);
        require(known == 0 || known == allowHash, BlockHashMismatch(allowBlock, known, allowHash));
    }

    // Release and receipt

    function _releaseHash(uint256 id, bytes32 inputRoot, uint32 inputCount) private view returns (bytes32) {
        Job storage stored = _jobs[id];
        Release memory release = Release({
            job: id,
            attempt: stored.attempt,
            collective: stored.collective,
            manifest: stored.manifest,
            node: stored.node,
            keys: stored.keysHash,
            allowBlock: stored.allowBlock,
            allowHash: stored.allowHash,
            denyBlock: stored.denyBlock,
            denyHash: stored.denyHash,
            inputRoot: inputRoot,
            inputCount: inputCount,
            epoch: stored.epoch
        });
        // All fields are words, so the struct's encoding is the concatenation that EIP-712 asks for.
        return keccak256(abi.encode(RELEASE_TYPEHASH, release));
    }

    function _receiptHash(Receipt calldata receipt) private pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_TYPEHASH, receipt));
    }

    function _receiptDeadline(Job storage stored) private view returns (uint256) {
        return stored.releasedAt + (stored.returnSeconds == 0 ? RECEIPT_SECONDS : stored.returnSeconds);
    }

    function _checkReceipt(uint256 id, Job storage stored, Receipt calldata receipt) private view {
        require(receipt.job == id, ReceiptMismatch("job"));
        require(receipt.attempt == stored.attempt, ReceiptMismatch("attempt"));
        require(receipt.manifest == stored.manifest, ReceiptMismatch("manifest"));
        require(receipt.allowHash == stored.allowHash, ReceiptMismatch("allowHash"));
        require(receipt.denyHash == stored.denyHash, ReceiptMismatch("denyHash"));
        require(receipt.inputRoot == stored.inputRoot, ReceiptMismatch("inputRoot"));
        require(receipt.inputCount == stored.inputCount, ReceiptMismatch("inputCount"));
        uint8 outcome = receipt.outcome;
        require(outcome == OUTCOME_RAN || outcome == OUTCOME_FAILED, UnknownOutcome(outcome));
    }

    // Ends

    function _settle(uint256 id, Job storage stored) private {
        Terms memory terms = _terms(stored.collective, stored.manifest);
        (uint256 contributors, uint256 node, uint256 treasury) = _split(terms);

        stored.state = State.Settled;
        _unlock(stored.node, terms);
        emit Settled(id, contributors, node, treasury);
        _credit(_operator(stored.node), terms.token, node);
        _credit(stored.collective, terms.token, treasury);
        _fund(stored.collective, terms.token, contributors);
    }

    function _abandon(uint256 id, Job storage stored) private {
        Terms memory terms = _terms(stored.collective, stored.manifest);
        (uint256 contributors, uint256 node, uint256 treasury) = _split(terms);

        stored.state = State.Abandoned;
        emit Abandoned(id, contributors, node, treasury);
        _slash(stored.node, terms);
        emit Slashed(id, stored.node, terms.token, terms.bond);
        _credit(stored.requester, terms.token, node);
        _credit(stored.collective, terms.token, treasury + terms.bond);
        _fund(stored.collective, terms.token, contributors);
    }

    /// @dev No lease can come any more; the caller has checked that none is live.
    function _isDead(Job storage stored, Terms memory terms) private view returns (bool) {
        if (block.timestamp > stored.requestedAt + REQUEST_SECONDS) return true;
        if (!_codeRegistry.isActive(stored.collective, stored.manifest)) return true;
        return stored.attempt == 0 && runs[stored.collective][stored.manifest] >= terms.maxRuns;
    }

    function _split(Terms memory terms) private pure returns (uint256 contributors, uint256 node, uint256 treasury) {
        contributors = terms.price * terms.contributorsBps / WHOLE_BPS;
        node = terms.price * terms.nodeBps / WHOLE_BPS;
        treasury = terms.price - contributors - node;
    }

    // Lookups

    function _fund(address collective, address token, uint256 amount) private {
        if (amount == 0) return;
        IERC20(token).forceApprove(address(_rewardDistributor), amount);
        _rewardDistributor.fund(collective, token, amount);
    }

    function _terms(address collective, bytes32 manifest) private view returns (Terms memory terms) {
        // Terms outlive the approval: revocation and expiry change who may start, never what was agreed.
        (, terms) = _codeRegistry.approval(collective, manifest);
    }

    function _requireState(uint256 id, Job storage stored, State state) private view {
        require(stored.state == state, WrongState(id, stored.state));
    }
}
