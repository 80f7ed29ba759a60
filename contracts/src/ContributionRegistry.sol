// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {addressOf, contributorIdOf} from "./ContributorId.sol";
import {Contribution, IContributionRegistry} from "./interfaces/IContributionRegistry.sol";

/// @title ContributionRegistry
/// @notice See IContributionRegistry, which is the manual.
contract ContributionRegistry is IContributionRegistry, EIP712 {
    bytes32 private constant CONTRIBUTION_TYPEHASH = keccak256(
        "Contribution(address collective,bytes32 contributorId,bytes32 point,bytes32 commitment,bytes32 terms,uint256 nonce)"
    );
    bytes32 private constant REVOKE_TYPEHASH =
        keccak256("Revoke(bytes32 contributorId,uint248 word,uint256 mask,uint256 deadline)");
    bytes32 private constant REVOKE_ALL_TYPEHASH =
        keccak256("RevokeAll(bytes32 contributorId,uint256 watermark,uint256 deadline)");

    /// @inheritdoc IContributionRegistry
    bytes32 public constant OPEN = bytes32(type(uint256).max);

    /// @inheritdoc IContributionRegistry
    mapping(address collective => mapping(address aggregator => bytes32)) public head;
    /// @inheritdoc IContributionRegistry
    mapping(address collective => bytes32) public directHead;
    /// @inheritdoc IContributionRegistry
    mapping(bytes32 contributorId => mapping(uint248 word => uint256)) public revocations;
    /// @inheritdoc IContributionRegistry
    mapping(bytes32 contributorId => uint256) public watermark;
    /// @inheritdoc IContributionRegistry
    mapping(address collective => bytes32) public admission;

    constructor() EIP712("ContributionRegistry", "1") {}

    // Anchoring

    /// @inheritdoc IContributionRegistry
    function commitBatch(address collective, bytes32 root, uint32 count, bytes32 manifest) external {
        require(root != 0 && count != 0, EmptyBatch());

        bytes32 next = keccak256(abi.encode(head[collective][msg.sender], root, count, manifest));
        head[collective][msg.sender] = next;
        emit BatchCommitted(collective, msg.sender, root, count, manifest, next);
    }

    /// @inheritdoc IContributionRegistry
    function contribute(Contribution calldata c) external {
        bytes32 id = contributorIdOf(msg.sender);
        require(c.contributorId == id, NotContributor(id, c.contributorId));

        bytes32 next = keccak256(abi.encode(directHead[c.collective], leaf(c)));
        directHead[c.collective] = next;
        emit Contributed(c.collective, id, c.point, c.commitment, c.terms, c.nonce, next);
    }

    // Revocation

    /// @inheritdoc IContributionRegistry
    function revoke(uint248 word, uint256 mask) external {
        _revoke(contributorIdOf(msg.sender), word, mask);
    }

    /// @inheritdoc IContributionRegistry
    function revokeBySig(address contributor, uint248 word, uint256 mask, uint256 deadline, bytes calldata signature)
        external
    {
        bytes32 id = contributorIdOf(contributor);
        bytes32 structHash = keccak256(abi.encode(REVOKE_TYPEHASH, id, word, mask, deadline));
        _checkRelayed(contributor, structHash, deadline, signature);
        _revoke(id, word, mask);
    }

    /// @inheritdoc IContributionRegistry
    function revokeAll(uint256 below) external {
        _revokeAll(contributorIdOf(msg.sender), below);
    }

    /// @inheritdoc IContributionRegistry
    function revokeAllBySig(address contributor, uint256 below, uint256 deadline, bytes calldata signature) external {
        bytes32 id = contributorIdOf(contributor);
        bytes32 structHash = keccak256(abi.encode(REVOKE_ALL_TYPEHASH, id, below, deadline));
        _checkRelayed(contributor, structHash, deadline, signature);
        _revokeAll(id, below);
    }

    // Admission

    /// @inheritdoc IContributionRegistry
    function setAdmission(bytes32 root, bytes32 manifest) external {
        admission[msg.sender] = root;
        emit AdmissionSet(msg.sender, root, manifest);
    }

    // Views

    /// @inheritdoc IContributionRegistry
    function isRevoked(bytes32 contributorId, uint256 nonce) external view returns (bool) {
        if (nonce < watermark[contributorId]) return true;
        uint248 word = uint248(nonce >> 8);
        return (revocations[contributorId][word] >> (nonce & 0xff)) & 1 != 0;
    }

    /// @inheritdoc IContributionRegistry
    function isAdmitted(address collective, bytes32 contributorId, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 root = admission[collective];
        // A closed collective admits nobody: no tree has the root zero.
        return root == OPEN || MerkleProof.verifyCalldata(proof, root, admissionLeaf(contributorId));
    }

    /// @inheritdoc IContributionRegistry
    function verify(Contribution calldata c, bytes calldata signature) external view returns (bool) {
        return _isSigned(addressOf(c.contributorId), digest(c), signature);
    }

    /// @inheritdoc IContributionRegistry
    function leaf(Contribution calldata c) public pure returns (bytes32) {
        // Hashed twice, so that a leaf is never mistaken for an inner node.
        return keccak256(bytes.concat(keccak256(abi.encode(c))));
    }

    /// @inheritdoc IContributionRegistry
    function admissionLeaf(bytes32 contributorId) public pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(contributorId))));
    }

    /// @inheritdoc IContributionRegistry
    function digest(Contribution calldata c) public view returns (bytes32) {
        // All fields are words, so the struct's encoding is the concatenation that EIP-712 asks for.
        return _hashTypedDataV4(keccak256(abi.encode(CONTRIBUTION_TYPEHASH, c)));
    }

    // Internal

    function _checkRelayed(address contributor, bytes32 structHash, uint256 deadline, bytes calldata signature)
        private
        view
    {
        require(block.timestamp <= deadline, SignatureExpired(deadline));
        bool valid = _isSigned(contributor, _hashTypedDataV4(structHash), signature);
        require(valid, InvalidSignature(contributor));
    }

    /// @dev The key first, although there may be code: an account that delegated its code (EIP-7702) still speaks by its
    /// key, and must never be unable to revoke because its delegate knows no ERC-1271.
    function _isSigned(address account, bytes32 hash, bytes calldata signature) private view returns (bool) {
        (address signer, ECDSA.RecoverError error,) = ECDSA.tryRecoverCalldata(hash, signature);
        if (error == ECDSA.RecoverError.NoError && signer == account) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(account, hash, signature);
    }

    function _revoke(bytes32 contributorId, uint248 word, uint256 mask) private {
        revocations[contributorId][word] |= mask;
        emit Revoked(contributorId, word, mask);
    }

    function _revokeAll(bytes32 contributorId, uint256 below) private {
        // Relayed signatures may arrive in any order; the highest watermark stands.
        if (below <= watermark[contributorId]) return;
        watermark[contributorId] = below;
        emit RevokedAll(contributorId, below);
    }
}
