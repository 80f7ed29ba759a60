// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {addressOf, contributorIdOf} from "./ContributorId.sol";
import {Contribution, IContributionRegistry, Recovery} from "./interfaces/IContributionRegistry.sol";

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
    bytes32 private constant NAME_RECOVERY_TYPEHASH =
        keccak256("NameRecovery(bytes32 contributorId,address recovery,uint32 sequence,uint256 deadline)");
    bytes32 private constant START_RECOVERY_TYPEHASH =
        keccak256("StartRecovery(bytes32 contributorId,address next,uint32 sequence,uint256 deadline)");

    /// @inheritdoc IContributionRegistry
    bytes32 public constant OPEN = bytes32(type(uint256).max);
    /// @inheritdoc IContributionRegistry
    uint64 public constant RECOVERY_SECONDS = 30 days;
    /// @inheritdoc IContributionRegistry
    uint256 public constant MAX_DETAILS_BYTES = 4 + 4_096 + 65 + 16_384;

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

    mapping(bytes32 contributorId => Recovery) private _recoveries;

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
    function contribute(Contribution calldata c, bytes calldata details) external {
        bytes32 id = contributorIdOf(msg.sender);
        require(c.contributorId == id, NotContributor(id, c.contributorId));
        require(_recoveries[id].rotatedAt == 0, ContributorRotated(id));
        require(details.length <= MAX_DETAILS_BYTES, DetailsTooLong(MAX_DETAILS_BYTES, details.length));

        bytes32 next = keccak256(abi.encode(directHead[c.collective], leaf(c), keccak256(details)));
        directHead[c.collective] = next;
        emit Contributed(c.collective, id, c.point, c.commitment, c.terms, c.nonce, details, next);
    }

    // Revocation

    /// @inheritdoc IContributionRegistry
    function revoke(bytes32 contributorId, uint248 word, uint256 mask) external {
        _checkRevoker(contributorId);
        _revoke(contributorId, word, mask);
    }

    /// @inheritdoc IContributionRegistry
    function revokeBySig(bytes32 contributorId, uint248 word, uint256 mask, uint256 deadline, bytes calldata signature)
        external
    {
        bytes32 structHash = keccak256(abi.encode(REVOKE_TYPEHASH, contributorId, word, mask, deadline));
        _checkRelayedRevocation(contributorId, structHash, deadline, signature);
        _revoke(contributorId, word, mask);
    }

    /// @inheritdoc IContributionRegistry
    function revokeAll(bytes32 contributorId, uint256 below) external {
        _checkRevoker(contributorId);
        _revokeAll(contributorId, below);
    }

    /// @inheritdoc IContributionRegistry
    function revokeAllBySig(bytes32 contributorId, uint256 below, uint256 deadline, bytes calldata signature) external {
        bytes32 structHash = keccak256(abi.encode(REVOKE_ALL_TYPEHASH, contributorId, below, deadline));
        _checkRelayedRevocation(contributorId, structHash, deadline, signature);
        _revokeAll(contributorId, below);
    }

    // Recovery

    /// @inheritdoc IContributionRegistry
    function nameRecovery(bytes32 contributorId, address recovery) external {
        _checkController(contributorId);
        _nameRecovery(contributorId, recovery);
    }

    /// @inheritdoc IContributionRegistry
    function nameRecoveryBySig(bytes32 contributorId, address recovery, uint256 deadline, bytes calldata signature)
        external
    {
        uint32 sequence = _recoveries[contributorId].sequence;
        bytes32 structHash = keccak256(abi.encode(NAME_RECOVERY_TYPEHASH, contributorId, recovery, sequence, deadline));
        _checkRelayed(controllerOf(contributorId), structHash, deadline, signature);
        _nameRecovery(contributorId, recovery);
    }

    /// @inheritdoc IContributionRegistry
    function startRecovery(bytes32 contributorId, address next) external {
        address recovery = _recoveries[contributorId].recovery;
        require(msg.sender == recovery, NotRecovery(recovery, msg.sender));
        _startRecovery(contributorId, next);
    }

    /// @inheritdoc IContributionRegistry
    function startRecoveryBySig(bytes32 contributorId, address next, uint256 deadline, bytes calldata signature)
        external
    {
        Recovery storage stored = _recoveries[contributorId];
        require(stored.recovery != address(0), NotRecovery(address(0), msg.sender));
        bytes32 structHash =
            keccak256(abi.encode(START_RECOVERY_TYPEHASH, contributorId, next, stored.sequence, deadline));
        _checkRelayed(stored.recovery, structHash, deadline, signature);
        _startRecovery(contributorId, next);
    }

    /// @inheritdoc IContributionRegistry
    function finishRecovery(bytes32 contributorId) external {
        Recovery storage stored = _recoveries[contributorId];
        address next = stored.next;
        require(next != address(0), NoRecovery(contributorId));
        require(block.timestamp >= stored.finishableAt, RecoveryTooEarly(stored.finishableAt));

        stored.controller = next;
        if (stored.rotatedAt == 0) stored.rotatedAt = uint64(block.number);
        stored.sequence += 1;
        _endRecovery(stored);
        emit RecoveryFinished(contributorId, next);
    }

    // Admission

    /// @inheritdoc IContributionRegistry
    function setAdmission(bytes32 root, bytes32 manifest) external {
        admission[msg.sender] = root;
        emit AdmissionSet(msg.sender, root, manifest);
    }

    // Views

    /// @inheritdoc IContributionRegistry
    function controllerOf(bytes32 contributorId) public view returns (address controller) {
        controller = _recoveries[contributorId].controller;
        if (controller == address(0)) controller = addressOf(contributorId);
    }

    /// @inheritdoc IContributionRegistry
    function payeeOf(bytes32 contributorId) external view returns (address controller, bool recovering) {
        controller = controllerOf(contributorId);
        recovering = _recoveries[contributorId].next != address(0);
    }

    /// @inheritdoc IContributionRegistry
    function recoveryOf(bytes32 contributorId) external view returns (Recovery memory) {
        return _recoveries[contributorId];
    }

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

    function _checkController(bytes32 contributorId) private view {
        address controller = controllerOf(contributorId);
        require(msg.sender == controller, NotController(controller, msg.sender));
    }

    /// @dev To revoke only protects, so the account's own key may do it for ever: a takeover that it could not prevent does not make
    /// it give anything that it does not want to give.
    function _checkRevoker(bytes32 contributorId) private view {
        if (msg.sender != addressOf(contributorId)) _checkController(contributorId);
    }

    function _checkRelayedRevocation(
        bytes32 contributorId,
        bytes32 structHash,
        uint256 deadline,
        bytes calldata signature
    ) private view {
        require(block.timestamp <= deadline, SignatureExpired(deadline));
        (address controller, address account) = (controllerOf(contributorId), addressOf(contributorId));
        bytes32 hash = _hashTypedDataV4(structHash);
        address signer = _signer(hash, signature);
        // Both keys before any code: else a contract that took the id over burns the gas of what the account's own key signed.
        // Keys are compared, which are equal or not: no sum that a stranger could move.
        // slither-disable-next-line incorrect-equality
        bool valid = (signer != address(0) && (signer == controller || signer == account))
            || SignatureChecker.isValidERC1271SignatureNowCalldata(controller, hash, signature)
            || SignatureChecker.isValidERC1271SignatureNowCalldata(account, hash, signature);
        require(valid, InvalidSignature(controller));
    }

    function _checkRelayed(address account, bytes32 structHash, uint256 deadline, bytes calldata signature)
        private
        view
    {
        require(block.timestamp <= deadline, SignatureExpired(deadline));
        bool valid = _isSigned(account, _hashTypedDataV4(structHash), signature);
        require(valid, InvalidSignature(account));
    }

    /// @dev The key first, although there may be code: an account that delegated its code (EIP-7702) still speaks by its
    /// key, and must never be unable to revoke because its delegate knows no ERC-1271.
    function _isSigned(address account, bytes32 hash, bytes calldata signature) private view returns (bool) {
        address signer = _signer(hash, signature);
        // Keys are compared, which are equal or not: no sum that a stranger could move.
        // slither-disable-next-line incorrect-equality
        if (signer != address(0) && signer == account) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(account, hash, signature);
    }

    /// @dev The key that signed, as a 65-byte signature has it; zero where none did.
    function _signer(bytes32 hash, bytes calldata signature) private pure returns (address signer) {
        (signer,,) = ECDSA.tryRecoverCalldata(hash, signature);
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

    function _nameRecovery(bytes32 contributorId, address recovery) private {
        Recovery storage stored = _recoveries[contributorId];
        address next = stored.next;
        stored.recovery = recovery;
        stored.sequence += 1;
        _endRecovery(stored);
        if (next != address(0)) emit RecoveryVetoed(contributorId, next);
        emit RecoveryNamed(contributorId, recovery);
    }

    function _startRecovery(bytes32 contributorId, address next) private {
        Recovery storage stored = _recoveries[contributorId];
        require(next != address(0), NextMissing());
        // One at a time: else the same signatures, sent again in turn, would begin the delay anew for ever.
        require(stored.next == address(0), RecoveryUnderWay(stored.next));

        stored.next = next;
        stored.finishableAt = uint64(block.timestamp) + RECOVERY_SECONDS;
        stored.sequence += 1;
        emit RecoveryStarted(contributorId, next, stored.finishableAt);
    }

    function _endRecovery(Recovery storage stored) private {
        (stored.next, stored.finishableAt) = (address(0), 0);
    }
}
