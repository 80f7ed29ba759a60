// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {Pool} from "../../src/interfaces/IRewardDistributor.sol";
import {FuzzSelector, vm} from "../Vm.sol";
import {EscrowHandler} from "./EscrowHandler.sol";

contract EscrowInvariants {
    EscrowHandler internal handler;

    function setUp() public {
        handler = new EscrowHandler();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory selectors) {
        selectors = new FuzzSelector[](1);
        bytes4[] memory actions = new bytes4[](17);
        actions[0] = EscrowHandler.deposit.selector;
        actions[1] = EscrowHandler.withdrawBond.selector;
        actions[2] = EscrowHandler.request.selector;
        actions[3] = EscrowHandler.lease.selector;
        actions[4] = EscrowHandler.release.selector;
        actions[5] = EscrowHandler.complete.selector;
        actions[6] = EscrowHandler.dispute.selector;
        actions[7] = EscrowHandler.resolve.selector;
        actions[8] = EscrowHandler.settle.selector;
        actions[9] = EscrowHandler.abandon.selector;
        actions[10] = EscrowHandler.refund.selector;
        actions[11] = EscrowHandler.withdraw.selector;
        actions[12] = EscrowHandler.revokeCode.selector;
        actions[13] = EscrowHandler.proposeRoot.selector;
        actions[14] = EscrowHandler.claim.selector;
        actions[15] = EscrowHandler.pass.selector;
        actions[16] = EscrowHandler.veto.selector;
        selectors[0] = FuzzSelector({addr: address(handler), selectors: actions});
    }

    /// @dev The handler is of use only if it comes everywhere: a long fixed walk must do each action and meet each refusal.
    function test_walk_reaches_every_action() public {
        bytes4[] memory actions = targetSelectors()[0].selectors;
        for (uint256 i = 0; i < 1_500; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("walk", i)));
            (bool ok,) = address(handler).call(abi.encodeWithSelector(actions[(seed >> 128) % actions.length], seed));
            vm.assertTrue(ok, "an action reverted");
        }
        string[21] memory names = [
            "deposit",
            "withdrawBond",
            "request",
            "lease",
            "lease refused",
            "release",
            "complete",
            "dispute",
            "resolve",
            "settle",
            "settle refused",
            "abandon",
            "refund",
            "refund refused",
            "withdraw",
            "revokeCode",
            "proposeRoot",
            "veto",
            "claim",
            "claim refused",
            "pass"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            vm.assertTrue(handler.done(names[i]) != 0, names[i]);
        }
        invariant_books_are_right();
    }

    /// @dev All of them in one campaign, so that the time goes into walks.
    function invariant_books_are_right() public view {
        _escrow_holds_open_prices_bonds_and_credits();
        _locked_bond_is_that_of_live_leases();
        _runs_are_first_leases_and_within_the_approval();
        _heads_equal_replay();
        _claimed_within_total_within_funded();
    }

    /// @dev To the last unit: nothing is stuck and nothing is spent twice.
    function _escrow_holds_open_prices_bonds_and_credits() internal view {
        (uint256 ofEscrow,) = handler.balances();
        (uint256 prices,) = handler.open();
        (uint256 total,) = handler.bond();
        vm.assertEq(ofEscrow, prices + total + handler.credits());
    }

    function _locked_bond_is_that_of_live_leases() internal view {
        (uint256 total, uint256 locked) = handler.bond();
        (, uint256 expected) = handler.open();
        vm.assertEq(locked, expected);
        vm.assertLe(locked, total);
    }

    function _runs_are_first_leases_and_within_the_approval() internal view {
        for (uint256 i = 0; i < 4; ++i) {
            (uint256 consumed, uint256 most) = handler.runs(i);
            vm.assertEq(consumed, handler.firstLeases(handler.manifest(i)));
            vm.assertLe(consumed, most);
        }
    }

    function _heads_equal_replay() internal view {
        (bytes32 released, bytes32 received) = handler.heads();
        vm.assertEq(released, handler.releaseReplay());
        vm.assertEq(received, handler.receiptReplay());
    }

    function _claimed_within_total_within_funded() internal view {
        (Pool memory own, Pool memory foreign) = handler.pools();
        vm.assertLe(own.claimed, own.total);
        vm.assertLe(own.total, own.funded);
        (uint256 recorded, uint256 received) = handler.paid();
        vm.assertEq(recorded, received);
        vm.assertEq(own.claimed, received);
        (, uint256 ofRewards) = handler.balances();
        vm.assertEq(ofRewards, own.funded - own.claimed + foreign.funded);
        vm.assertEq(foreign.claimed, uint256(0));
    }
}
