// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @dev One sealed contribution as its contributor signed it (EIP-712 type of the same name and fields).
/// @param collective address that stands for the collective, normally its timelock
/// @param contributorId who gives: a left-padded address today, other 32-byte ids later
/// @param point digest of the sealed file's key-encapsulation point; unique within the collective for ever
/// @param commitment digest of the sealed file: header, payload root, length, source
/// @param terms digest of the contributor's terms: purposes and expiry
/// @param nonce place in the contributor's own nonce space, by which the contribution is revoked
struct Contribution {
    address collective;
    bytes32 contributorId;
    bytes32 point;
    bytes32 commitment;
    bytes32 terms;
    uint256 nonce;
}

/// @dev Who speaks for a contributor's id, and who may take it over. The first word is what readers of the index prove.
/// @param controller key that speaks for the id; zero while that is the id's own account
/// @param rotatedAt block in which another key first took over; zero while none has
/// @param sequence changes so far: each signature is for one of them
/// @param recovery key that may start a recovery; zero is none
/// @param next key that takes over when the recovery that is under way is finished; zero while none is
/// @param finishableAt Unix seconds from which anybody may finish it
struct Recovery {
    address controller;
    uint64 rotatedAt;
    uint32 sequence;
    address recovery;
    address next;
    uint64 finishableAt;
}

/// @title Anchors, revocations, recovery and admission of contributions.
/// @notice One instance serves every collective and has no owner. Nothing here is ever undone: heads only grow, what is
/// revoked stays revoked, and an id that another key has taken over contributes nothing more.
interface IContributionRegistry {
    /// @notice An aggregator anchored a batch.
    /// @param head the chain of (collective, aggregator) after this batch
    event BatchCommitted(
        address indexed collective,
        address indexed aggregator,
        bytes32 root,
        uint32 count,
        bytes32 manifest,
        bytes32 head
    );

    /// @notice A contributor anchored a contribution directly.
    /// @param details as given
    /// @param head the direct chain of the collective after this contribution
    event Contributed(
        address indexed collective,
        bytes32 indexed contributorId,
        bytes32 point,
        bytes32 commitment,
        bytes32 terms,
        uint256 nonce,
        bytes details,
        bytes32 head
    );

    /// @notice The nonces `word * 256 + i`, for each bit i of `mask`, are revoked.
    event Revoked(bytes32 indexed contributorId, uint248 word, uint256 mask);

    /// @notice All nonces below `watermark` are revoked.
    event RevokedAll(bytes32 indexed contributorId, uint256 watermark);

    /// @notice The controller of an id named its recovery key, zero for none.
    event RecoveryNamed(bytes32 indexed contributorId, address recovery);

    /// @notice The recovery key of an id started a recovery to `next`.
    event RecoveryStarted(bytes32 indexed contributorId, address next, uint64 finishableAt);

    /// @notice The controller ended the recovery to `next`.
    event RecoveryVetoed(bytes32 indexed contributorId, address next);

    /// @notice `controller` speaks for the id from now on; the id's own account can still revoke, and nothing else.
    event RecoveryFinished(bytes32 indexed contributorId, address controller);

    /// @notice A collective changed who may contribute.
    event AdmissionSet(address indexed collective, bytes32 root, bytes32 manifest);

    /// @notice A batch needs a root and at least one leaf.
    error EmptyBatch();

    /// @notice Only the contributor may use the direct path; `expected` is the id of the sender.
    error NotContributor(bytes32 expected, bytes32 given);

    /// @notice Another key has taken the id over: nothing more is contributed under it.
    error ContributorRotated(bytes32 contributorId);

    /// @notice The details have more bytes than any that a reader would understand.
    error DetailsTooLong(uint256 limit, uint256 given);

    /// @notice The sender is not the key that speaks for the id.
    error NotController(address controller, address sender);

    /// @notice The sender is not the key that was named for recovery, or none was.
    error NotRecovery(address recovery, address sender);

    /// @notice A recovery needs a key that takes over.
    error NextMissing();

    /// @notice A recovery to `next` is under way: it is finished, or vetoed, before another starts.
    error RecoveryUnderWay(address next);

    /// @notice No recovery is under way.
    error NoRecovery(bytes32 contributorId);

    /// @notice The recovery can be vetoed until then, and not be finished.
    error RecoveryTooEarly(uint64 finishableAt);

    /// @notice The deadline of the relayed signature has passed.
    error SignatureExpired(uint256 deadline);

    /// @notice The signature is not `signer`'s.
    error InvalidSignature(address signer);

    /// @notice Anchors `count` contributions by the root of the tree over their leaves; the sender is the aggregator.
    /// @dev Warning: nothing about the leaves is checked here, and anybody may commit any root for any collective under
    /// the own address. Readers follow only the aggregators that they have a reason to follow, fetch the leaves by
    /// `manifest`, and verify each contributor's signature.
    /// @param root root of the sorted-pair Merkle tree over `leaf` of every contribution
    /// @param count number of leaves
    /// @param manifest digest of the list of leaves with their signatures
    function commitBatch(address collective, bytes32 root, uint32 count, bytes32 manifest) external;

    /// @notice Anchors one contribution without an aggregator: the way round a node that refuses or ignores someone. Only by
    /// the id's own account, and only while no other key has taken the id over.
    /// @dev Warning: nothing but the sender is checked here. Readers apply `isAdmitted` and all other rules to both paths alike, and
    /// count a direct contribution only if its details have what an entry of a batch has and the acknowledgement of the aggregator
    /// whose batches they follow: who has the file must have said so.
    /// @param details what the digests open to, signatures and the sealed file's header; opaque here, at most MAX_DETAILS_BYTES
    function contribute(Contribution calldata contribution, bytes calldata details) external;

    /// @notice Revokes nonces of an id that the sender controls, or whose own account the sender is, whoever controls it: for each bit
    /// i of `mask`, nonce `word * 256 + i`.
    /// @dev Warning: for ever, and for the future only: what was released before stays known to whoever got it.
    function revoke(bytes32 contributorId, uint248 word, uint256 mask) external;

    /// @notice `revoke` for the controller or the id's own account, which signed `Revoke(bytes32 contributorId,uint248 word,uint256 mask,uint256
    /// deadline)`. Replaying it changes nothing, so no replay state is kept.
    function revokeBySig(bytes32 contributorId, uint248 word, uint256 mask, uint256 deadline, bytes calldata signature)
        external;

    /// @notice Revokes all nonces below `below`, by the same keys as `revoke`; less than the present watermark changes nothing.
    function revokeAll(bytes32 contributorId, uint256 below) external;

    /// @notice `revokeAll` for the controller or the id's own account, which signed `RevokeAll(bytes32 contributorId,uint256 watermark,uint256
    /// deadline)`.
    function revokeAllBySig(bytes32 contributorId, uint256 below, uint256 deadline, bytes calldata signature) external;

    /// @notice Names the recovery key of an id that the sender controls, in the place of the one before; zero for none. Ends a
    /// recovery that is under way: to veto is to name the same key again, or better another.
    /// @dev Warning: holds at once. It is for a controller's key that is lost: whoever has stolen that key can veto and name,
    /// too.
    function nameRecovery(bytes32 contributorId, address recovery) external;

    /// @notice `nameRecovery` for the controller, who signed `NameRecovery(bytes32 contributorId,address recovery,uint32
    /// sequence,uint256 deadline)` with the id's present sequence.
    function nameRecoveryBySig(bytes32 contributorId, address recovery, uint256 deadline, bytes calldata signature)
        external;

    /// @notice Starts a recovery, by the recovery key: `next` takes the id over after RECOVERY_SECONDS, once anybody finishes it.
    /// @dev Warning: a `next` whose key nobody has takes over all the same. The recovery key stays named, so it can start again.
    function startRecovery(bytes32 contributorId, address next) external;

    /// @notice `startRecovery` for the recovery key, which signed `StartRecovery(bytes32 contributorId,address next,uint32
    /// sequence,uint256 deadline)` with the id's present sequence.
    function startRecoveryBySig(bytes32 contributorId, address next, uint256 deadline, bytes calldata signature)
        external;

    /// @notice Has `next` take the id over, once the time for a veto has passed; by anyone.
    function finishRecovery(bytes32 contributorId) external;

    /// @notice Sets who may contribute to the sender's collective.
    /// @param root 0 closes, `OPEN` opens to all, else the root of a tree over `admissionLeaf` of every admitted id
    /// @param manifest digest of the list of ids
    function setAdmission(bytes32 root, bytes32 manifest) external;

    /// @notice Value of `admission` that admits everybody. Rules on groups and equal rewards are then advisory.
    function OPEN() external view returns (bytes32);

    /// @notice How long a recovery can be vetoed before it can be finished: longer than people are away from their keys.
    function RECOVERY_SECONDS() external view returns (uint64);

    /// @notice Most that `contribute` takes: a length, an entry (4 KiB), an acknowledgement (65) and an age header (16 KiB).
    function MAX_DETAILS_BYTES() external view returns (uint256);

    /// @notice The key that speaks for the id: that of its own account, until a recovery is finished.
    function controllerOf(bytes32 contributorId) external view returns (address);

    /// @notice Who is paid what the id earned: its controller. While a recovery is under way that key may be lost, so nothing should
    /// be paid to it unless it asks for it itself.
    function payeeOf(bytes32 contributorId) external view returns (address controller, bool recovering);

    /// @notice All that is known of an id's recovery.
    function recoveryOf(bytes32 contributorId) external view returns (Recovery memory);

    /// @notice Chain of an aggregator: keccak256(abi.encode(previous, root, count, manifest)) over its batches, from 0.
    function head(address collective, address aggregator) external view returns (bytes32);

    /// @notice Chain of direct contributions: keccak256(abi.encode(previous, leaf, keccak256(details))), from 0.
    function directHead(address collective) external view returns (bytes32);

    /// @notice Bitmap of revoked nonces.
    function revocations(bytes32 contributorId, uint248 word) external view returns (uint256 mask);

    /// @notice Nonces below this are revoked.
    function watermark(bytes32 contributorId) external view returns (uint256);

    /// @notice Admission root of a collective, see `setAdmission`.
    function admission(address collective) external view returns (bytes32 root);

    /// @notice Whether the contributor has revoked `nonce`.
    function isRevoked(bytes32 contributorId, uint256 nonce) external view returns (bool);

    /// @notice Whether the id may contribute to the collective now.
    function isAdmitted(address collective, bytes32 contributorId, bytes32[] calldata proof)
        external
        view
        returns (bool);

    /// @notice Whether the id's own account signed this contribution (ECDSA, or ERC-1271 for contract accounts), whoever
    /// controls the id now: what was anchored before a recovery stays signed.
    /// @dev Warning: an ERC-1271 answer may change from block to block; whoever relies on one stores the block.
    function verify(Contribution calldata contribution, bytes calldata signature) external view returns (bool);

    /// @notice Leaf of the batch tree: keccak256(keccak256(abi.encode(all six fields))).
    function leaf(Contribution calldata contribution) external pure returns (bytes32);

    /// @notice Leaf of the admission tree: keccak256(keccak256(abi.encode(contributorId))).
    function admissionLeaf(bytes32 contributorId) external pure returns (bytes32);

    /// @notice EIP-712 digest that the contributor signs.
    function digest(Contribution calldata contribution) external view returns (bytes32);
}
