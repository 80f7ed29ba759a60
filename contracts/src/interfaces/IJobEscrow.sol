// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ICustody} from "./ICustody.sol";

/// @dev How far a job is. Terminal: Settled, Refunded, Abandoned.
enum State {
    None,
    Requested,
    Leased,
    Released,
    Completed,
    Disputed,
    Settled,
    Refunded,
    Abandoned
}

/// @dev One run of an approved program, from payment to settlement. Times are seconds since the epoch; fields of a step
/// that has not happened are zero, and a new lease overwrites those of the last.
/// @param attempt number of the lease, from 1
/// @param leaseDeadline holders release until then; the record of it may follow `RELEASE_GRACE_SECONDS` later
/// @param keysHash the node's keys when it took the lease
/// @param signer the node's signer when it took the lease; only it can sign the receipt
/// @param epoch committee whose quorum can release for this lease
/// @param allowBlock finalized block at which every permitting fact is read, with its hash
/// @param denyBlock recent block at which every forbidding fact is read, with its hash
/// @param inputRoot what the holders released, with its count
/// @param returnSeconds what the vote gives a heavy node; zero where it names none
/// @param receipt EIP-712 struct hash of the accepted receipt
struct Job {
    address collective;
    State state;
    uint64 requestedAt;
    bytes32 manifest;
    address requester;
    uint32 attempt;
    uint64 leaseDeadline;
    bytes32 node;
    bytes32 keysHash;
    address signer;
    uint64 epoch;
    uint64 allowBlock;
    uint64 denyBlock;
    uint64 releasedAt;
    uint64 completedAt;
    bytes32 allowHash;
    bytes32 denyHash;
    bytes32 inputRoot;
    uint32 inputCount;
    uint8 outcome;
    uint64 disputedAt;
    uint32 returnSeconds;
    bytes32 receipt;
}

/// @dev What a quorum of holders signs about a lease (EIP-712 type of the same name and fields).
/// @param keys the lease's `keysHash`
struct Release {
    uint256 job;
    uint32 attempt;
    address collective;
    bytes32 manifest;
    bytes32 node;
    bytes32 keys;
    uint64 allowBlock;
    bytes32 allowHash;
    uint64 denyBlock;
    bytes32 denyHash;
    bytes32 inputRoot;
    uint32 inputCount;
    uint64 epoch;
}

/// @dev What the node signs about a run (EIP-712 type of the same name and fields).
/// @param outcome 1 the program ran, 2 it failed by its own fault; both are paid
/// @param output digest of the sealed output, or zero
/// @param outputBytes size of the sealed output: the same for every output of a manifest
/// @param fuel what the manifest allows, whatever was used
/// @param memoryBytes what the manifest allows, whatever was used
/// @param milliseconds end of the bucket of time in which the run ended
/// @param sandbox digest of the layers that were on and the engine's version
/// @param evidence digest of attestation evidence, or zero
/// @param lag seconds from `allowBlock` to `denyBlock`
/// @param quorum digest of the record of who released, of their logs and of who was blamed
struct Receipt {
    uint256 job;
    uint32 attempt;
    bytes32 manifest;
    bytes32 allowHash;
    bytes32 denyHash;
    bytes32 inputRoot;
    uint32 inputCount;
    uint8 outcome;
    bytes32 output;
    uint64 outputBytes;
    uint64 fuel;
    uint64 memoryBytes;
    uint64 milliseconds;
    bytes32 sandbox;
    bytes32 evidence;
    uint64 lag;
    bytes32 quorum;
}

/// @title Payment, lease, release, receipt and settlement of jobs.
/// @notice Nobody owns it. Money moves only by these rules, and only to credits that are then withdrawn:
///
/// | end       | when                                               | contributors | node share | treasury | bond       |
/// |-----------|----------------------------------------------------|--------------|------------|----------|------------|
/// | Refunded  | nothing was released, and nothing can be any more  | requester    | requester  | requester| node       |
/// | Settled   | receipt, and no dispute or one that pays           | contributors | operator   | treasury | node       |
/// | Abandoned | release without receipt, or a dispute that does not| contributors | requester  | treasury | treasury   |
///
interface IJobEscrow is ICustody {
    event JobRequested(uint256 indexed job, address indexed collective, bytes32 indexed manifest, address requester);
    event Leased(
        uint256 indexed job, uint32 attempt, bytes32 indexed node, bytes32 keysHash, uint64 allowBlock, uint64 denyBlock
    );
    event Released(
        uint256 indexed job, uint32 attempt, bytes32 inputRoot, uint32 inputCount, uint64 epoch, bytes32 head
    );
    event Completed(uint256 indexed job, Receipt receipt, bytes32 head);
    event Disputed(uint256 indexed job, address by);
    event Settled(uint256 indexed job, uint256 contributors, uint256 node, uint256 treasury);
    event Abandoned(uint256 indexed job, uint256 contributors, uint256 requester, uint256 treasury);
    event Refunded(uint256 indexed job, address indexed requester, uint256 amount);
    event Slashed(uint256 indexed job, bytes32 indexed node, address token, uint256 amount);

    /// @notice The approval is missing, revoked or expired.
    error NotActive(address collective, bytes32 manifest);

    /// @notice The approval names another recipient.
    error RecipientMismatch(bytes32 approved, bytes32 given);

    /// @notice The requester offers less than the price.
    error Underpaid(uint256 price, uint256 amount);

    /// @notice All approved runs are consumed.
    error RunsExhausted(uint32 maxRuns);

    /// @notice The job is in another state than this step needs.
    error WrongState(uint256 job, State state);

    /// @notice The request is too old to be leased.
    error RequestExpired(uint256 job, uint256 since);

    /// @notice A lease is live until then, grace included.
    error LeaseLive(uint256 job, uint256 until);

    /// @notice The sender is neither signer nor operator of the node.
    error NotNode(bytes32 node, address sender);

    /// @notice The collective does not accept the node with its present keys.
    error NotAccepted(address collective, bytes32 node);

    /// @notice The node was not accepted for compute.
    error NotCompute(bytes32 node);

    /// @notice The vote hands the data to another node.
    error NotHandedTo(bytes32 node, bytes32 named);

    /// @notice The node that the vote names was not accepted as a heavy one.
    error NotHeavy(bytes32 node);

    /// @notice The collective has no committee that could release.
    error NoCommittee(address collective);

    /// @notice Needs allowBlock ≤ denyBlock < the present block.
    error BlocksOutOfOrder(uint64 allowBlock, uint64 denyBlock);

    /// @notice The hash is not that of the block.
    error BlockHashMismatch(uint64 number, bytes32 expected, bytes32 given);

    /// @notice The deny block is so old that its hash is forgotten, which is no recent view.
    error DenyBlockForgotten(uint64 denyBlock);

    /// @notice The attempt is not that of the present lease.
    error WrongAttempt(uint32 expected, uint32 given);

    /// @notice The step's time has passed.
    error TooLate(uint256 job, uint256 deadline);

    /// @notice The step's time has not come.
    error TooEarly(uint256 job, uint256 from);

    /// @notice This field of the receipt differs from the lease or the release.
    error ReceiptMismatch(string field);

    /// @notice Outcome is neither 1 nor 2.
    error UnknownOutcome(uint8 outcome);

    /// @notice The receipt was not signed by the leased node's signer.
    error InvalidSignature(address signer);

    /// @notice The sender is not the collective (or its guardian, where a guardian may).
    error NotCollective(address sender);

    /// @notice The job can still be run, so nothing is refunded yet.
    error NotRefundable(uint256 job);

    // Requester

    /// @notice Asks for one run of an approved manifest and pays its price into escrow.
    /// @dev Warning: a request reserves no run: others may consume the last one first, and then `refund` works at once.
    /// @param recipient who will get the output; must be the recipient that the approval names
    /// @param amount most that the sender pays; only the price is pulled
    /// @return id of the job, counted from 1
    function request(address collective, bytes32 manifest, bytes32 recipient, uint256 amount)
        external
        returns (uint256 id);

    /// @notice Gives the price back to the requester; callable by anyone once nothing was released and nothing can be:
    /// no lease is live, and the approval is not active any more, or `REQUEST_SECONDS` have passed since the request,
    /// or the runs were exhausted before the first lease. A run that a lease consumed stays consumed.
    function refund(uint256 id) external;

    // Node

    /// @notice Takes the job: fixes node, keys, attempt, committee and both blocks before anything is released. The first
    /// lease of a job consumes a run; each locks the bond.
    /// @dev Warning: an operator who leases trusts the collective and its committee with the bond: a release that the
    /// quorum signs starts the clock of the receipt, and a dispute that the collective decides against the node slashes.
    /// @dev Warning: a node that leases and does nothing burns one run for each request that somebody makes for it. The
    /// collective's remedy is `reject`.
    /// @dev Warning: an `allowBlock` older than the EVM remembers is not checked here. Holders check both against their
    /// own view before they release.
    function lease(uint256 id, bytes32 node, uint64 allowBlock, bytes32 allowHash, uint64 denyBlock, bytes32 denyHash)
        external;

    /// @notice Records that a quorum released the input for the present lease; callable by anyone. Ends the refund.
    /// @param signatures of the lease's committee over EIP-712 `Release`, sorted by signer address, ascending
    function recordRelease(
        uint256 id,
        uint32 attempt,
        bytes32 inputRoot,
        uint32 inputCount,
        bytes[] calldata signatures
    ) external;

    /// @notice Records the run; callable by anyone with the node's signature. Starts the dispute window.
    /// @dev Warning: that the output is right is not checked by anyone here.
    /// @param nodeSignature of the leased signer over EIP-712 `Receipt`
    function complete(uint256 id, Receipt calldata receipt, bytes calldata nodeSignature) external;

    // Settlement

    /// @notice Stops settlement within `DISPUTE_SECONDS` of the receipt; by the collective or its guardian.
    function dispute(uint256 id) external;

    /// @notice Decides a dispute; by the collective. Without pay it ends as Abandoned, and the bond is slashed.
    function resolve(uint256 id, bool pay) external;

    /// @notice Pays out a completed job after its dispute window, or one whose dispute was left undecided for
    /// `RESOLVE_SECONDS`; callable by anyone.
    function settle(uint256 id) external;

    /// @notice Ends a job whose node took the release and sent no receipt in time: slashes the bond; callable by anyone.
    function abandon(uint256 id) external;

    // Limits and state

    /// @notice How long holders may release for a lease; long enough for the largest input, short enough to try again.
    function LEASE_SECONDS() external view returns (uint64);

    /// @notice How long after that a release may still be recorded; nothing is leased anew or refunded meanwhile.
    function RELEASE_GRACE_SECONDS() external view returns (uint64);

    /// @notice How long a node has for run and receipt, counted from the recorded release, where the vote gives no time of its own.
    function RECEIPT_SECONDS() external view returns (uint64);

    /// @notice How long a request may be leased.
    function REQUEST_SECONDS() external view returns (uint64);

    /// @notice How long a receipt may be disputed.
    function DISPUTE_SECONDS() external view returns (uint64);

    /// @notice How long a collective has to decide a dispute by vote before the node is paid all the same.
    function RESOLVE_SECONDS() external view returns (uint64);

    /// @notice How many jobs there are; ids run from 1.
    function jobs() external view returns (uint256);

    /// @notice A job; all zero if there is none.
    function job(uint256 id) external view returns (Job memory);

    /// @notice Runs consumed of an approval.
    function runs(address collective, bytes32 manifest) external view returns (uint32);

    /// @notice EIP-712 digest that holders sign for the present lease of a job.
    function releaseDigest(uint256 id, bytes32 inputRoot, uint32 inputCount) external view returns (bytes32);

    /// @notice EIP-712 digest that the node signs.
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32);
}
