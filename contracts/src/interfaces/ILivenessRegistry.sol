// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {Contribution} from "./IContributionRegistry.sol";

/// @dev What a contribution's `commitment` is the EIP-712 struct hash of.
/// @param header SHA-256 of the sealed file's age header
/// @param payload root of the payload's tree, see `PayloadTree`
/// @param length bytes of payload
/// @param source name of the source whose schema the record follows
struct Commitment {
    bytes32 header;
    bytes32 payload;
    uint64 length;
    string source;
}

/// @dev How often each outcome came about in an epoch, for whoever looks at a log; `results` has all of them.
struct Counts {
    uint32 held;
    uint32 wrong;
    uint32 erred;
    uint32 offline;
}

/// @dev What a collective pays for reachability.
/// @param auditor asks the contributors' places each day and posts what came of it
/// @param token in which it is paid
/// @param pay for one epoch, for all contributors together
struct Wage {
    address auditor;
    address token;
    uint256 pay;
}

/// @dev One posted epoch of a collective.
/// @param root over the verdicts on all challenges
/// @param results name of the blob that has them
/// @param token in which it is paid
/// @param pay what was set aside for it; zero again once vetoed
/// @param auditor whose word it is
/// @param settleFrom time from which its pay can go to the contributors, and until which chunks are shown and it can be vetoed
/// @param settled whether it did
struct Audit {
    bytes32 root;
    bytes32 results;
    address token;
    uint256 pay;
    address auditor;
    uint64 settleFrom;
    bool settled;
}

/// @title What was reachable on which day, and what is paid for that.
/// @notice One instance serves every collective and has no owner. An epoch is a day of UTC, numbered from 1970-01-01. Its
/// randomness is the PREVRANDAO of its first block (EIP-4399): contributions anchored before could not know it, and whoever
/// builds that block cannot choose it; the proposer before has one bit, at the price of a slot. Where PREVRANDAO is constant
/// or a sequencer's, so is this. Which leaf of a contribution is asked for follows from it alone, so a contributor whom a
/// verdict wrongs shows that leaf here and is right.
interface ILivenessRegistry {
    event SeedFixed(uint64 indexed epoch, uint256 number, bytes32 randomness);
    event WageSet(address indexed collective, address auditor, address token, uint256 pay);
    event WageFunded(address indexed collective, address indexed token, address indexed from, uint256 amount);
    event WageWithdrawn(address indexed collective, address indexed token, uint256 amount);
    event EpochPosted(
        address indexed collective,
        uint64 indexed epoch,
        address auditor,
        bytes32 root,
        bytes32 results,
        Counts counts,
        uint256 pay
    );
    event EpochVetoed(address indexed collective, uint64 indexed epoch, address by);
    event EpochSettled(address indexed collective, uint64 indexed epoch, address token, uint256 pay);

    /// @notice The drawn leaf of this contribution was shown.
    event ChunkShown(address indexed collective, uint64 indexed epoch, bytes32 indexed leaf, uint64 index);

    /// @notice These are not the first block of the epoch and its parent, or its hash is out of reach (EIP-2935: 8191 blocks;
    /// 256 where the chain lacks it), or it has no randomness.
    error NotFirstBlock(uint64 epoch);

    /// @notice The epoch's randomness is not here: `fixSeed` first.
    error SeedMissing(uint64 epoch);

    /// @notice Only the collective's auditor posts.
    error NotAuditor(address auditor, address sender);

    /// @notice The epoch lasts until then.
    error EpochOpen(uint64 epoch, uint256 until);

    /// @notice The wage counts from that epoch on.
    error EpochUnpaid(uint64 since, uint64 given);

    /// @notice The epoch could be posted until then.
    error EpochLate(uint64 epoch, uint256 until);

    /// @notice Epochs are posted in their order; this one or a later one was.
    error EpochPassed(uint64 last, uint64 given);

    /// @notice Verdicts need a root.
    error RootMissing();

    /// @notice Nothing was posted for this epoch, or it was vetoed or settled.
    error NothingPosted(uint64 epoch);

    /// @notice It can be disputed and vetoed until then; afterwards it can be settled.
    error DisputeOpen(uint64 settleFrom);

    /// @notice The time for that is over.
    error DisputeOver(uint256 until);

    /// @notice The sender is neither the collective nor its guardian.
    error NotCollective(address sender);

    /// @notice The commitment is not the one that the contribution names.
    error AnotherCommitment(bytes32 expected, bytes32 given);

    /// @notice The chunk does not lead to the payload that was committed to.
    error WrongChunk(uint64 index);

    /// @notice More than is there and not set aside.
    error WageMissing(uint256 free, uint256 wanted);

    /// @notice Keeps the randomness of the epoch's first block, from which all draws follow; anybody may, once.
    /// @param header of that block, RLP: its time is in the epoch
    /// @param parent of it, RLP: its time is not
    function fixSeed(uint64 epoch, bytes calldata header, bytes calldata parent) external;

    /// @notice Sets who audits the sender's contributions and what an epoch pays, from the next one on.
    function setWage(Wage calldata wage_) external;

    /// @notice Pays into what a collective pays from.
    function fund(address collective, address token, uint256 amount) external;

    /// @notice Takes back what is not set aside for a posted epoch; the sender is the collective.
    function withdraw(address token, uint256 amount) external;

    /// @notice Posts what an epoch came to, soon after its end, and sets its pay aside as far as there is money.
    /// @dev Warning: outcomes are the auditor's word. `disputeChunk`, the veto and every contributor's own look are what keeps
    /// it to the truth.
    /// @param root over the verdicts, see SPEC "Liveness"
    /// @param results digest of the blob with all verdicts
    function post(address collective, uint64 epoch, bytes32 root, bytes32 results, Counts calldata counts) external;

    /// @notice Shows the leaf that was drawn of a contribution, with its path: somebody had it when it was shown, whatever
    /// the verdict on it says. Anybody may, until the epoch can be settled, or could no longer be posted.
    /// @dev Warning: that the contribution was anchored before the epoch is for readers to check. Draws over the pool cannot
    /// be shown: no pay depends on them.
    function disputeChunk(
        Contribution calldata contribution,
        Commitment calldata commitment,
        uint64 epoch,
        bytes calldata chunk,
        bytes32[] calldata siblings
    ) external;

    /// @notice Takes a posted epoch back while chunks can be shown for it: nothing is paid for it. The sender is the collective or
    /// its guardian.
    /// @dev Whoever earns for an epoch follows from those before it, too: once it can be settled, none of them changes any more.
    function veto(address collective, uint64 epoch) external;

    /// @notice Hands an epoch's pay to RewardDistributor once nobody can object any more.
    function settle(address collective, uint64 epoch) external;

    /// @notice Seconds of an epoch.
    function EPOCH_SECONDS() external view returns (uint64);

    /// @notice Seconds after its end for which an epoch can be posted.
    function POST_SECONDS() external view returns (uint64);

    /// @notice Seconds after posting for which chunks can be shown and the epoch can be vetoed before it is settled: a vote that
    /// vetoes it, with its delay and notice, fits in.
    function DISPUTE_SECONDS() external view returns (uint64);

    /// @notice Randomness of the epoch's first block, or zero.
    function randomnessOf(uint64 epoch) external view returns (bytes32);

    /// @notice What a collective pays, and to whose word.
    function wage(address collective) external view returns (Wage memory);

    /// @notice The first epoch for which the present wage counts.
    function since(address collective) external view returns (uint64);

    /// @notice What is there and not set aside.
    function free(address collective, address token) external view returns (uint256);

    /// @notice The newest epoch that was posted.
    function lastEpoch(address collective) external view returns (uint64);

    /// @notice One epoch of a collective.
    function audit(address collective, uint64 epoch) external view returns (Audit memory);

    /// @notice Whether the drawn leaf of this contribution was shown.
    function shown(address collective, uint64 epoch, bytes32 leaf) external view returns (bool);

    /// @notice The leaf that the epoch asks for, of a contribution whose payload has `length` bytes.
    function drawn(address collective, uint64 epoch, bytes32 leaf, uint64 length) external view returns (uint64);
}
