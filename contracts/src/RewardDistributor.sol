// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {ICodeRegistry} from "./interfaces/ICodeRegistry.sol";
import {IContributionRegistry} from "./interfaces/IContributionRegistry.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {Claim, IRewardDistributor, Pool} from "./interfaces/IRewardDistributor.sol";

/// @title RewardDistributor
/// @notice See IRewardDistributor, which is the manual.
contract RewardDistributor is IRewardDistributor, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    bytes32 private constant REWARD_ROOT_TYPEHASH = keccak256(
        "RewardRoot(address collective,address token,bytes32 root,uint256 total,bytes32 manifest,uint256 sequence,uint64 epoch)"
    );

    /// @inheritdoc IRewardDistributor
    uint64 public constant CHALLENGE_SECONDS = 1 days;

    ICodeRegistry private immutable _codeRegistry;
    INodeRegistry private immutable _nodeRegistry;
    IContributionRegistry private immutable _contributionRegistry;

    mapping(address collective => mapping(address token => Pool)) private _pools;

    /// @inheritdoc IRewardDistributor
    mapping(address collective => mapping(address token => mapping(bytes32 contributorId => uint256))) public claimed;

    /// @param codeRegistry knows the guardians
    /// @param nodeRegistry knows the committees
    /// @param contributionRegistry knows whose key speaks for an id, and so is paid
    constructor(ICodeRegistry codeRegistry, INodeRegistry nodeRegistry, IContributionRegistry contributionRegistry)
        EIP712("RewardDistributor", "1")
    {
        _codeRegistry = codeRegistry;
        _nodeRegistry = nodeRegistry;
        _contributionRegistry = contributionRegistry;
    }

    /// @inheritdoc IRewardDistributor
    function fund(address collective, address token, uint256 amount) external nonReentrant {
        _pools[collective][token].funded += amount;
        emit Funded(collective, token, msg.sender, amount);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        require(received == amount, TransferShort(token, amount, received));
    }

    // Roots

    /// @inheritdoc IRewardDistributor
    function propose(
        address collective,
        address token,
        bytes32 root,
        uint256 total,
        bytes32 manifest,
        uint64 epoch,
        bytes[] calldata signatures
    ) external nonReentrant {
        Pool storage stored = _ripened(collective, token);
        require(stored.activeFrom == 0, PendingExists(stored.pendingRoot, stored.activeFrom));
        require(root != 0, RootMissing());
        require(total <= stored.funded, TotalExceedsFunds(total, stored.funded));
        require(total >= stored.total, TotalShrinks(total, stored.total));
        _checkQuorum(collective, epoch, rootDigest(collective, token, root, total, manifest, epoch), signatures);

        stored.sequence += 1;
        stored.pendingRoot = root;
        stored.pendingTotal = total;
        stored.activeFrom = uint64(block.timestamp) + CHALLENGE_SECONDS;
        emit RootProposed(collective, token, root, total, manifest, stored.sequence, stored.activeFrom);
    }

    /// @inheritdoc IRewardDistributor
    function veto(address collective, address token) external nonReentrant {
        require(msg.sender == collective || msg.sender == _codeRegistry.guardian(collective), NotCollective(msg.sender));
        Pool storage stored = _pools[collective][token];
        require(stored.activeFrom != 0, NothingPending());
        require(block.timestamp < stored.activeFrom, ChallengeOver(stored.activeFrom));

        stored.activeFrom = 0;
        emit RootVetoed(collective, token, stored.pendingRoot, msg.sender);
    }

    /// @inheritdoc IRewardDistributor
    function activate(address collective, address token) external nonReentrant {
        Pool storage stored = _pools[collective][token];
        require(stored.activeFrom != 0, NothingPending());
        require(block.timestamp >= stored.activeFrom, ChallengeOpen(stored.activeFrom));
        _ripened(collective, token);
    }

    // Claims

    /// @inheritdoc IRewardDistributor
    function claim(
        address collective,
        address token,
        bytes32 contributorId,
        uint256 cumulative,
        bytes32[] calldata proof
    ) external nonReentrant returns (uint256 amount) {
        (address payee, bool mayClaim) = _payeeOf(contributorId);
        require(mayClaim, RecoveryUnderWay(contributorId, payee));
        Pool storage stored = _ripened(collective, token);
        amount = _claim(stored, payee, collective, token, contributorId, cumulative, proof);
        require(amount != 0, NothingToClaim(contributorId));
    }

    /// @inheritdoc IRewardDistributor
    function claimMany(address collective, address token, Claim[] calldata claims)
        external
        nonReentrant
        returns (uint256 amount)
    {
        Pool storage stored = _ripened(collective, token);
        for (uint256 i = 0; i < claims.length; ++i) {
            Claim calldata one = claims[i];
            (address payee, bool mayClaim) = _payeeOf(one.contributorId);
            if (!mayClaim) continue;
            amount += _claim(stored, payee, collective, token, one.contributorId, one.cumulative, one.proof);
        }
    }

    // Views

    /// @inheritdoc IRewardDistributor
    function pool(address collective, address token) external view returns (Pool memory stored) {
        stored = _pools[collective][token];
        if (stored.activeFrom == 0) (stored.pendingRoot, stored.pendingTotal) = (0, 0);
    }

    /// @inheritdoc IRewardDistributor
    function leaf(bytes32 contributorId, uint256 cumulative) public pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(contributorId, cumulative))));
    }

    /// @inheritdoc IRewardDistributor
    function rootDigest(address collective, address token, bytes32 root, uint256 total, bytes32 manifest, uint64 epoch)
        public
        view
        returns (bytes32)
    {
        uint256 sequence = _pools[collective][token].sequence + 1;
        return _hashTypedDataV4(
            keccak256(abi.encode(REWARD_ROOT_TYPEHASH, collective, token, root, total, manifest, sequence, epoch))
        );
    }

    // Internal

    /// @dev The pool, with the pending root made active if its window is over. What was pending stays where it is: writing over it
    /// costs a quarter of writing it anew, and a new root is what a payout to any number of people costs.
    function _ripened(address collective, address token) private returns (Pool storage stored) {
        stored = _pools[collective][token];
        if (stored.activeFrom == 0 || block.timestamp < stored.activeFrom) return stored;

        stored.root = stored.pendingRoot;
        stored.total = stored.pendingTotal;
        stored.activeFrom = 0;
        emit RootActivated(collective, token, stored.root, stored.total);
    }

    function _checkQuorum(address collective, uint64 epoch, bytes32 digest, bytes[] calldata signatures) private view {
        // A committee that was replaced still counts for jobs leased under it, but has no say on money to come.
        uint64 current = _nodeRegistry.currentEpoch(collective);
        require(epoch == current, StaleEpoch(current, epoch));
        _nodeRegistry.checkQuorum(collective, epoch, digest, signatures);
    }

    /// @dev The key that is paid, and whether the sender may have it paid now.
    function _payeeOf(bytes32 contributorId) private view returns (address payee, bool mayClaim) {
        bool recovering;
        // The registry is ours, and calls nobody.
        // slither-disable-next-line calls-loop
        (payee, recovering) = _contributionRegistry.payeeOf(contributorId);
        mayClaim = !recovering || msg.sender == payee;
    }

    function _claim(
        Pool storage stored,
        address payee,
        address collective,
        address token,
        bytes32 contributorId,
        uint256 cumulative,
        bytes32[] calldata proof
    ) private returns (uint256 amount) {
        bytes32 node = leaf(contributorId, cumulative);
        require(MerkleProof.verifyCalldata(proof, stored.root, node), InvalidProof(contributorId));
        uint256 before = claimed[collective][token][contributorId];
        if (cumulative <= before) return 0;
        amount = cumulative - before;
        // The root's own leaves could add up to more than it declared; the money of other collectives is in here too.
        uint256 all = stored.claimed + amount;
        require(all <= stored.total, Overclaimed(stored.total, all));

        stored.claimed = all;
        claimed[collective][token][contributorId] = cumulative;
        emit Claimed(collective, token, contributorId, amount);
        IERC20(token).safeTransfer(payee, amount);
    }
}
