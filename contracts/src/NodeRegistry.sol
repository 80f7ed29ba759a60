// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {Committee, INodeRegistry, NodeKeys} from "./interfaces/INodeRegistry.sol";

/// @title NodeRegistry
/// @notice See INodeRegistry, which is the manual.
contract NodeRegistry is INodeRegistry, EIP712 {
    bytes32 private constant COMMITTEE_TYPEHASH = keccak256(
        "Committee(address collective,uint64 epoch,uint16 threshold,bool senderProof,bytes32 recipient,bytes32 certificate,bytes32[] members)"
    );

    /// @inheritdoc INodeRegistry
    uint256 public constant MAX_MEMBERS = 64;
    /// @inheritdoc INodeRegistry
    uint8 public constant ROLE_COMPUTE = 1;
    /// @inheritdoc INodeRegistry
    uint8 public constant ROLE_KEYHOLDER = 2;
    /// @inheritdoc INodeRegistry
    uint8 public constant ROLE_HEAVY = 4;

    struct Node {
        address operator;
        bool retired;
        NodeKeys keys;
    }

    struct Published {
        address collective;
        Committee committee;
        address[] signers;
    }

    mapping(bytes32 node => Node) private _nodes;
    mapping(bytes32 hash => Published) private _published;

    /// @inheritdoc INodeRegistry
    mapping(address collective => mapping(bytes32 node => bytes32)) public acceptedKeys;
    /// @inheritdoc INodeRegistry
    mapping(address collective => uint64) public currentEpoch;
    /// @inheritdoc INodeRegistry
    mapping(address collective => mapping(uint64 epoch => bytes32)) public committeeHash;
    /// @inheritdoc INodeRegistry
    mapping(address collective => bytes32 plan) public convened;

    constructor() EIP712("NodeRegistry", "1") {}

    // Operator

    /// @inheritdoc INodeRegistry
    function register(bytes32 salt, NodeKeys calldata keys, string calldata recipient, string calldata endpoint)
        external
        returns (bytes32 id)
    {
        id = keccak256(abi.encode(msg.sender, salt));
        require(_nodes[id].operator == address(0), NodeExists(id));
        _checkKeys(keys, recipient);

        _nodes[id] = Node({operator: msg.sender, retired: false, keys: keys});
        emit NodeRegistered(id, msg.sender, keys, recipient, endpoint);
    }

    /// @inheritdoc INodeRegistry
    function rotate(bytes32 id, NodeKeys calldata keys, string calldata recipient, string calldata endpoint) external {
        Node storage stored = _operated(id);
        _checkKeys(keys, recipient);

        stored.keys = keys;
        emit NodeRotated(id, keys, recipient, endpoint);
    }

    /// @inheritdoc INodeRegistry
    function retire(bytes32 id) external {
        _operated(id).retired = true;
        emit NodeRetired(id);
    }

    // Collective

    /// @inheritdoc INodeRegistry
    function accept(bytes32 id, bytes32 keysHash_) external {
        require(_nodes[id].operator != address(0), UnknownNode(id));
        require(!_nodes[id].retired, Retired(id));
        bytes32 current = keysHash(id);
        require(keysHash_ == current, KeysChanged(id, keysHash_, current));

        acceptedKeys[msg.sender][id] = keysHash_;
        emit NodeAccepted(msg.sender, id, keysHash_);
    }

    /// @inheritdoc INodeRegistry
    function reject(bytes32 id) external {
        delete acceptedKeys[msg.sender][id];
        emit NodeRejected(msg.sender, id);
    }

    // Committee

    /// @inheritdoc INodeRegistry
    function convene(bytes32 plan) external {
        convened[msg.sender] = plan;
        emit Convened(msg.sender, plan);
    }

    /// @inheritdoc INodeRegistry
    function publishCommittee(
        address collective,
        Committee calldata committee_,
        string calldata recipient,
        bytes[] calldata signatures
    ) external returns (bytes32 hash) {
        uint256 size = committee_.members.length;
        require(
            committee_.threshold != 0 && committee_.threshold <= size && size <= MAX_MEMBERS,
            ThresholdOutOfRange(committee_.threshold, size)
        );
        require(signatures.length == size, SignatureCount(signatures.length, size));
        _checkRecipient(committee_.recipient, recipient);
        hash = hashCommittee(collective, committee_);
        Published storage stored = _published[hash];
        require(stored.signers.length == 0, CommitteeExists(hash));

        address[] memory signers = _memberSigners(committee_.members, _hashTypedDataV4(hash), signatures);
        stored.collective = collective;
        stored.committee = committee_;
        stored.signers = signers;
        emit CommitteePublished(collective, hash, committee_, recipient);
    }

    /// @inheritdoc INodeRegistry
    function acceptCommittee(bytes32 hash) external {
        Published storage stored = _published[hash];
        // The hash covers the collective, so one published for another is unknown to this sender.
        require(stored.collective == msg.sender && stored.signers.length != 0, UnknownCommittee(hash));
        uint64 epoch = stored.committee.epoch;
        require(epoch > currentEpoch[msg.sender], EpochNotGrowing(currentEpoch[msg.sender], epoch));
        _checkUnchanged(stored);

        currentEpoch[msg.sender] = epoch;
        committeeHash[msg.sender][epoch] = hash;
        emit CommitteeAccepted(msg.sender, hash, epoch);
    }

    /// @inheritdoc INodeRegistry
    function checkQuorum(address collective, uint64 epoch, bytes32 digest_, bytes[] calldata signatures) external view {
        bytes32 hash = committeeHash[collective][epoch];
        require(hash != 0, UnknownEpoch(collective, epoch));
        uint16 threshold = _published[hash].committee.threshold;
        require(signatures.length >= threshold, QuorumMissing(signatures.length, threshold));

        address[] memory signers = _published[hash].signers;
        address previous = address(0);
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = ECDSA.recoverCalldata(digest_, signatures[i]);
            require(signer > previous, SignersNotAscending(previous, signer));
            require(_contains(signers, signer, signers.length), NotMember(signer));
            previous = signer;
        }
    }

    // Views

    /// @inheritdoc INodeRegistry
    function node(bytes32 id) external view returns (address operator, NodeKeys memory keys, bool retired) {
        Node storage stored = _nodes[id];
        return (stored.operator, stored.keys, stored.retired);
    }

    /// @inheritdoc INodeRegistry
    function isAccepted(address collective, bytes32 id) external view returns (bool) {
        return !_nodes[id].retired && _nodes[id].operator != address(0) && acceptedKeys[collective][id] == keysHash(id);
    }

    /// @inheritdoc INodeRegistry
    function committee(address collective)
        external
        view
        returns (Committee memory committee_, address[] memory signers)
    {
        return published(committeeHash[collective][currentEpoch[collective]]);
    }

    /// @inheritdoc INodeRegistry
    function committeeDigest(address collective, Committee calldata committee_) external view returns (bytes32) {
        return _hashTypedDataV4(hashCommittee(collective, committee_));
    }

    /// @inheritdoc INodeRegistry
    function published(bytes32 hash) public view returns (Committee memory committee_, address[] memory signers) {
        return (_published[hash].committee, _published[hash].signers);
    }

    /// @inheritdoc INodeRegistry
    function keysHash(bytes32 id) public view returns (bytes32) {
        return keccak256(abi.encode(id, _nodes[id].operator, _nodes[id].keys));
    }

    /// @inheritdoc INodeRegistry
    function hashCommittee(address collective, Committee calldata committee_) public pure returns (bytes32) {
        return keccak256(
            abi.encode(
                COMMITTEE_TYPEHASH,
                collective,
                committee_.epoch,
                committee_.threshold,
                committee_.senderProof,
                committee_.recipient,
                committee_.certificate,
                keccak256(abi.encodePacked(committee_.members))
            )
        );
    }

    // Internal

    function _operated(bytes32 id) private view returns (Node storage stored) {
        stored = _nodes[id];
        require(stored.operator != address(0), UnknownNode(id));
        require(stored.operator == msg.sender, NotOperator(id, msg.sender));
        require(!stored.retired, Retired(id));
    }

    function _checkKeys(NodeKeys calldata keys, string calldata recipient) private pure {
        require(keys.signer != address(0), SignerMissing());
        require(keys.transport != 0 || keys.roles & ROLE_KEYHOLDER == 0, TransportMissing());
        _checkRecipient(keys.recipient, recipient);
    }

    function _checkRecipient(bytes32 expected, string calldata recipient) private pure {
        bytes32 actual = sha256(bytes(recipient));
        require(actual == expected, RecipientDigestMismatch(expected, actual));
    }

    /// @dev Each member's signer, after checking that it is a keyholder in service, signed, and is there once.
    function _memberSigners(bytes32[] calldata members, bytes32 digest_, bytes[] calldata signatures)
        private
        view
        returns (address[] memory signers)
    {
        signers = new address[](members.length);
        for (uint256 i = 0; i < members.length; ++i) {
            Node storage member = _keyholder(members[i]);
            address signer = member.keys.signer;
            require(!_contains(signers, signer, i), DuplicateSigner(signer));
            require(ECDSA.recoverCalldata(digest_, signatures[i]) == signer, MemberSignatureInvalid(members[i]));
            signers[i] = signer;
        }
    }

    function _checkUnchanged(Published storage stored) private view {
        bytes32[] memory members = stored.committee.members;
        for (uint256 i = 0; i < members.length; ++i) {
            Node storage member = _keyholder(members[i]);
            require(
                member.keys.signer == stored.signers[i],
                KeysChanged(members[i], _asWord(stored.signers[i]), _asWord(member.keys.signer))
            );
        }
    }

    function _keyholder(bytes32 id) private view returns (Node storage member) {
        member = _nodes[id];
        require(member.operator != address(0), UnknownNode(id));
        require(!member.retired, Retired(id));
        require(member.keys.roles & ROLE_KEYHOLDER != 0, NotKeyholder(id));
    }

    function _contains(address[] memory list, address wanted, uint256 length) private pure returns (bool) {
        for (uint256 i = 0; i < length; ++i) {
            if (list[i] == wanted) return true;
        }
        return false;
    }

    function _asWord(address account) private pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }
}
