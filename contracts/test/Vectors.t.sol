// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {CodeRegistry} from "../src/CodeRegistry.sol";
import {ContributionRegistry} from "../src/ContributionRegistry.sol";
import {JobEscrow} from "../src/JobEscrow.sol";
import {LivenessRegistry} from "../src/LivenessRegistry.sol";
import {NodeRegistry} from "../src/NodeRegistry.sol";
import {RewardDistributor} from "../src/RewardDistributor.sol";
import {Contribution} from "../src/interfaces/IContributionRegistry.sol";
import {Receipt, Release} from "../src/interfaces/IJobEscrow.sol";
import {Committee, NodeKeys} from "../src/interfaces/INodeRegistry.sol";
import {vm} from "./Vm.sol";

/// @dev The vectors of SPEC.md, computed by an independent EIP-712 implementation (eth-account) and written down here.
/// Every contract stands at the same address, on chain 31337; `_word(n)` is the byte n, 32 times.
contract VectorsTest {
    address internal constant AT = address(0xC0DE);
    address internal constant COLLECTIVE = address(0xAA);
    address internal constant TOKEN = address(0xEE);
    uint256 internal constant KEY = 1;
    address internal constant CONTRIBUTOR = 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf;
    bytes32 internal constant ID = bytes32(uint256(uint160(CONTRIBUTOR)));
    uint256 internal constant DEADLINE = 4_102_444_800;

    CodeRegistry internal codes = new CodeRegistry();
    NodeRegistry internal nodes = new NodeRegistry();
    ContributionRegistry internal contributions = new ContributionRegistry();
    RewardDistributor internal rewards = new RewardDistributor(codes, nodes, contributions);

    function setUp() public {
        vm.chainId(31_337);
    }

    function test_contribution() public {
        ContributionRegistry registry = ContributionRegistry(_at(address(contributions)));
        Contribution memory c = Contribution({
            collective: COLLECTIVE, contributorId: ID, point: _word(1), commitment: _word(2), terms: _word(3), nonce: 7
        });
        vm.assertEq(registry.digest(c), 0x32653ae594de19bbffb533b5c42ad49efbdebda70a7436f0ef525798d96f13e6);
        vm.assertEq(registry.leaf(c), 0xc442c4cee9a51900b04cb1e7daebd35a09053dbfd7364575b84434ff7d98daf9);
        vm.assertEq(registry.admissionLeaf(ID), 0xf36a8b87aafd9478d7d2381b28af812b645a6b4ef1df15781b38e01ef44d0b5c);
        vm.prank(CONTRIBUTOR);
        registry.contribute(c, "details");
        vm.assertEq(registry.directHead(COLLECTIVE), 0x5e57d5bb8410e1de468d329c14abf4e2acf4787324ed91203a5fd3cd98091d1b);
        vm.prank(TOKEN);
        registry.commitBatch(COLLECTIVE, _word(1), 944, _word(2));
        vm.assertEq(
            registry.head(COLLECTIVE, TOKEN), 0xeeb0c0a49b15c24d1d7b441d61400d69855f686ffb766821b9fc9d0845c58e19
        );
    }

    function test_revocations() public {
        ContributionRegistry registry = ContributionRegistry(_at(address(contributions)));
        bytes memory signature = _sign(0x745f928e2b7df547fb4aecfd6ea1aa98d5183df3233ad45e3f9c1fdc410c1242);
        registry.revokeBySig(ID, 1, 2, DEADLINE, signature);
        signature = _sign(0x85be287079688b9584735814e7ef003809a60e9b48bd400e389ccffbe0034a4d);
        registry.revokeAllBySig(ID, 7, DEADLINE, signature);
        vm.assertTrue(registry.isRevoked(ID, 257));
        vm.assertTrue(registry.isRevoked(ID, 6));
    }

    function test_recoveries() public {
        ContributionRegistry registry = ContributionRegistry(_at(address(contributions)));
        bytes memory signature = _sign(0xcb0a57d0e056f7af2ec8674694357c5076ebdd756cd5726d21d4e7cdfbbcfcd8);
        registry.nameRecoveryBySig(ID, CONTRIBUTOR, DEADLINE, signature);
        signature = _sign(0x915dd840de99db4597851b28b3a2e5f501801217affba0ba0f4358e18b2b50bf);
        registry.startRecoveryBySig(ID, address(0xDD), DEADLINE, signature);
        vm.assertEq(registry.recoveryOf(ID).next, address(0xDD));
    }

    function test_nodes() public {
        NodeRegistry registry = NodeRegistry(_at(address(nodes)));
        Committee memory c = Committee({
            epoch: 1,
            threshold: 2,
            senderProof: true,
            recipient: _word(4),
            certificate: _word(19),
            members: new bytes32[](2)
        });
        (c.members[0], c.members[1]) = (_word(5), _word(6));
        vm.assertEq(
            registry.hashCommittee(COLLECTIVE, c), 0xf02987bc03458ef8fc33cd50aafed2fdff622ace6c55ec95170b891fa9e5ee89
        );
        vm.assertEq(
            registry.committeeDigest(COLLECTIVE, c), 0x17d1f3fc82c74eac047c176f36fd54b8999951723889fe1c8663f510a0dec6df
        );
        NodeKeys memory keys = NodeKeys({
            signer: address(0xDD), recipient: sha256("age1"), roles: 3, measurement: _word(8), transport: _word(20)
        });
        vm.prank(address(0xCC));
        bytes32 node = registry.register(_word(9), keys, "age1", "");
        vm.assertEq(node, 0xec15958439c7aca6106b64b3664b3eb8c537242c1ccc53803aba175b22375e61);
        // The registry's own hash has this form (NodeRegistry.t.sol); here with the vector's values.
        keys.recipient = _word(4);
        vm.assertEq(
            keccak256(abi.encode(_word(5), address(0xCC), keys)),
            0x539a51213ca8134e5a080f99e18b10668ac5bf14282debe3b88baee2fae94f7f
        );
    }

    function test_liveness() public {
        LivenessRegistry registry = new LivenessRegistry(codes, new ContributionRegistry(), rewards);
        // As if the first block of that day had had this randomness (SPEC "Storage").
        vm.store(address(registry), keccak256(abi.encode(20_833, 0)), _word(7));
        vm.assertEq(registry.randomnessOf(20_833), _word(7));
        vm.assertEq(registry.drawn(COLLECTIVE, 20_833, _word(1), 200_000), uint256(102));
        vm.assertEq(registry.drawn(COLLECTIVE, 20_833, _word(2), 1_025), uint256(0));
    }

    function test_jobs() public {
        JobEscrow escrow = JobEscrow(_at(address(new JobEscrow(codes, nodes, rewards))));
        Receipt memory r = Receipt({
            job: 1,
            attempt: 1,
            manifest: _word(10),
            allowHash: _word(12),
            denyHash: _word(13),
            inputRoot: _word(14),
            inputCount: 944,
            outcome: 1,
            output: _word(15),
            outputBytes: 4_096,
            fuel: 1_000_000,
            memoryBytes: 65_536,
            milliseconds: 250,
            sandbox: _word(16),
            evidence: 0,
            lag: 100,
            quorum: _word(21)
        });
        vm.assertEq(escrow.receiptDigest(r), 0x12794a2e843791c7771363a4575498285547d4c4928182a20f000ab609222661);
        // The escrow's own hash has this form (jobs/Receipt.t.sol); here with the vector's values.
        Release memory release = Release({
            job: 1,
            attempt: 1,
            collective: COLLECTIVE,
            manifest: _word(10),
            node: _word(5),
            keys: _word(11),
            allowBlock: 100,
            allowHash: _word(12),
            denyBlock: 200,
            denyHash: _word(13),
            inputRoot: _word(14),
            inputCount: 944,
            epoch: 1
        });
        bytes32 typehash = keccak256(
            "Release(uint256 job,uint32 attempt,address collective,bytes32 manifest,bytes32 node,bytes32 keys,uint64 allowBlock,bytes32 allowHash,uint64 denyBlock,bytes32 denyHash,bytes32 inputRoot,uint32 inputCount,uint64 epoch)"
        );
        vm.assertEq(
            keccak256(abi.encode(typehash, release)), 0xb65c99ec64a4b8369654c4b139056778ce9a0609f264eb3fc06e0c8255e00978
        );
    }

    function test_rewards() public {
        RewardDistributor distributor = RewardDistributor(_at(address(rewards)));
        vm.assertEq(
            distributor.rootDigest(COLLECTIVE, TOKEN, _word(17), 1_000, _word(18), 1),
            0x530cb592e9590bbfcd47573d09ccfbe8d56f4383948f124e0ecad4a83e556fad
        );
        vm.assertEq(distributor.leaf(ID, 42), 0x7784cec83137aee6235ca0317b1bb5c498f56eb7a3c6f16f9442c5ec0d706053);
    }

    function _at(address deployed) internal returns (address) {
        vm.etch(AT, deployed.code);
        return AT;
    }

    function _word(uint8 n) internal pure returns (bytes32 word) {
        for (uint256 i = 0; i < 32; ++i) {
            word = (word << 8) | bytes32(uint256(n));
        }
    }

    function _sign(bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, digest);
        return abi.encodePacked(r, s, v);
    }
}
