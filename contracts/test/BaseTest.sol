// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {CodeRegistry} from "../src/CodeRegistry.sol";
import {ContributionRegistry} from "../src/ContributionRegistry.sol";
import {contributorIdOf} from "../src/ContributorId.sol";
import {DemoToken} from "../src/DemoToken.sol";
import {JobEscrow} from "../src/JobEscrow.sol";
import {NodeRegistry} from "../src/NodeRegistry.sol";
import {RewardDistributor} from "../src/RewardDistributor.sol";
import {Terms} from "../src/interfaces/ICodeRegistry.sol";
import {Contribution} from "../src/interfaces/IContributionRegistry.sol";
import {Job, Receipt, State} from "../src/interfaces/IJobEscrow.sol";
import {Committee, NodeKeys} from "../src/interfaces/INodeRegistry.sol";
import {vm} from "./Vm.sol";

/// @dev The contracts, the actors and their usual steps. Every actor is a key, so that each can sign.
abstract contract BaseTest {
    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant FIRST_BLOCK = 20_000_000;

    uint256 internal constant PRICE = 1_000_003; // does not divide evenly
    uint256 internal constant BOND = 500;
    uint32 internal constant MAX_RUNS = 3;
    bytes32 internal constant MANIFEST = keccak256("manifest");
    bytes32 internal constant OUTPUT_TO = keccak256("recipient of the output");
    bytes32 internal constant INPUT_ROOT = keccak256("input root");
    uint32 internal constant INPUT_COUNT = 944;
    string internal constant RECIPIENT = "age1recipient";
    string internal constant ENDPOINT = "https://node.example";

    CodeRegistry internal codes;
    ContributionRegistry internal contributions;
    NodeRegistry internal nodes;
    RewardDistributor internal rewards;
    JobEscrow internal escrow;
    DemoToken internal token;

    address internal collective = _account("collective");
    address internal guardian = _account("guardian");
    address internal requester = _account("requester");
    address internal operator = _account("operator");
    address internal aggregator = _account("aggregator");
    address internal contributor = _account("contributor");
    address internal stranger = _account("stranger");

    /// @dev Compute node and the keyholders' nodes, all of one operator.
    bytes32 internal worker;
    bytes32[] internal holders;
    uint256 internal workerKey = _key("worker signer");
    uint256[] internal holderKeys;

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(FIRST_BLOCK);
        codes = new CodeRegistry();
        contributions = new ContributionRegistry();
        nodes = new NodeRegistry();
        rewards = new RewardDistributor(codes, nodes, contributions);
        escrow = new JobEscrow(codes, nodes, rewards);

        address[] memory funded = new address[](3);
        uint256[] memory amounts = new uint256[](3);
        (funded[0], funded[1], funded[2]) = (requester, operator, stranger);
        (amounts[0], amounts[1], amounts[2]) = (1e24, 1e24, 1e24);
        token = new DemoToken("Demo", "DEMO", funded, amounts);
        for (uint256 i = 0; i < funded.length; ++i) {
            vm.prank(funded[i]);
            token.approve(address(escrow), type(uint256).max);
            vm.prank(funded[i]);
            token.approve(address(rewards), type(uint256).max);
        }

        worker = _register("worker", vm.addr(workerKey), nodes.ROLE_COMPUTE());
        for (uint256 i = 0; i < 3; ++i) {
            string memory name = string.concat("holder ", i == 0 ? "a" : i == 1 ? "b" : "c");
            holderKeys.push(_key(name));
            holders.push(_register(bytes32(bytes(name)), vm.addr(holderKeys[i]), nodes.ROLE_KEYHOLDER()));
        }
    }

    // Steps

    function _register(bytes32 salt, address signer, uint8 roles) internal returns (bytes32) {
        // First: the call of the sha256 precompile would use up the prank.
        NodeKeys memory keys = _keys(signer, roles);
        vm.prank(operator);
        return nodes.register(salt, keys, RECIPIENT, ENDPOINT);
    }

    function _accept(bytes32 node) internal {
        bytes32 keysHash = nodes.keysHash(node);
        vm.prank(collective);
        nodes.accept(node, keysHash);
    }

    /// @dev A committee of all three holders, published and accepted.
    function _install(uint64 epoch, uint16 threshold) internal returns (bytes32 hash) {
        hash = _publish(_committee(epoch, threshold));
        vm.prank(collective);
        nodes.acceptCommittee(hash);
    }

    function _publish(Committee memory c) internal returns (bytes32) {
        return nodes.publishCommittee(collective, c, RECIPIENT, _memberSignatures(c));
    }

    function _approve() internal {
        vm.prank(collective);
        codes.approve(MANIFEST, _terms(), "ipfs://manifest");
    }

    /// @dev Everything that a first lease needs.
    function _ready() internal {
        _accept(worker);
        _install(1, 2);
        _approve();
        vm.prank(operator);
        escrow.depositBond(worker, address(token), BOND);
    }

    function _request() internal returns (uint256 id) {
        vm.prank(requester);
        id = escrow.request(collective, MANIFEST, OUTPUT_TO, PRICE);
    }

    function _lease(uint256 id) internal {
        uint64 deny = uint64(block.number - 1);
        uint64 allow = deny - 64;
        bytes32 allowHash = blockhash(allow);
        bytes32 denyHash = blockhash(deny);
        vm.prank(vm.addr(workerKey));
        escrow.lease(id, worker, allow, allowHash, deny, denyHash);
    }

    function _release(uint256 id) internal {
        bytes[] memory signatures = _quorum(escrow.releaseDigest(id, INPUT_ROOT, INPUT_COUNT), 2);
        uint32 attempt = escrow.job(id).attempt;
        escrow.recordRelease(id, attempt, INPUT_ROOT, INPUT_COUNT, signatures);
    }

    function _complete(uint256 id) internal {
        Receipt memory receipt = _receipt(id);
        bytes memory signature = _sign(workerKey, escrow.receiptDigest(receipt));
        escrow.complete(id, receipt, signature);
    }

    /// @dev A job that has come as far as `state`; `_ready` must have run.
    function _jobIn(State state) internal returns (uint256 id) {
        id = _request();
        if (state == State.Requested) return id;
        _lease(id);
        if (state == State.Leased) return id;
        _release(id);
        if (state == State.Released) return id;
        _complete(id);
        if (state == State.Completed) return id;
        vm.prank(collective);
        escrow.dispute(id);
        require(state == State.Disputed, "unreachable state");
    }

    // Values

    function _terms() internal view returns (Terms memory) {
        return Terms({
            token: address(token),
            price: PRICE,
            bond: BOND,
            recipient: OUTPUT_TO,
            expiry: uint64(START + 365 days),
            maxRuns: MAX_RUNS,
            contributorsBps: 7_000,
            nodeBps: 2_000,
            returnSeconds: 0,
            node: 0
        });
    }

    function _keys(address signer, uint8 roles) internal pure returns (NodeKeys memory) {
        return NodeKeys({
            signer: signer,
            recipient: sha256(bytes(RECIPIENT)),
            roles: roles,
            measurement: keccak256("measurement"),
            transport: keccak256("transport")
        });
    }

    function _committee(uint64 epoch, uint16 threshold) internal view returns (Committee memory) {
        return Committee({
            epoch: epoch,
            threshold: threshold,
            senderProof: true,
            recipient: sha256(bytes(RECIPIENT)),
            certificate: keccak256("certificate"),
            members: holders
        });
    }

    function _receipt(uint256 id) internal view returns (Receipt memory) {
        Job memory job = escrow.job(id);
        return Receipt({
            job: id,
            attempt: job.attempt,
            manifest: job.manifest,
            allowHash: job.allowHash,
            denyHash: job.denyHash,
            inputRoot: INPUT_ROOT,
            inputCount: INPUT_COUNT,
            outcome: 1,
            output: keccak256("output"),
            outputBytes: 4_096,
            fuel: 1_000_000,
            memoryBytes: 1 << 20,
            milliseconds: 250,
            sandbox: keccak256("sandbox"),
            evidence: bytes32(0),
            lag: 64,
            quorum: keccak256("quorum record")
        });
    }

    function _contribution(uint256 nonce) internal view returns (Contribution memory) {
        return Contribution({
            collective: collective,
            contributorId: contributorIdOf(contributor),
            point: keccak256(abi.encode("point", nonce)),
            commitment: keccak256(abi.encode("commitment", nonce)),
            terms: keccak256("terms"),
            nonce: nonce
        });
    }

    // Keys and signatures

    function _key(string memory name) internal pure returns (uint256) {
        return uint256(keccak256(bytes(name)));
    }

    function _account(string memory name) internal returns (address account) {
        account = vm.addr(_key(name));
        vm.label(account, name);
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _memberSignatures(Committee memory c) internal view returns (bytes[] memory signatures) {
        bytes32 digest = nodes.committeeDigest(collective, c);
        signatures = new bytes[](holderKeys.length);
        for (uint256 i = 0; i < holderKeys.length; ++i) {
            signatures[i] = _sign(holderKeys[i], digest);
        }
    }

    /// @dev Signatures of the first `count` holders, in the order that checkQuorum asks for.
    function _quorum(bytes32 digest, uint256 count) internal view returns (bytes[] memory) {
        uint256[] memory keys = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            keys[i] = holderKeys[i];
        }
        return _signAscending(digest, keys);
    }

    function _signAscending(bytes32 digest, uint256[] memory keys) internal pure returns (bytes[] memory signatures) {
        signatures = new bytes[](keys.length);
        for (uint256 i = 0; i < keys.length; ++i) {
            for (uint256 j = i + 1; j < keys.length; ++j) {
                if (vm.addr(keys[j]) < vm.addr(keys[i])) (keys[i], keys[j]) = (keys[j], keys[i]);
            }
            signatures[i] = _sign(keys[i], digest);
        }
    }

    function _bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + value % (high - low + 1);
    }
}
