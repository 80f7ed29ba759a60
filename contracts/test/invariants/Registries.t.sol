// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {contributorIdOf} from "../../src/ContributorId.sol";
import {Status, Terms} from "../../src/interfaces/ICodeRegistry.sol";
import {Contribution, Recovery} from "../../src/interfaces/IContributionRegistry.sol";
import {BaseTest} from "../BaseTest.sol";
import {FuzzSelector, vm} from "../Vm.sol";

/// @dev Contributors, aggregators, collectives and guardians in any order, with what each did kept beside.
contract RegistryHandler is BaseTest {
    uint256 internal constant WORDS = 3;
    uint256 internal constant DIGESTS = 3;

    mapping(address contributor => mapping(uint248 word => uint256)) public revoked;
    mapping(address contributor => uint256) public mark;
    mapping(address contributor => Recovery) internal recoveries;
    mapping(address collective => mapping(address aggregator => bytes32)) public replay;
    mapping(address collective => bytes32) public directReplay;
    mapping(address collective => mapping(bytes32 manifest => Status)) public decided;
    mapping(address collective => mapping(bytes32 manifest => uint64)) public expires;

    constructor() {
        setUp();
        vm.prank(actor(0));
        codes.setGuardian(guardian);
    }

    function revoke(uint256 who, uint256 whose, uint248 word, uint256 mask) external {
        word %= uint248(WORDS);
        vm.prank(actor(who));
        try contributions.revoke(contributorIdOf(actor(whose)), word, mask) {
            vm.assertTrue(mayRevoke(who, whose), "revoked by another");
            revoked[actor(whose)][word] |= mask;
        } catch {
            vm.assertTrue(!mayRevoke(who, whose), "the controller or the account was refused");
        }
    }

    function revokeAll(uint256 who, uint256 whose, uint16 below) external {
        vm.prank(actor(who));
        try contributions.revokeAll(contributorIdOf(actor(whose)), below) {
            vm.assertTrue(mayRevoke(who, whose), "revoked by another");
            if (below > mark[actor(whose)]) mark[actor(whose)] = below;
        } catch {
            vm.assertTrue(!mayRevoke(who, whose), "the controller or the account was refused");
        }
    }

    function mayRevoke(uint256 who, uint256 whose) internal view returns (bool) {
        return controller(whose) == actor(who) || actor(whose) == actor(who);
    }

    function nameRecovery(uint256 who, uint256 whose, uint256 key) external {
        vm.prank(actor(who));
        try contributions.nameRecovery(contributorIdOf(actor(whose)), actor(key)) {
            vm.assertEq(controller(whose), actor(who), "named by another");
            recoveries[actor(whose)].recovery = actor(key);
            recoveries[actor(whose)].next = address(0);
        } catch {
            vm.assertTrue(controller(whose) != actor(who), "the controller was refused");
        }
    }

    function startRecovery(uint256 who, uint256 whose, uint256 key) external {
        Recovery storage known = recoveries[actor(whose)];
        bool may = known.recovery == actor(who) && known.next == address(0);
        vm.prank(actor(who));
        try contributions.startRecovery(contributorIdOf(actor(whose)), actor(key)) {
            vm.assertTrue(may, "started by another, or twice");
            known.next = actor(key);
            known.finishableAt = uint64(block.timestamp) + contributions.RECOVERY_SECONDS();
        } catch {
            vm.assertFalse(may);
        }
    }

    function finishRecovery(uint256 whose) external {
        Recovery storage known = recoveries[actor(whose)];
        bool may = known.next != address(0) && block.timestamp >= known.finishableAt;
        try contributions.finishRecovery(contributorIdOf(actor(whose))) {
            vm.assertTrue(may, "finished too early");
            (known.controller, known.next) = (known.next, address(0));
        } catch {
            vm.assertFalse(may);
        }
    }

    function commit(uint256 who, uint256 whom, bytes32 root, uint32 count) external {
        if (root == 0 || count == 0) return;
        vm.prank(actor(who));
        contributions.commitBatch(actor(whom), root, count, MANIFEST);
        bytes32 previous = replay[actor(whom)][actor(who)];
        replay[actor(whom)][actor(who)] = keccak256(abi.encode(previous, root, count, MANIFEST));
    }

    function contribute(uint256 who, uint256 whom, uint256 nonce) external {
        Contribution memory c = _contribution(nonce);
        c.collective = actor(whom);
        c.contributorId = contributorIdOf(actor(who));
        bytes memory details = abi.encode(who);
        bool rotated = recoveries[actor(who)].controller != address(0);
        vm.prank(actor(who));
        try contributions.contribute(c, details) {
            vm.assertFalse(rotated);
            bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(c))));
            directReplay[c.collective] = keccak256(abi.encode(directReplay[c.collective], leaf, keccak256(details)));
        } catch {
            vm.assertTrue(rotated, "the contributor was refused");
        }
    }

    function approve(uint256 who, uint256 which, uint64 lifetime) external {
        bytes32 manifest = digest(which);
        Terms memory terms = _terms();
        terms.expiry = uint64(block.timestamp + _bound(lifetime, 1, 10 days));
        vm.prank(actor(who));
        try codes.approve(manifest, terms, "") {
            vm.assertTrue(decided[actor(who)][manifest] == Status.None, "approved twice");
            decided[actor(who)][manifest] = Status.Approved;
            expires[actor(who)][manifest] = terms.expiry;
        } catch {}
    }

    function revokeCode(uint256 who, uint256 which) external {
        vm.prank(actor(who));
        try codes.revoke(digest(which)) {
            decided[actor(who)][digest(which)] = Status.Revoked;
        } catch {}
    }

    function guardianRevoke(uint256 whom, uint256 which) external {
        vm.prank(guardian);
        try codes.guardianRevoke(actor(whom), digest(which)) {
            vm.assertEq(actor(whom), actor(0));
            decided[actor(whom)][digest(which)] = Status.Revoked;
        } catch {}
    }

    function pass(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 1, 20 days));
    }

    function controller(uint256 whose) public view returns (address) {
        address known = recoveries[actor(whose)].controller;
        return known == address(0) ? actor(whose) : known;
    }

    function actor(uint256 i) public view returns (address) {
        return [contributor, aggregator, stranger][i % 3];
    }

    function digest(uint256 i) public pure returns (bytes32) {
        return keccak256(abi.encode("digest", i % DIGESTS));
    }

    function checkRevocations() external view {
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 id = contributorIdOf(actor(i));
            for (uint248 word = 0; word < WORDS; ++word) {
                vm.assertEq(contributions.revocations(id, word), revoked[actor(i)][word]);
            }
            vm.assertEq(contributions.watermark(id), mark[actor(i)]);
        }
    }

    function checkControllers() external view {
        for (uint256 i = 0; i < 3; ++i) {
            vm.assertEq(contributions.controllerOf(contributorIdOf(actor(i))), controller(i));
        }
    }

    function checkHeads() external view {
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = 0; j < 3; ++j) {
                vm.assertEq(contributions.head(actor(i), actor(j)), replay[actor(i)][actor(j)]);
            }
            vm.assertEq(contributions.directHead(actor(i)), directReplay[actor(i)]);
        }
    }

    function checkApprovals() external view {
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = 0; j < DIGESTS; ++j) {
                bool approved = decided[actor(i)][digest(j)] == Status.Approved;
                bool alive = block.timestamp < expires[actor(i)][digest(j)];
                vm.assertEq(codes.isActive(actor(i), digest(j)), approved && alive);
            }
        }
    }
}

contract RegistryInvariants {
    RegistryHandler internal handler;

    function setUp() public {
        handler = new RegistryHandler();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory selectors) {
        selectors = new FuzzSelector[](1);
        bytes4[] memory actions = new bytes4[](11);
        actions[0] = RegistryHandler.revoke.selector;
        actions[1] = RegistryHandler.revokeAll.selector;
        actions[2] = RegistryHandler.commit.selector;
        actions[3] = RegistryHandler.contribute.selector;
        actions[4] = RegistryHandler.approve.selector;
        actions[5] = RegistryHandler.revokeCode.selector;
        actions[6] = RegistryHandler.guardianRevoke.selector;
        actions[7] = RegistryHandler.pass.selector;
        actions[8] = RegistryHandler.nameRecovery.selector;
        actions[9] = RegistryHandler.startRecovery.selector;
        actions[10] = RegistryHandler.finishRecovery.selector;
        selectors[0] = FuzzSelector({addr: address(handler), selectors: actions});
    }

    /// @dev An id changes hands by a finished recovery alone. The shadow of the revocations only ever gains bits and height, so equality says that they are monotonic.
    function invariant_registries_are_what_their_owners_did() public view {
        handler.checkRevocations();
        handler.checkControllers();
        handler.checkHeads();
        handler.checkApprovals();
    }
}
