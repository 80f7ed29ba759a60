// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {LivenessRegistry} from "../src/LivenessRegistry.sol";
import {PayloadTree} from "../src/PayloadTree.sol";
import {Contribution} from "../src/interfaces/IContributionRegistry.sol";
import {Audit, Commitment, Counts, ILivenessRegistry, Wage} from "../src/interfaces/ILivenessRegistry.sol";
import {IRewardDistributor} from "../src/interfaces/IRewardDistributor.sol";
import {BaseTest} from "./BaseTest.sol";
import {Header, Payload} from "./Payload.sol";
import {vm} from "./Vm.sol";
import {FeeToken} from "./mocks/Tokens.sol";

/// @dev Stands where EIP-2935 has its contract: called with a number, it gives that block's hash if it is not too old.
contract History {
    mapping(uint256 number => bytes32) private _hashes;

    function keep(uint256 number, bytes32 hash) external {
        _hashes[number] = hash;
    }

    fallback(bytes calldata number) external returns (bytes memory) {
        uint256 asked = abi.decode(number, (uint256));
        require(asked < block.number && block.number - asked <= 8_191);
        return abi.encode(_hashes[asked]);
    }
}

contract LivenessRegistryTest is BaseTest {
    uint64 internal constant EPOCH = uint64(START / 1 days) + 1;
    uint256 internal constant DAY = uint256(EPOCH) * 1 days;
    uint256 internal constant PAY = 100;
    bytes32 internal constant VERDICTS = keccak256("verdicts");
    bytes32 internal constant RESULTS = keccak256("results");

    LivenessRegistry internal liveness;
    bytes internal parent;
    bytes internal header;
    bytes internal payload;

    function setUp() public override {
        super.setUp();
        liveness = new LivenessRegistry(codes, contributions, rewards);
        vm.prank(stranger);
        token.approve(address(liveness), type(uint256).max);

        // Voted the day before, so that it counts for this one.
        vm.warp(DAY - 1);
        _setWage();
        parent = Header.encode(FIRST_BLOCK + 1, DAY - 12, bytes32("grandparent"));
        header = Header.encode(FIRST_BLOCK + 2, DAY, keccak256(parent));
        vm.roll(FIRST_BLOCK + 3);
        vm.warp(DAY + 12);
        vm.setBlockhash(FIRST_BLOCK + 1, keccak256(parent));
        vm.setBlockhash(FIRST_BLOCK + 2, keccak256(header));
        // 4 leaves and a part of a fifth, so that a path has both sides and a node that moves up.
        for (uint256 i = 0; i < 145; ++i) {
            payload = bytes.concat(payload, keccak256(abi.encode(i)));
        }
    }

    // fixSeed

    function test_fixSeed_keeps_the_first_block_of_the_day() public {
        vm.expectEmit();
        emit ILivenessRegistry.SeedFixed(EPOCH, FIRST_BLOCK + 2, Header.RANDOMNESS);
        liveness.fixSeed(EPOCH, header, parent);
        vm.assertEq(liveness.randomnessOf(EPOCH), Header.RANDOMNESS);
        // Once more changes nothing, whatever is sent.
        liveness.fixSeed(EPOCH, "", "");
        vm.assertEq(liveness.randomnessOf(EPOCH), Header.RANDOMNESS);
    }

    function test_fixSeed_refuses_every_other_block() public {
        _refuseSeed(EPOCH - 1, header, parent); // of the day after
        _refuseSeed(EPOCH + 1, header, parent); // of the day before
        bytes memory another = Header.encode(FIRST_BLOCK + 1, DAY - 24, bytes32("grandparent"));
        _refuseSeed(EPOCH, header, another); // not its parent
        bytes memory constant_ = Header.encode(FIRST_BLOCK + 2, DAY, keccak256(parent), 0);
        vm.setBlockhash(FIRST_BLOCK + 2, keccak256(constant_));
        _refuseSeed(EPOCH, constant_, parent); // no randomness
        vm.setBlockhash(FIRST_BLOCK + 2, keccak256(header));

        bytes memory second = Header.encode(FIRST_BLOCK + 3, DAY + 12, keccak256(header));
        vm.roll(FIRST_BLOCK + 4);
        vm.setBlockhash(FIRST_BLOCK + 3, keccak256(second));
        _refuseSeed(EPOCH, second, header);

        bytes memory invented = Header.encode(FIRST_BLOCK + 2, DAY + 1, keccak256(parent));
        _refuseSeed(EPOCH, invented, parent);
    }

    /// @dev A block is in reach for 256 blocks by the opcode, and for 8191 by the contract of EIP-2935.
    function test_fixSeed_reaches_back_as_far_as_the_chain() public {
        vm.roll(FIRST_BLOCK + 2 + 257);
        _refuseSeed(EPOCH, header, parent);

        // That contract gives the word whose number it is called with, if it is not too old.
        vm.etch(address(0x0000F90827F1C53a10cb7A02335B175320002935), type(History).runtimeCode);
        History history = History(address(0x0000F90827F1C53a10cb7A02335B175320002935));
        history.keep(FIRST_BLOCK + 2, keccak256(header));
        vm.roll(FIRST_BLOCK + 2 + 8_192);
        _refuseSeed(EPOCH, header, parent);
        vm.roll(FIRST_BLOCK + 2 + 8_191);
        liveness.fixSeed(EPOCH, header, parent);
        vm.assertEq(liveness.randomnessOf(EPOCH), Header.RANDOMNESS);
    }

    // disputeChunk

    /// @dev The vector of SPEC "Payload tree".
    function test_payload_tree_is_that_of_the_spec() public pure {
        bytes memory bytes_ = new bytes(2_500);
        for (uint256 i = 0; i < bytes_.length; ++i) {
            bytes_[i] = bytes1(uint8(i));
        }
        bytes32 root = Payload.root(Payload.leaves(bytes_));
        vm.assertEq(root, 0xd3bd7adcd48d442aec7d0c756d3d82de104cee010f182eed47d66b5eae36d870);
    }

    function test_disputeChunk_shows_every_leaf_that_may_be_drawn() public {
        liveness.fixSeed(EPOCH, header, parent);
        bool[5] memory seen;
        for (uint256 nonce = 0; nonce < 40; ++nonce) {
            (Contribution memory c, Commitment memory m) = _stored(nonce);
            bytes32 leaf = contributions.leaf(c);
            uint64 index = liveness.drawn(collective, EPOCH, leaf, m.length);
            seen[index] = true;
            vm.assertFalse(liveness.shown(collective, EPOCH, leaf));
            vm.expectEmit();
            emit ILivenessRegistry.ChunkShown(collective, EPOCH, leaf, index);
            liveness.disputeChunk(c, m, EPOCH, _chunk(index), _path(index));
            vm.assertTrue(liveness.shown(collective, EPOCH, leaf));
        }
        for (uint256 i = 0; i < 5; ++i) {
            vm.assertTrue(seen[i], "not drawn once in 40");
        }
    }

    function test_payload_tree_holds_every_leaf_and_no_other() public {
        uint16[11] memory lengths = [0, 1, 1023, 1024, 1025, 2048, 2049, 3072, 6149, 7168, 9000];
        for (uint256 n = 0; n < lengths.length; ++n) {
            bytes memory bytes_ = new bytes(lengths[n]);
            for (uint256 i = 0; i < bytes_.length; ++i) {
                bytes_[i] = bytes1(uint8(i + i / 1024));
            }
            bytes32[] memory leaves = Payload.leaves(bytes_);
            bytes32 root = Payload.root(leaves);
            for (uint64 index = 0; index <= leaves.length; ++index) {
                for (uint64 of_ = 0; of_ < leaves.length; ++of_) {
                    bytes memory chunk = Payload.chunk(bytes_, of_);
                    bool held = this.verify(root, lengths[n], index, chunk, Payload.path(leaves, of_));
                    vm.assertEq(held, index == of_);
                }
            }
        }
        // The longest there is has a last leaf, too.
        vm.assertEq(PayloadTree.leafCount(type(uint64).max), uint256(1) << 54);
    }

    function verify(bytes32 root, uint64 length, uint64 index, bytes calldata chunk, bytes32[] calldata siblings)
        external
        pure
        returns (bool)
    {
        return PayloadTree.verify(root, length, index, chunk, siblings);
    }

    function test_disputeChunk_refuses_what_was_not_drawn_or_not_held() public {
        (Contribution memory c, Commitment memory m) = _stored(0);
        bytes memory missing = abi.encodeWithSelector(ILivenessRegistry.SeedMissing.selector, EPOCH);
        _refuseChunk(c, m, _chunk(0), _path(0), missing);

        liveness.fixSeed(EPOCH, header, parent);
        uint64 index = liveness.drawn(collective, EPOCH, contributions.leaf(c), m.length);
        bytes memory wrong = abi.encodeWithSelector(ILivenessRegistry.WrongChunk.selector, index);
        for (uint64 other = 0; other < 5; ++other) {
            if (other != index) _refuseChunk(c, m, _chunk(other), _path(other), wrong);
        }
        bytes memory bent = _chunk(index);
        bent[17] ^= 0x01;
        _refuseChunk(c, m, bent, _path(index), wrong);
        _refuseChunk(c, m, bytes.concat(_chunk(index), hex"00"), _path(index), wrong);
        _refuseChunk(c, m, _chunk(index), new bytes32[](0), wrong);
        bytes32[] memory path = _path(index);
        _refuseChunk(c, m, _chunk(index), Payload.longer(path, path[0]), wrong);

        m.length -= 1;
        bytes memory another =
            abi.encodeWithSelector(ILivenessRegistry.AnotherCommitment.selector, c.commitment, _digestOf(m));
        _refuseChunk(c, m, _chunk(index), path, another);
    }

    function test_disputeChunk_ends_with_the_window() public {
        _fund(PAY);
        uint64 settleFrom = _post(EPOCH);
        (Contribution memory c, Commitment memory m) = _stored(0);
        uint64 index = liveness.drawn(collective, EPOCH, contributions.leaf(c), m.length);
        vm.warp(settleFrom);
        bytes memory over = abi.encodeWithSelector(ILivenessRegistry.DisputeOver.selector, settleFrom);
        _refuseChunk(c, m, _chunk(index), _path(index), over);
        vm.warp(settleFrom - 1);
        liveness.disputeChunk(c, m, EPOCH, _chunk(index), _path(index));
    }

    function test_disputeChunk_of_an_unposted_epoch_ends_when_it_can_no_longer_be_posted() public {
        liveness.fixSeed(EPOCH, header, parent);
        (Contribution memory c, Commitment memory m) = _stored(0);
        uint64 index = liveness.drawn(collective, EPOCH, contributions.leaf(c), m.length);
        vm.warp(DAY + 4 days);
        bytes memory over = abi.encodeWithSelector(ILivenessRegistry.DisputeOver.selector, DAY + 4 days);
        _refuseChunk(c, m, _chunk(index), _path(index), over);
        vm.warp(DAY + 4 days - 1);
        liveness.disputeChunk(c, m, EPOCH, _chunk(index), _path(index));
    }

    // post

    function test_post_sets_pay_aside() public {
        _fund(PAY + 30);
        Counts memory counts = Counts(90, 1, 2, 3);
        liveness.fixSeed(EPOCH, header, parent);
        vm.warp(DAY + 1 days);
        vm.expectEmit();
        emit ILivenessRegistry.EpochPosted(collective, EPOCH, aggregator, VERDICTS, RESULTS, counts, PAY);
        vm.prank(aggregator);
        liveness.post(collective, EPOCH, VERDICTS, RESULTS, counts);
        Audit memory posted = liveness.audit(collective, EPOCH);
        vm.assertEq(posted.root, VERDICTS);
        vm.assertEq(posted.results, RESULTS);
        vm.assertEq(posted.pay, PAY);
        vm.assertEq(posted.auditor, aggregator);
        vm.assertEq(posted.settleFrom, DAY + 5 days);
        vm.assertEq(liveness.free(collective, address(token)), uint256(30));
        vm.assertEq(liveness.lastEpoch(collective), uint256(EPOCH));
    }

    function test_post_pays_what_there_is() public {
        _fund(PAY - 1);
        _post(EPOCH);
        vm.assertEq(liveness.audit(collective, EPOCH).pay, PAY - 1);
        vm.assertEq(liveness.free(collective, address(token)), uint256(0));
    }

    function test_post_refuses_others_and_what_is_too_early_or_too_late() public {
        vm.warp(DAY + 1 days);
        _refusePost(EPOCH, abi.encodeWithSelector(ILivenessRegistry.SeedMissing.selector, EPOCH));
        liveness.fixSeed(EPOCH, header, parent);
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.NotAuditor.selector, aggregator, stranger));
        vm.prank(stranger);
        liveness.post(collective, EPOCH, VERDICTS, RESULTS, Counts(1, 0, 0, 0));
        vm.expectRevert(ILivenessRegistry.RootMissing.selector);
        vm.prank(aggregator);
        liveness.post(collective, EPOCH, 0, RESULTS, Counts(0, 0, 0, 0));
        vm.warp(DAY + 1 days - 1);
        _refusePost(EPOCH, abi.encodeWithSelector(ILivenessRegistry.EpochOpen.selector, EPOCH, DAY + 1 days));
        vm.warp(DAY + 4 days);
        _refusePost(EPOCH, abi.encodeWithSelector(ILivenessRegistry.EpochLate.selector, EPOCH, DAY + 4 days));
        vm.warp(DAY);
        _setWage();
        vm.warp(DAY + 4 days - 1);
        _refusePost(EPOCH, abi.encodeWithSelector(ILivenessRegistry.EpochUnpaid.selector, EPOCH + 1, EPOCH));
        vm.warp(DAY - 1);
        _setWage();
        vm.warp(DAY + 4 days - 1);
        vm.prank(aggregator);
        liveness.post(collective, EPOCH, VERDICTS, RESULTS, Counts(1, 0, 0, 0));
        _refusePost(EPOCH, abi.encodeWithSelector(ILivenessRegistry.EpochPassed.selector, EPOCH, EPOCH));
    }

    // veto

    function test_veto_gives_the_pay_back() public {
        _fund(PAY);
        uint64 settleFrom = _post(EPOCH);
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.NotCollective.selector, stranger));
        vm.prank(stranger);
        liveness.veto(collective, EPOCH);
        vm.prank(collective);
        codes.setGuardian(guardian);
        // What it came to is final once it can be settled: those after it are worked out from it.
        vm.warp(settleFrom);
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.DisputeOver.selector, settleFrom));
        vm.prank(guardian);
        liveness.veto(collective, EPOCH);
        vm.warp(settleFrom - 1);
        vm.expectEmit();
        emit ILivenessRegistry.EpochVetoed(collective, EPOCH, guardian);
        vm.prank(guardian);
        liveness.veto(collective, EPOCH);
        vm.assertEq(liveness.free(collective, address(token)), PAY);
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.NothingPosted.selector, EPOCH));
        liveness.settle(collective, EPOCH);
        vm.warp(DAY + 1 days);
        _refusePost(EPOCH, abi.encodeWithSelector(ILivenessRegistry.EpochPassed.selector, EPOCH, EPOCH));
    }

    // settle

    function test_settle_funds_the_contributors_once() public {
        _fund(PAY + 5);
        uint64 settleFrom = _post(EPOCH);
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.DisputeOpen.selector, settleFrom));
        liveness.settle(collective, EPOCH);
        vm.warp(settleFrom);
        vm.expectEmit();
        emit ILivenessRegistry.EpochSettled(collective, EPOCH, address(token), PAY);
        liveness.settle(collective, EPOCH);
        vm.assertEq(rewards.pool(collective, address(token)).funded, PAY);
        vm.assertEq(token.balanceOf(address(liveness)), uint256(5));
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.NothingPosted.selector, EPOCH));
        liveness.settle(collective, EPOCH);
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.NothingPosted.selector, EPOCH));
        vm.prank(collective);
        liveness.veto(collective, EPOCH);
    }

    function test_settle_of_an_unpaid_epoch_moves_nothing() public {
        vm.warp(_post(EPOCH));
        liveness.settle(collective, EPOCH);
        vm.assertTrue(liveness.audit(collective, EPOCH).settled);
        vm.assertEq(rewards.pool(collective, address(token)).funded, uint256(0));
    }

    // fund, withdraw

    function test_withdraw_leaves_what_is_set_aside() public {
        _fund(PAY + 5);
        _post(EPOCH);
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.WageMissing.selector, 5, 6));
        vm.prank(collective);
        liveness.withdraw(address(token), 6);
        vm.prank(collective);
        liveness.withdraw(address(token), 5);
        vm.assertEq(token.balanceOf(collective), uint256(5));
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.WageMissing.selector, 0, 1));
        vm.prank(stranger);
        liveness.withdraw(address(token), 1);
    }

    function test_fund_refuses_token_that_takes_a_fee() public {
        FeeToken fee = new FeeToken(stranger);
        vm.prank(stranger);
        fee.approve(address(liveness), 100);
        vm.expectRevert(abi.encodeWithSelector(IRewardDistributor.TransferShort.selector, fee, 100, 99));
        vm.prank(stranger);
        liveness.fund(collective, address(fee), 100);
    }

    // Money

    /// @dev Whatever is done in whatever order: what was paid in is free, set aside or with the contributors, and nothing is twice.
    function testFuzz_money_is_conserved(uint256[64] calldata steps) public {
        uint256 paidIn = 0;
        for (uint256 i = 0; i < steps.length; ++i) {
            uint256 step = steps[i] % 12;
            uint256 amount = _bound(steps[i] >> 8, 1, 1_000);
            uint64 yesterday = uint64(block.timestamp / 1 days) - 1;
            uint64 earlier = yesterday - uint64(amount % 6);
            if (step == 0) {
                _fund(amount);
                paidIn += amount;
            } else if (step == 1) {
                uint256 free = liveness.free(collective, address(token));
                amount = amount < free ? amount : free;
                vm.prank(collective);
                liveness.withdraw(address(token), amount);
                paidIn -= amount;
            } else if (step == 2 && amount % 4 == 0) {
                vm.prank(collective);
                liveness.setWage(Wage({auditor: aggregator, token: address(token), pay: amount}));
            } else if (step < 6) {
                vm.warp(block.timestamp + 1 days);
            } else if (step == 6) {
                vm.prank(collective);
                try liveness.veto(collective, earlier) {} catch {}
            } else if (step < 9) {
                try liveness.settle(collective, earlier) {} catch {}
            } else {
                vm.store(address(liveness), keccak256(abi.encode(yesterday, 0)), VERDICTS);
                vm.prank(aggregator);
                try liveness.post(collective, yesterday, VERDICTS, RESULTS, Counts(1, 0, 0, 0)) {} catch {}
            }
            _assertConserved(paidIn);
        }
    }

    function _assertConserved(uint256 paidIn) private view {
        (uint256 aside, uint256 paidOut) = (0, 0);
        for (uint64 epoch = EPOCH; epoch < EPOCH + 64; ++epoch) {
            Audit memory a = liveness.audit(collective, epoch);
            if (a.settled) paidOut += a.pay;
            else aside += a.pay;
        }
        uint256 free = liveness.free(collective, address(token));
        vm.assertEq(token.balanceOf(address(liveness)), free + aside);
        vm.assertEq(rewards.pool(collective, address(token)).funded, paidOut);
        vm.assertEq(free + aside + paidOut, paidIn);
    }

    // Steps

    function _setWage() private {
        vm.prank(collective);
        liveness.setWage(Wage({auditor: aggregator, token: address(token), pay: PAY}));
    }

    function _fund(uint256 amount) private {
        vm.prank(stranger);
        liveness.fund(collective, address(token), amount);
    }

    function _post(uint64 epoch) private returns (uint64) {
        liveness.fixSeed(epoch, header, parent);
        vm.warp(DAY + 1 days);
        vm.prank(aggregator);
        liveness.post(collective, epoch, VERDICTS, RESULTS, Counts(1, 0, 0, 0));
        return liveness.audit(collective, epoch).settleFrom;
    }

    function _refusePost(uint64 epoch, bytes memory expected) private {
        vm.expectRevert(expected);
        vm.prank(aggregator);
        liveness.post(collective, epoch, VERDICTS, RESULTS, Counts(1, 0, 0, 0));
    }

    function _refuseSeed(uint64 epoch, bytes memory given, bytes memory before) private {
        vm.expectRevert(abi.encodeWithSelector(ILivenessRegistry.NotFirstBlock.selector, epoch));
        liveness.fixSeed(epoch, given, before);
    }

    /// @dev With everything worked out before: a call of the sha256 precompile would be taken for the one that reverts.
    function _refuseChunk(
        Contribution memory c,
        Commitment memory m,
        bytes memory chunk,
        bytes32[] memory path,
        bytes memory expected
    ) private {
        vm.expectRevert(expected);
        liveness.disputeChunk(c, m, EPOCH, chunk, path);
    }

    // Values

    function _stored(uint256 nonce) private view returns (Contribution memory c, Commitment memory m) {
        m = Commitment({
            header: keccak256(abi.encode("header", nonce)),
            payload: Payload.root(Payload.leaves(payload)),
            length: uint64(payload.length),
            source: "poll"
        });
        c = _contribution(nonce);
        c.commitment = _digestOf(m);
    }

    function _digestOf(Commitment memory m) private pure returns (bytes32) {
        bytes32 typeHash = keccak256("Commitment(bytes32 header,bytes32 payload,uint64 length,string source)");
        return keccak256(abi.encode(typeHash, m.header, m.payload, m.length, keccak256(bytes(m.source))));
    }

    function _chunk(uint64 index) private view returns (bytes memory) {
        return Payload.chunk(payload, index);
    }

    function _path(uint64 index) private view returns (bytes32[] memory) {
        return Payload.path(Payload.leaves(payload), index);
    }
}
