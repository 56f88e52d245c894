// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Batch} from "../src/Batch.sol";
import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";
import {vm} from "./helpers/Vm.sol";

contract BatchTest is ReserveTest {
    address private constant OWNER = address(0x0113);
    Batch private batch;

    function setUp() public override {
        super.setUp();
        batch = new Batch(OWNER);
        payee = address(batch);
    }

    function _channel(uint256 salt) private returns (IReserve.ChannelDescriptor memory d, bytes32 id) {
        d = _descriptor();
        d.payee = address(batch);
        d.salt = bytes32(salt);
        id = _open(d, DEPOSIT);
    }

    function _settle(IReserve.ChannelDescriptor memory d, bytes32 id, uint96 amount)
        private
        view
        returns (Batch.Call memory)
    {
        bytes memory signature = _voucher(PAYER_KEY, id, amount);
        return Batch.Call(address(RESERVE), abi.encodeCall(IReserve.settle, (d, amount, signature)));
    }

    function test_manyClaimsGoInOneCall() public {
        Batch.Call[] memory calls = new Batch.Call[](32);
        bytes32[] memory ids = new bytes32[](32);
        for (uint256 i = 0; i < 32; i++) {
            IReserve.ChannelDescriptor memory d;
            (d, ids[i]) = _channel(i + 1);
            calls[i] = _settle(d, ids[i], uint96(100 + i));
        }
        vm.prank(OWNER);
        batch.execute(calls);
        uint256 earned = 0;
        for (uint256 i = 0; i < 32; i++) {
            _assertState(ids[i], uint96(100 + i), DEPOSIT, 0);
            earned += 100 + i;
        }
        vm.assertEq(_balance(address(batch)), earned, "the batch earned it");
        vm.prank(OWNER);
        batch.sweep(address(TOKEN), stranger, earned);
        vm.assertEq(_balance(stranger), earned, "swept");
    }

    function test_oneFailureTakesAllBackAndIsNamed() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _channel(1);
        Batch.Call[] memory calls = new Batch.Call[](2);
        calls[0] = _settle(d, id, 100);
        calls[1] = _settle(d, id, 100);
        vm.expectRevert(
            abi.encodeWithSelector(
                Batch.CallFailed.selector,
                uint256(1),
                abi.encodeWithSelector(IReserve.AmountNotIncreasing.selector)
            )
        );
        vm.prank(OWNER);
        batch.execute(calls);
        _assertState(id, 0, DEPOSIT, 0);
    }

    function test_onlyTheOwnerMayUseIt() public {
        Batch.Call[] memory calls = new Batch.Call[](0);
        vm.expectRevert(Batch.NotOwner.selector);
        vm.prank(stranger);
        batch.execute(calls);
        vm.expectRevert(Batch.NotOwner.selector);
        vm.prank(stranger);
        batch.sweep(address(TOKEN), stranger, 1);
    }

    function test_aTargetWithoutCodeIsNoSuccess() public {
        Batch.Call[] memory calls = new Batch.Call[](1);
        calls[0] = Batch.Call(address(0x7777), "");
        vm.expectRevert(abi.encodeWithSelector(Batch.NoCode.selector, uint256(0)));
        vm.prank(OWNER);
        batch.execute(calls);
    }

    function test_asOperatorItClosesForWhatWasSpent() public {
        IReserve.ChannelDescriptor memory d = _descriptor();
        d.payee = stranger;
        d.operator = address(batch);
        bytes32 id = _open(d, DEPOSIT);
        Batch.Call[] memory calls = new Batch.Call[](1);
        calls[0] = Batch.Call(
            address(RESERVE), abi.encodeCall(IReserve.close, (d, 900, 400, _voucher(PAYER_KEY, id, 900)))
        );
        vm.prank(OWNER);
        batch.execute(calls);
        vm.assertEq(_balance(stranger), 400, "captured");
        _assertState(id, 0, 0, 0);
    }
}
