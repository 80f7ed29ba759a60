// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {BlockHeader} from "@openzeppelin/contracts/utils/BlockHeader.sol";
import {Memory} from "@openzeppelin/contracts/utils/Memory.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {PayloadTree} from "./PayloadTree.sol";
import {ICodeRegistry} from "./interfaces/ICodeRegistry.sol";
import {Contribution, IContributionRegistry} from "./interfaces/IContributionRegistry.sol";
import {Audit, Commitment, Counts, ILivenessRegistry, Wage} from "./interfaces/ILivenessRegistry.sol";
import {IRewardDistributor} from "./interfaces/IRewardDistributor.sol";

/// @title LivenessRegistry
/// @notice See ILivenessRegistry, which is the manual.
contract LivenessRegistry is ILivenessRegistry, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    bytes32 private constant SEED_DOMAIN = keccak256("collective/v1/liveness-seed");
    bytes32 private constant COMMITMENT_TYPEHASH =
        keccak256("Commitment(bytes32 header,bytes32 payload,uint64 length,string source)");

    /// @inheritdoc ILivenessRegistry
    uint64 public constant EPOCH_SECONDS = 1 days;
    /// @inheritdoc ILivenessRegistry
    uint64 public constant POST_SECONDS = 3 days;
    /// @inheritdoc ILivenessRegistry
    uint64 public constant DISPUTE_SECONDS = 4 days;

    ICodeRegistry private immutable _codeRegistry;
    IContributionRegistry private immutable _contributionRegistry;
    IRewardDistributor private immutable _rewardDistributor;

    /// @inheritdoc ILivenessRegistry
    mapping(uint64 epoch => bytes32) public randomnessOf;
    /// @inheritdoc ILivenessRegistry
    mapping(address collective => mapping(address token => uint256)) public free;
    /// @inheritdoc ILivenessRegistry
    mapping(address collective => uint64) public lastEpoch;
    /// @inheritdoc ILivenessRegistry
    mapping(address collective => uint64) public since;
    /// @inheritdoc ILivenessRegistry
    mapping(address collective => mapping(uint64 epoch => mapping(bytes32 leaf => bool))) public shown;

    mapping(address collective => Wage) private _wages;
    mapping(address collective => mapping(uint64 epoch => Audit)) private _audits;

    /// @param codeRegistry knows the guardians
    /// @param contributionRegistry knows what the leaf of a contribution is
    /// @param rewardDistributor pays the contributors
    constructor(
        ICodeRegistry codeRegistry,
        IContributionRegistry contributionRegistry,
        IRewardDistributor rewardDistributor
    ) {
        _codeRegistry = codeRegistry;
        _contributionRegistry = contributionRegistry;
        _rewardDistributor = rewardDistributor;
    }

    // Randomness

    /// @inheritdoc ILivenessRegistry
    function fixSeed(uint64 epoch, bytes calldata header, bytes calldata parent) external {
        if (randomnessOf[epoch] != 0) return;
        uint256 start = uint256(epoch) * EPOCH_SECONDS;
        Memory.Slice[] memory fields = BlockHeader.parseHeader(header);
        bytes32 randomness = BlockHeader.getPrevRandao(fields);
        bool first = randomness != 0 && BlockHeader.verifyBlockHeader(fields, keccak256(header))
            && BlockHeader.getTimestamp(fields) >= start && BlockHeader.getTimestamp(fields) < start + EPOCH_SECONDS
            && BlockHeader.getParentHash(fields) == keccak256(parent) && BlockHeader.getTimestamp(parent) < start;
        require(first, NotFirstBlock(epoch));

        randomnessOf[epoch] = randomness;
        emit SeedFixed(epoch, BlockHeader.getNumber(fields), randomness);
    }

    // Money

    /// @inheritdoc ILivenessRegistry
    function setWage(Wage calldata wage_) external {
        _wages[msg.sender] = wage_;
        // The day on which it is voted has begun already, and nobody was asked for it on these terms.
        since[msg.sender] = uint64(block.timestamp / EPOCH_SECONDS) + 1;
        emit WageSet(msg.sender, wage_.auditor, wage_.token, wage_.pay);
    }

    /// @inheritdoc ILivenessRegistry
    function fund(address collective, address token, uint256 amount) external nonReentrant {
        free[collective][token] += amount;
        emit WageFunded(collective, token, msg.sender, amount);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        // A token that takes a fee would leave the next epoch short.
        // slither-disable-next-line incorrect-equality
        require(received == amount, IRewardDistributor.TransferShort(token, amount, received));
    }

    /// @inheritdoc ILivenessRegistry
    function withdraw(address token, uint256 amount) external nonReentrant {
        uint256 there = free[msg.sender][token];
        require(amount <= there, WageMissing(there, amount));

        free[msg.sender][token] = there - amount;
        emit WageWithdrawn(msg.sender, token, amount);
        IERC20(token).safeTransfer(msg.sender, amount);
    }

    // Epochs

    /// @inheritdoc ILivenessRegistry
    function post(address collective, uint64 epoch, bytes32 root, bytes32 results, Counts calldata counts)
        external
        nonReentrant
    {
        Wage memory wage_ = _wages[collective];
        require(msg.sender == wage_.auditor, NotAuditor(wage_.auditor, msg.sender));
        require(root != 0, RootMissing());
        require(randomnessOf[epoch] != 0, SeedMissing(epoch));
        uint256 end = _end(epoch);
        require(block.timestamp >= end, EpochOpen(epoch, end));
        require(block.timestamp < end + POST_SECONDS, EpochLate(epoch, end + POST_SECONDS));
        require(epoch >= since[collective], EpochUnpaid(since[collective], epoch));
        // In their order, so that what an epoch earns never changes by one that comes later.
        require(epoch > lastEpoch[collective], EpochPassed(lastEpoch[collective], epoch));

        uint256 there = free[collective][wage_.token];
        uint256 pay = wage_.pay < there ? wage_.pay : there;
        free[collective][wage_.token] = there - pay;
        lastEpoch[collective] = epoch;
        _audits[collective][epoch] = Audit({
            root: root,
            results: results,
            token: wage_.token,
            pay: pay,
            auditor: msg.sender,
            settleFrom: uint64(block.timestamp) + DISPUTE_SECONDS,
            settled: false
        });
        emit EpochPosted(collective, epoch, msg.sender, root, results, counts, pay);
    }

    /// @inheritdoc ILivenessRegistry
    function disputeChunk(
        Contribution calldata contribution,
        Commitment calldata commitment,
        uint64 epoch,
        bytes calldata chunk,
        bytes32[] calldata siblings
    ) external {
        address collective = contribution.collective;
        uint64 settleFrom = _audits[collective][epoch].settleFrom;
        uint256 until = settleFrom == 0 ? _end(epoch) + POST_SECONDS : settleFrom;
        require(block.timestamp < until, DisputeOver(until));
        bytes32 digest = _commitmentDigest(commitment);
        require(digest == contribution.commitment, AnotherCommitment(contribution.commitment, digest));
        bytes32 leaf = _contributionRegistry.leaf(contribution);
        uint64 index = drawn(collective, epoch, leaf, commitment.length);
        bool held = PayloadTree.verify(commitment.payload, commitment.length, index, chunk, siblings);
        require(held, WrongChunk(index));

        shown[collective][epoch][leaf] = true;
        emit ChunkShown(collective, epoch, leaf, index);
    }

    /// @inheritdoc ILivenessRegistry
    function veto(address collective, uint64 epoch) external nonReentrant {
        require(msg.sender == collective || msg.sender == _codeRegistry.guardian(collective), NotCollective(msg.sender));
        Audit storage stored = _posted(collective, epoch);
        require(block.timestamp < stored.settleFrom, DisputeOver(stored.settleFrom));

        free[collective][stored.token] += stored.pay;
        (stored.root, stored.pay) = (0, 0);
        emit EpochVetoed(collective, epoch, msg.sender);
    }

    /// @inheritdoc ILivenessRegistry
    function settle(address collective, uint64 epoch) external nonReentrant {
        Audit storage stored = _posted(collective, epoch);
        require(block.timestamp >= stored.settleFrom, DisputeOpen(stored.settleFrom));

        stored.settled = true;
        emit EpochSettled(collective, epoch, stored.token, stored.pay);
        if (stored.pay == 0) return;
        IERC20(stored.token).forceApprove(address(_rewardDistributor), stored.pay);
        _rewardDistributor.fund(collective, stored.token, stored.pay);
    }

    // Views

    /// @inheritdoc ILivenessRegistry
    function wage(address collective) external view returns (Wage memory) {
        return _wages[collective];
    }

    /// @inheritdoc ILivenessRegistry
    function audit(address collective, uint64 epoch) external view returns (Audit memory) {
        return _audits[collective][epoch];
    }

    /// @inheritdoc ILivenessRegistry
    function drawn(address collective, uint64 epoch, bytes32 leaf, uint64 length) public view returns (uint64) {
        bytes32 randomness = randomnessOf[epoch];
        require(randomness != 0, SeedMissing(epoch));
        bytes32 seed = keccak256(abi.encode(SEED_DOMAIN, collective, epoch, randomness));
        return uint64(uint256(keccak256(abi.encode(seed, leaf))) % PayloadTree.leafCount(length));
    }

    // Internal

    function _end(uint64 epoch) private pure returns (uint256) {
        return (uint256(epoch) + 1) * EPOCH_SECONDS;
    }

    function _posted(address collective, uint64 epoch) private view returns (Audit storage stored) {
        stored = _audits[collective][epoch];
        require(stored.root != 0 && !stored.settled, NothingPosted(epoch));
    }

    function _commitmentDigest(Commitment calldata c) private pure returns (bytes32) {
        return keccak256(abi.encode(COMMITMENT_TYPEHASH, c.header, c.payload, c.length, keccak256(bytes(c.source))));
    }
}
