// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @dev What a collective accepts when it accepts a node.
/// @param signer key that signs receipts, releases and quorum digests (ECDSA; contract accounts cannot be recovered)
/// @param recipient sha256 of the node's age recipient string
/// @param roles bit 0 compute, bit 1 keyholder, bit 2 heavy
/// @param measurement digest of the attested code, or zero where nothing is attested
/// @param transport sha256 of the SubjectPublicKeyInfo (DER) of the node's TLS key (RFC 7469 pin); zero only where the
/// node is no keyholder
struct NodeKeys {
    address signer;
    bytes32 recipient;
    uint8 roles;
    bytes32 measurement;
    bytes32 transport;
}

/// @dev Who holds the collective's key, and how many of them open it.
/// @param epoch grows with every committee that a collective accepts; the first is 1 or more
/// @param threshold holders that must act together
/// @param senderProof files without a sender proof are refused
/// @param recipient sha256 of the collective's recipient string
/// @param certificate sha256 of the share certificate: against its public shares everybody checks partial decryptions
/// @param members node ids in the order of their shares
struct Committee {
    uint64 epoch;
    uint16 threshold;
    bool senderProof;
    bytes32 recipient;
    bytes32 certificate;
    bytes32[] members;
}

/// @title Nodes, the collectives that accept them, and committees.
/// @notice Operators register nodes; a collective accepts a node by the hash of all its keys, so that a rotation needs
/// a new acceptance. Endpoints and recipient strings are in the events only.
interface INodeRegistry {
    event NodeRegistered(
        bytes32 indexed node, address indexed operator, NodeKeys keys, string recipient, string endpoint
    );
    event NodeRotated(bytes32 indexed node, NodeKeys keys, string recipient, string endpoint);
    event NodeRetired(bytes32 indexed node);
    event NodeAccepted(address indexed collective, bytes32 indexed node, bytes32 keysHash);
    event NodeRejected(address indexed collective, bytes32 indexed node);
    event Convened(address indexed collective, bytes32 indexed plan);
    event CommitteePublished(address indexed collective, bytes32 indexed hash, Committee committee, string recipient);
    event CommitteeAccepted(address indexed collective, bytes32 indexed hash, uint64 epoch);

    /// @notice The node id is taken, by this operator and salt.
    error NodeExists(bytes32 node);

    /// @notice No such node.
    error UnknownNode(bytes32 node);

    /// @notice The sender does not operate this node.
    error NotOperator(bytes32 node, address sender);

    /// @notice The node is retired, which is for ever.
    error Retired(bytes32 node);

    /// @notice A node needs a signer.
    error SignerMissing();

    /// @notice A keyholder needs a transport key: holders talk to pinned keys only.
    error TransportMissing();

    /// @notice The string is not what the digest names.
    error RecipientDigestMismatch(bytes32 expected, bytes32 actual);

    /// @notice The node's keys are not those that the decision was about.
    error KeysChanged(bytes32 node, bytes32 expected, bytes32 actual);

    /// @notice A committee needs 1 ≤ threshold ≤ members ≤ `MAX_MEMBERS`.
    error ThresholdOutOfRange(uint256 threshold, uint256 members);

    /// @notice One signature for each member, in their order.
    error SignatureCount(uint256 given, uint256 expected);

    /// @notice The member does not have the keyholder role.
    error NotKeyholder(bytes32 node);

    /// @notice Two members have the same signer.
    error DuplicateSigner(address signer);

    /// @notice The member's signer did not sign this committee.
    error MemberSignatureInvalid(bytes32 node);

    /// @notice This very committee was published before.
    error CommitteeExists(bytes32 hash);

    /// @notice No committee of this collective has this hash.
    error UnknownCommittee(bytes32 hash);

    /// @notice The epoch does not follow the accepted one.
    error EpochNotGrowing(uint64 current, uint64 given);

    /// @notice The collective has accepted no committee with this epoch.
    error UnknownEpoch(address collective, uint64 epoch);

    /// @notice Fewer signatures than the threshold.
    error QuorumMissing(uint256 given, uint256 threshold);

    /// @notice Signatures must be sorted by signer, ascending, each once.
    error SignersNotAscending(address previous, address signer);

    /// @notice The signer is not a member; a signature over another digest also ends here, as a stranger's.
    error NotMember(address signer);

    /// @notice Registers a node of the sender.
    /// @param salt chosen by the operator; the id is keccak256(abi.encode(operator, salt))
    /// @param recipient age recipient string, whose sha256 is `keys.recipient`
    /// @param endpoint hint where to reach the node
    function register(bytes32 salt, NodeKeys calldata keys, string calldata recipient, string calldata endpoint)
        external
        returns (bytes32 id);

    /// @notice Replaces the keys of a node; by its operator.
    /// @dev Warning: every acceptance of the old keys stops to hold, and holds again if the very same keys come back.
    function rotate(bytes32 id, NodeKeys calldata keys, string calldata recipient, string calldata endpoint) external;

    /// @notice Takes a node out of service for ever; by its operator.
    function retire(bytes32 id) external;

    /// @notice Accepts a node with exactly these keys, for the sender's collective.
    function accept(bytes32 id, bytes32 keysHash_) external;

    /// @notice Withdraws the acceptance, for the sender's collective.
    function reject(bytes32 id) external;

    /// @notice Lets the committee of the sender's collective hand its key to the members of a planned one: holders deal
    /// under the newest plan alone. Zero withdraws it.
    /// @dev Warning: dealing cannot be taken back. Whoever votes for a plan votes for all its members; `acceptCommittee`
    /// says afterwards only which shares are in use.
    /// @param plan hash of the plan, which this contract does not see
    function convene(bytes32 plan) external;

    /// @notice Stores a committee that every member has signed, so that the collective can vote on its hash.
    /// @dev Warning: publication is open to all and means nothing by itself; only an accepted committee does. The
    /// signers are frozen here, and acceptance is refused if one has changed since.
    /// @param recipient collective's recipient string, whose sha256 is `committee_.recipient`
    /// @dev Warning: that the certificate fits recipient, epoch and threshold is not checked here; whoever reads it does.
    /// @param signatures for each member, in order, its signer's signature over EIP-712 `Committee(address
    /// collective,uint64 epoch,uint16 threshold,bool senderProof,bytes32 recipient,bytes32 certificate,bytes32[]
    /// members)`
    /// @return hash EIP-712 struct hash
    function publishCommittee(
        address collective,
        Committee calldata committee_,
        string calldata recipient,
        bytes[] calldata signatures
    ) external returns (bytes32 hash);

    /// @notice Makes a published committee the current one of the sender's collective.
    /// @dev Warning: its signers stay as they are until the next committee, whatever operators do to their nodes.
    function acceptCommittee(bytes32 hash) external;

    /// @notice Reverts unless at least the threshold of the committee of `epoch` signed `digest_`.
    /// @dev Warning: a committee of a past epoch still counts here, for work that began under it. A caller that wants the
    /// present committee compares with `currentEpoch`.
    /// @param signatures 65-byte ECDSA signatures, sorted by signer address, ascending
    function checkQuorum(address collective, uint64 epoch, bytes32 digest_, bytes[] calldata signatures) external view;

    /// @notice Largest committee: every member is compared with every other, and a quorum is scanned in memory.
    function MAX_MEMBERS() external view returns (uint256);

    /// @notice Role bits of `NodeKeys.roles`.
    function ROLE_COMPUTE() external view returns (uint8);

    /// @notice Role bits of `NodeKeys.roles`.
    function ROLE_KEYHOLDER() external view returns (uint8);

    /// @notice Role bits of `NodeKeys.roles`.
    function ROLE_HEAVY() external view returns (uint8);

    /// @notice A node as it is now; all zero if there is none.
    function node(bytes32 id) external view returns (address operator, NodeKeys memory keys, bool retired);

    /// @notice keccak256(abi.encode(node, operator, keys)) of the present keys.
    function keysHash(bytes32 id) external view returns (bytes32);

    /// @notice What a collective accepted for a node, or zero.
    function acceptedKeys(address collective, bytes32 id) external view returns (bytes32);

    /// @notice Whether a collective accepts the node with its present keys, and the node is not retired.
    function isAccepted(address collective, bytes32 id) external view returns (bool);

    /// @notice Epoch of the current committee; zero if the collective has accepted none.
    function currentEpoch(address collective) external view returns (uint64);

    /// @notice Current committee with its frozen signers; all zero if the collective has accepted none.
    function committee(address collective) external view returns (Committee memory committee_, address[] memory signers);

    /// @notice Hash of the committee that a collective accepted as `epoch`, or zero.
    function committeeHash(address collective, uint64 epoch) external view returns (bytes32);

    /// @notice The plan that a collective has convened last, or zero.
    function convened(address collective) external view returns (bytes32);

    /// @notice A published committee with the signers frozen at its publication.
    function published(bytes32 hash) external view returns (Committee memory committee_, address[] memory signers);

    /// @notice EIP-712 struct hash, which `acceptCommittee` names.
    function hashCommittee(address collective, Committee calldata committee_) external pure returns (bytes32);

    /// @notice EIP-712 digest that every member signs.
    function committeeDigest(address collective, Committee calldata committee_) external view returns (bytes32);
}
