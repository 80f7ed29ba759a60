// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @dev None, then Approved, then Revoked; there is no other order and no way back.
enum Status {
    None,
    Approved,
    Revoked
}

/// @dev What a collective voted for beside the manifest, as far as the escrow enforces it.
/// @param token ERC-20 of price and bond; may be zero only when both are
/// @param price of one run, in units of `token`
/// @param bond that a node locks for the time of a lease, in units of `token`
/// @param recipient digest of whoever may receive the output
/// @param expiry seconds since the epoch; at this time the approval is no longer active
/// @param maxRuns how many jobs may be leased in all
/// @param contributorsBps contributors' part of the price, in 1/10_000
/// @param nodeBps node operator's part of the price; the collective's treasury gets what remains
/// @param returnSeconds within which a heavy node has to return what the vote asks of it; zero where `node` is
/// @param node the only node that may take a job, which has the role for it: a heavy node, to which data is handed; zero
/// where every accepted compute node may
struct Terms {
    address token;
    uint256 price;
    uint256 bond;
    bytes32 recipient;
    uint64 expiry;
    uint32 maxRuns;
    uint16 contributorsBps;
    uint16 nodeBps;
    uint32 returnSeconds;
    bytes32 node;
}

/// @title Which programs a collective has approved.
/// @notice Keyed by the sender: whoever can act as the collective approves. A digest is approved at most once and its
/// terms never change; a revoked digest never comes back.
interface ICodeRegistry {
    /// @notice A collective approved a manifest.
    /// @param uri hint where the manifest can be fetched; its bytes must match the digest
    event CodeApproved(address indexed collective, bytes32 indexed manifest, Terms terms, string uri);

    /// @notice An approval ended.
    /// @param by the collective itself or its guardian
    event CodeRevoked(address indexed collective, bytes32 indexed manifest, address by);

    /// @notice A collective changed its guardian; zero means none.
    event GuardianSet(address indexed collective, address guardian);

    /// @notice The digest was approved or revoked before.
    error AlreadyDecided(bytes32 manifest, Status status);

    /// @notice Only an approved digest can be revoked.
    error NotApproved(bytes32 manifest);

    /// @notice The sender is not the guardian of the collective.
    error NotGuardian(address sender);

    /// @notice The expiry is not in the future.
    error AlreadyExpired(uint64 expiry);

    /// @notice An approval for no run means nothing.
    error NoRuns();

    /// @notice A hand-off names a node and a time of at most `MAX_RETURN_SECONDS`; what runs on the collective's own nodes neither.
    error HandOffIncomplete(bytes32 node, uint32 returnSeconds);

    /// @notice The parts of the price add up to more than the whole.
    error SplitExceedsWhole(uint256 bps);

    /// @notice A price or a bond needs a token.
    error TokenMissing();

    /// @notice Approves the program, data selection and rules that `manifest` is the digest of, for the sender.
    /// @dev Warning: the token must be a plain ERC-20. One that takes a fee on transfer is refused when a job is
    /// requested; one that changes balances by itself, blocks addresses, or lies about them can stall the jobs and
    /// rewards that are paid in it, and no others.
    function approve(bytes32 manifest, Terms calldata terms, string calldata uri) external;

    /// @notice Ends the sender's approval. Leases stop at once; what was released before can still be completed and paid.
    /// @dev Warning: for ever, see `Status`.
    function revoke(bytes32 manifest) external;

    /// @notice `revoke` by the collective's guardian, who can do nothing else here.
    function guardianRevoke(address collective, bytes32 manifest) external;

    /// @notice Names who may revoke for the sender's collective without a vote; zero for nobody.
    /// @dev Warning: the guardian may also dispute jobs and veto reward roots; it can delay, and cannot take or approve.
    function setGuardian(address guardian_) external;

    /// @notice How long a heavy node may be given at most: the price and the bond stand still meanwhile.
    function MAX_RETURN_SECONDS() external view returns (uint32);

    /// @notice Guardian of a collective, or zero.
    function guardian(address collective) external view returns (address);

    /// @notice Status and terms; terms stay readable after revocation and expiry.
    function approval(address collective, bytes32 manifest) external view returns (Status status, Terms memory terms);

    /// @notice Approved, not revoked, and not expired.
    function isActive(address collective, bytes32 manifest) external view returns (bool);
}
