// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {Receipt, State} from "../../src/interfaces/IJobEscrow.sol";
import {BaseTest} from "../BaseTest.sol";
import {vm} from "../Vm.sol";

/// @dev A collective that is ready to lease, and what the tests of jobs share.
abstract contract JobTest is BaseTest {
    uint256 internal constant CONTRIBUTORS = PRICE * 7_000 / 10_000;
    uint256 internal constant NODE = PRICE * 2_000 / 10_000;
    uint256 internal constant TREASURY = PRICE - CONTRIBUTORS - NODE;

    function setUp() public virtual override {
        super.setUp();
        _ready();
    }

    function _leaseAs(uint256 id, address sender, bytes32 node) internal {
        uint64 deny = uint64(block.number - 1);
        bytes32 hash = blockhash(deny);
        vm.prank(sender);
        escrow.lease(id, node, deny, hash, deny, hash);
    }

    function _refuseReceipt(uint256 id, Receipt memory r, bytes memory why) internal {
        bytes memory signature = _sign(workerKey, escrow.receiptDigest(r));
        vm.expectRevert(why);
        escrow.complete(id, r, signature);
    }

    function _revokeCode() internal {
        vm.prank(collective);
        codes.revoke(MANIFEST);
    }

    function _consumeRuns(uint256 count) internal {
        vm.prank(operator);
        escrow.depositBond(worker, address(token), BOND * count);
        for (uint256 i = 0; i < count; ++i) {
            _jobIn(State.Leased);
        }
        vm.assertEq(escrow.runs(collective, MANIFEST), count);
    }

    function _assertState(uint256 id, State state) internal view {
        vm.assertEq(uint256(escrow.job(id).state), uint256(state));
    }

    function _assertLocked(uint256 amount) internal view {
        (, uint256 locked) = escrow.bond(worker, address(token));
        vm.assertEq(locked, amount);
    }
}
