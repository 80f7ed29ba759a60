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

/// @title Anchors, revocations and admission of contributions.
/// @notice One instance serves every collective and has no owner. Nothing here is ever undone: heads only grow, and
/// what is revoked stays revoked.
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
    /// @param head the direct chain of the collective after this contribution
    event Contributed(
        address indexed collective,
        bytes32 indexed contributorId,
        bytes32 point,
        bytes32 commitment,
        bytes32 terms,
        uint256 nonce,
        bytes32 head
    );

    /// @notice The nonces `word * 256 + i`, for each bit i of `mask`, are revoked.
    event Revoked(bytes32 indexed contributorId, uint248 word, uint256 mask);

    /// @notice All nonces below `watermark` are revoked.
    event RevokedAll(bytes32 indexed contributorId, uint256 watermark);

    /// @notice A collective changed who may contribute.
    event AdmissionSet(address indexed collective, bytes32 root, bytes32 manifest);

    /// @notice A batch needs a root and at least one leaf.
    error EmptyBatch();

    /// @notice Only the contributor may use the direct path; `expected` is the id of the sender.
    error NotContributor(bytes32 expected, bytes32 given);

    /// @notice The relayed revocation's deadline has passed.
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

    /// @notice Anchors one contribution without an aggregator: the way round a node that refuses or ignores someone.
    /// @dev Warning: admission is not checked here; readers apply `isAdmitted` to both paths alike.
    function contribute(Contribution calldata contribution) external;

    /// @notice Revokes nonces of the sender: for each bit i of `mask`, nonce `word * 256 + i`.
    /// @dev Warning: for ever, and for the future only: what was released before stays known to whoever got it.
    function revoke(uint248 word, uint256 mask) external;

    /// @notice `revoke` for `contributor`, who signed `Revoke(bytes32 contributorId,uint248 word,uint256 mask,uint256
    /// deadline)`. Replaying it changes nothing, so no replay state is kept.
    function revokeBySig(address contributor, uint248 word, uint256 mask, uint256 deadline, bytes calldata signature)
        external;

    /// @notice Revokes all nonces of the sender that are lower than `below`; less than the present watermark changes nothing.
    function revokeAll(uint256 below) external;

    /// @notice `revokeAll` for `contributor`, who signed `RevokeAll(bytes32 contributorId,uint256 watermark,uint256
    /// deadline)`.
    function revokeAllBySig(address contributor, uint256 below, uint256 deadline, bytes calldata signature) external;

    /// @notice Sets who may contribute to the sender's collective.
    /// @param root 0 closes, `OPEN` opens to all, else the root of a tree over `admissionLeaf` of every admitted id
    /// @param manifest digest of the list of ids
    function setAdmission(bytes32 root, bytes32 manifest) external;

    /// @notice Value of `admission` that admits everybody. Rules on groups and equal rewards are then advisory.
    function OPEN() external view returns (bytes32);

    /// @notice Chain of an aggregator: keccak256(abi.encode(previous, root, count, manifest)) over its batches, from 0.
    function head(address collective, address aggregator) external view returns (bytes32);

    /// @notice Chain of direct contributions: keccak256(abi.encode(previous, leaf)), from 0.
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

    /// @notice Whether the contributor signed this contribution (ECDSA, or ERC-1271 for contract accounts).
    /// @dev Warning: an ERC-1271 answer may change from block to block; whoever relies on one stores the block.
    function verify(Contribution calldata contribution, bytes calldata signature) external view returns (bool);

    /// @notice Leaf of the batch tree: keccak256(keccak256(abi.encode(all six fields))).
    function leaf(Contribution calldata contribution) external pure returns (bytes32);

    /// @notice Leaf of the admission tree: keccak256(keccak256(abi.encode(contributorId))).
    function admissionLeaf(bytes32 contributorId) external pure returns (bytes32);

    /// @notice EIP-712 digest that the contributor signs.
    function digest(Contribution calldata contribution) external view returns (bytes32);
}
