// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IJobEscrow, Job, Receipt, State} from "../../src/interfaces/IJobEscrow.sol";
import {INodeRegistry, NodeKeys} from "../../src/interfaces/INodeRegistry.sol";
import {vm} from "../Vm.sol";
import {JobTest} from "./JobTest.sol";

contract ReceiptTest is JobTest {
    // recordRelease

    function test_release_folds_head() public {
        uint256 id = _jobIn(State.Leased);
        Job memory job = escrow.job(id);
        bytes32 structHash = keccak256(
            bytes.concat(
                abi.encode(
                    keccak256(
                        "Release(uint256 job,uint32 attempt,address collective,bytes32 manifest,bytes32 node,bytes32 keys,uint64 allowBlock,bytes32 allowHash,uint64 denyBlock,bytes32 denyHash,bytes32 inputRoot,uint32 inputCount,uint64 epoch)"
                    ),
                    id,
                    job.attempt,
                    collective,
                    MANIFEST,
                    worker,
                    job.keysHash
                ),
                abi.encode(
                    job.allowBlock, job.allowHash, job.denyBlock, job.denyHash, INPUT_ROOT, INPUT_COUNT, job.epoch
                )
            )
        );
        bytes32 head = keccak256(abi.encode(bytes32(0), structHash));
        bytes[] memory signatures = _quorum(escrow.releaseDigest(id, INPUT_ROOT, INPUT_COUNT), 2);
        vm.expectEmit();
        emit IJobEscrow.Released(id, 1, INPUT_ROOT, INPUT_COUNT, 1, head);
        vm.prank(stranger);
        escrow.recordRelease(id, 1, INPUT_ROOT, INPUT_COUNT, signatures);
        vm.assertEq(escrow.releaseHead(collective), head);
        _assertState(id, State.Released);
    }

    function test_release_needs_a_quorum_over_this_very_release() public {
        uint256 id = _jobIn(State.Leased);
        bytes[] memory one = _quorum(escrow.releaseDigest(id, INPUT_ROOT, INPUT_COUNT), 1);
        vm.expectRevert(abi.encodeWithSelector(INodeRegistry.QuorumMissing.selector, 1, 2));
        escrow.recordRelease(id, 1, INPUT_ROOT, INPUT_COUNT, one);
        bytes[] memory two = _quorum(escrow.releaseDigest(id, INPUT_ROOT, INPUT_COUNT), 2);
        vm.expectRevert();
        escrow.recordRelease(id, 1, INPUT_ROOT, INPUT_COUNT + 1, two);
        vm.expectRevert();
        escrow.recordRelease(id, 1, MANIFEST, INPUT_COUNT, two);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongAttempt.selector, 1, 2));
        escrow.recordRelease(id, 2, INPUT_ROOT, INPUT_COUNT, two);
        _assertState(id, State.Leased);
        escrow.recordRelease(id, 1, INPUT_ROOT, INPUT_COUNT, two);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Released));
        escrow.recordRelease(id, 1, INPUT_ROOT, INPUT_COUNT, two);
    }

    function test_release_of_the_last_attempt_is_refused() public {
        uint256 id = _jobIn(State.Leased);
        bytes[] memory old = _quorum(escrow.releaseDigest(id, INPUT_ROOT, INPUT_COUNT), 2);
        vm.warp(block.timestamp + escrow.LEASE_SECONDS() + escrow.RELEASE_GRACE_SECONDS() + 1);
        _leaseAs(id, operator, worker);
        vm.expectRevert();
        escrow.recordRelease(id, 2, INPUT_ROOT, INPUT_COUNT, old);
    }

    function test_release_until_grace_is_over() public {
        uint256 id = _jobIn(State.Leased);
        bytes[] memory signatures = _quorum(escrow.releaseDigest(id, INPUT_ROOT, INPUT_COUNT), 2);
        uint256 deadline = block.timestamp + escrow.LEASE_SECONDS() + escrow.RELEASE_GRACE_SECONDS();
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.TooLate.selector, id, deadline));
        escrow.recordRelease(id, 1, INPUT_ROOT, INPUT_COUNT, signatures);
        vm.warp(deadline);
        escrow.recordRelease(id, 1, INPUT_ROOT, INPUT_COUNT, signatures);
    }

    function test_release_belongs_to_the_committee_of_the_lease() public {
        uint256 id = _jobIn(State.Leased);
        _install(2, 3);
        // Two of the old committee still release what was leased under it.
        _release(id);
        _assertState(id, State.Released);
    }

    // complete

    function test_complete_folds_head_and_keeps_receipt() public {
        uint256 id = _jobIn(State.Released);
        Receipt memory r = _receipt(id);
        bytes32 typehash = keccak256(
            "Receipt(uint256 job,uint32 attempt,bytes32 manifest,bytes32 allowHash,bytes32 denyHash,bytes32 inputRoot,uint32 inputCount,uint8 outcome,bytes32 output,uint64 outputBytes,uint64 fuel,uint64 memoryBytes,uint64 milliseconds,bytes32 sandbox,bytes32 evidence,uint64 lag,bytes32 quorum)"
        );
        bytes32 structHash = keccak256(abi.encode(typehash, r));
        bytes32 head = keccak256(abi.encode(bytes32(0), structHash));
        bytes memory signature = _sign(workerKey, escrow.receiptDigest(r));
        vm.expectEmit();
        emit IJobEscrow.Completed(id, r, head);
        vm.prank(stranger);
        escrow.complete(id, r, signature);
        vm.assertEq(escrow.receiptHead(collective), head);
        Job memory job = escrow.job(id);
        vm.assertTrue(job.state == State.Completed);
        vm.assertEq(job.receipt, structHash);
        vm.assertEq(job.outcome, 1);
    }

    function test_complete_with_failed_program_pays_too() public {
        uint256 id = _jobIn(State.Released);
        Receipt memory r = _receipt(id);
        r.outcome = 2;
        escrow.complete(id, r, _sign(workerKey, escrow.receiptDigest(r)));
        vm.warp(block.timestamp + escrow.DISPUTE_SECONDS() + 1);
        escrow.settle(id);
        vm.assertEq(escrow.credit(address(token), operator), NODE);
    }

    function test_complete_refuses_what_differs_from_lease_and_release() public {
        uint256 id = _jobIn(State.Released);
        Receipt memory r = _receipt(id);
        r.job += 1;
        _refuseReceipt(id, r, _mismatch("job"));
        r = _receipt(id);
        r.attempt += 1;
        _refuseReceipt(id, r, _mismatch("attempt"));
        r = _receipt(id);
        r.manifest = OUTPUT_TO;
        _refuseReceipt(id, r, _mismatch("manifest"));
        r = _receipt(id);
        r.allowHash = OUTPUT_TO;
        _refuseReceipt(id, r, _mismatch("allowHash"));
        r = _receipt(id);
        r.denyHash = OUTPUT_TO;
        _refuseReceipt(id, r, _mismatch("denyHash"));
        r = _receipt(id);
        r.inputRoot = OUTPUT_TO;
        _refuseReceipt(id, r, _mismatch("inputRoot"));
        r = _receipt(id);
        r.inputCount += 1;
        _refuseReceipt(id, r, _mismatch("inputCount"));
        r = _receipt(id);
        r.outcome = 0;
        _refuseReceipt(id, r, abi.encodeWithSelector(IJobEscrow.UnknownOutcome.selector, 0));
        r.outcome = 3;
        _refuseReceipt(id, r, abi.encodeWithSelector(IJobEscrow.UnknownOutcome.selector, 3));
    }

    function test_complete_only_with_the_leased_signer() public {
        uint256 id = _jobIn(State.Released);
        Receipt memory r = _receipt(id);
        bytes32 digest = escrow.receiptDigest(r);
        bytes memory why = abi.encodeWithSelector(IJobEscrow.InvalidSignature.selector, vm.addr(workerKey));
        bytes memory foreign = _sign(_key("operator"), digest);
        vm.expectRevert(why);
        escrow.complete(id, r, foreign);
        // A rotation after the lease changes nothing for this job.
        NodeKeys memory keys = _keys(stranger, 1);
        vm.prank(operator);
        nodes.rotate(worker, keys, RECIPIENT, ENDPOINT);
        foreign = _sign(_key("stranger"), digest);
        vm.expectRevert(why);
        escrow.complete(id, r, foreign);
        escrow.complete(id, r, _sign(workerKey, digest));
    }

    function testFuzz_complete_binds_every_reported_figure(uint8 field, uint64 change) public {
        uint256 id = _jobIn(State.Released);
        Receipt memory r = _receipt(id);
        bytes memory signature = _sign(workerKey, escrow.receiptDigest(r));
        vm.assume(change != 0);
        uint256 which = field % 9;
        if (which == 0) r.outcome = 2;
        if (which == 1) r.output ^= bytes32(uint256(change));
        if (which == 2) r.outputBytes ^= change;
        if (which == 3) r.fuel ^= change;
        if (which == 4) r.memoryBytes ^= change;
        if (which == 5) r.milliseconds ^= change;
        if (which == 6) r.sandbox ^= bytes32(uint256(change));
        if (which == 7) r.evidence ^= bytes32(uint256(change));
        if (which == 8) r.lag ^= change;
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.InvalidSignature.selector, vm.addr(workerKey)));
        escrow.complete(id, r, signature);
    }

    function test_complete_in_time() public {
        uint256 id = _jobIn(State.Released);
        uint256 deadline = block.timestamp + escrow.RECEIPT_SECONDS();
        vm.warp(deadline + 1);
        _refuseReceipt(id, _receipt(id), abi.encodeWithSelector(IJobEscrow.TooLate.selector, id, deadline));
        vm.warp(deadline);
        _complete(id);
    }

    function test_complete_needs_release() public {
        uint256 id = _jobIn(State.Leased);
        _refuseReceipt(id, _receipt(id), abi.encodeWithSelector(IJobEscrow.WrongState.selector, id, State.Leased));
    }

    function _mismatch(string memory field) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IJobEscrow.ReceiptMismatch.selector, field);
    }
}
