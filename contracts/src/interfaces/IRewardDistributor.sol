// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @dev One contributor's claim in a batch, see `claim`.
struct Claim {
    bytes32 contributorId;
    uint256 cumulative;
    bytes32[] proof;
}

/// @dev Rewards of one (collective, token).
/// @param funded all that was ever paid in
/// @param claimed all that was ever paid out
/// @param total most that the active root may pay out, over all time
/// @param root active cumulative tree
/// @param pendingRoot proposed tree, or zero
/// @param pendingTotal total of the proposed tree
/// @param sequence of the last proposal, vetoed ones included
/// @param activeFrom time from which the proposed tree counts; zero while there is none
struct Pool {
    uint256 funded;
    uint256 claimed;
    uint256 total;
    bytes32 root;
    bytes32 pendingRoot;
    uint256 pendingTotal;
    uint64 sequence;
    uint64 activeFrom;
}

/// @title Contributors' money, paid out by cumulative Merkle roots.
/// @notice A root names for every contributor the sum of all rewards up to now; a claim pays the difference to what was
/// paid before. claimed ≤ total ≤ funded for each (collective, token), whatever a root says: a false root can misdirect
/// the rewards of its own collective, and after the challenge window only.
interface IRewardDistributor {
    event Funded(address indexed collective, address indexed token, address indexed from, uint256 amount);
    event RootProposed(
        address indexed collective,
        address indexed token,
        bytes32 root,
        uint256 total,
        bytes32 manifest,
        uint256 sequence,
        uint64 activeFrom
    );
    event RootVetoed(address indexed collective, address indexed token, bytes32 root, address by);
    event RootActivated(address indexed collective, address indexed token, bytes32 root, uint256 total);
    event Claimed(address indexed collective, address indexed token, bytes32 indexed contributorId, uint256 amount);

    /// @notice The token did not deliver the amount: it takes a fee or lies.
    error TransferShort(address token, uint256 expected, uint256 received);

    /// @notice Only the current committee proposes.
    error StaleEpoch(uint64 current, uint64 given);

    /// @notice A root needs a value.
    error RootMissing();

    /// @notice Another root is in its challenge window.
    error PendingExists(bytes32 root, uint64 activeFrom);

    /// @notice The total exceeds what was paid in.
    error TotalExceedsFunds(uint256 total, uint256 funded);

    /// @notice Cumulative totals never shrink.
    error TotalShrinks(uint256 total, uint256 previous);

    /// @notice The sender is neither the collective nor its guardian.
    error NotCollective(address sender);

    /// @notice No root is pending.
    error NothingPending();

    /// @notice The challenge window is open until then.
    error ChallengeOpen(uint64 activeFrom);

    /// @notice The challenge window is over, so the veto comes too late.
    error ChallengeOver(uint64 activeFrom);

    /// @notice The proof does not lead to the active root.
    error InvalidProof(bytes32 contributorId);

    /// @notice A recovery of the id is under way: until it is finished or vetoed only `controller` itself claims for it.
    error RecoveryUnderWay(bytes32 contributorId, address controller);

    /// @notice All of it was paid before.
    error NothingToClaim(bytes32 contributorId);

    /// @notice The leaves of the root add up to more than its total.
    error Overclaimed(uint256 total, uint256 claimed);

    /// @notice Pays `amount` into the rewards of (collective, token); by anyone.
    function fund(address collective, address token, uint256 amount) external;

    /// @notice Proposes the next cumulative root, with a quorum of the current committee; sent by anyone.
    /// @dev Warning: that no leaf shrinks and that all is computed by the published rule cannot be seen here. Holders
    /// recompute the tree before they sign, anyone can during the challenge window, and the collective can veto.
    /// @param total sum of all leaves: at most what was funded, at least the active total
    /// @param manifest digest of the list of leaves
    /// @param epoch current committee
    /// @param signatures over EIP-712 `RewardRoot(address collective,address token,bytes32 root,uint256 total,bytes32
    /// manifest,uint256 sequence,uint64 epoch)`, sequence = the last one + 1; sorted by signer address, ascending
    function propose(
        address collective,
        address token,
        bytes32 root,
        uint256 total,
        bytes32 manifest,
        uint64 epoch,
        bytes[] calldata signatures
    ) external;

    /// @notice Drops the pending root; by the collective or its guardian. Its sequence is spent, so it cannot come again.
    function veto(address collective, address token) external;

    /// @notice Makes the pending root count after its challenge window; by anyone. A claim does the same on its way.
    function activate(address collective, address token) external;

    /// @notice Pays a contributor what is due by the active root; sent by anyone, paid to the key that speaks for the id
    /// then. While a recovery of the id is under way, sent by that key only (`IContributionRegistry.payeeOf`): else anybody could have
    /// what the next key is due paid to one that is lost.
    /// @param cumulative sum of all rewards of the id, as in its leaf
    /// @return amount paid
    function claim(
        address collective,
        address token,
        bytes32 contributorId,
        uint256 cumulative,
        bytes32[] calldata proof
    ) external returns (uint256 amount);

    /// @notice Many claims at once. One that was paid before is passed over, and so is one that only another may send just now, so that
    /// nobody spoils a batch by claiming or starting a recovery first; a false proof reverts.
    /// @return amount paid in all
    function claimMany(address collective, address token, Claim[] calldata claims) external returns (uint256 amount);

    /// @notice How long a root can be vetoed before it counts.
    function CHALLENGE_SECONDS() external view returns (uint64);

    /// @notice Rewards of (collective, token).
    function pool(address collective, address token) external view returns (Pool memory);

    /// @notice What was paid to a contributor, over all time.
    function claimed(address collective, address token, bytes32 contributorId) external view returns (uint256);

    /// @notice Leaf of the reward tree: keccak256(keccak256(abi.encode(contributorId, cumulative))).
    function leaf(bytes32 contributorId, uint256 cumulative) external pure returns (bytes32);

    /// @notice EIP-712 digest that holders sign for the next sequence.
    function rootDigest(address collective, address token, bytes32 root, uint256 total, bytes32 manifest, uint64 epoch)
        external
        view
        returns (bytes32);
}
