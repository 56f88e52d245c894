// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";
import {vm} from "./helpers/Vm.sol";

contract ReserveCloseTest is ReserveTest {
    function test_closePaysTheCaptureAndRefundsTheRest() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory first = _voucher(PAYER_KEY, id, 100);
        vm.prank(payee);
        RESERVE.settle(d, 100, first);

        bytes memory last = _voucher(PAYER_KEY, id, 900);
        vm.expectEmit(address(RESERVE));
        emit IReserve.ChannelClosed(id, payer, payee, 700, DEPOSIT - 700);
        vm.prank(payee);
        RESERVE.close(d, 900, 700, last);

        vm.assertEq(_slot(id), 0, "nothing remains in storage");
        vm.assertEq(_balance(payee), 700, "payee has the capture");
        vm.assertEq(_balance(payer), MONEY - 700, "payer has the rest");
        vm.assertEq(_balance(address(RESERVE)), 0, "reserve holds nothing");
    }

    function test_closeWithoutNewCaptureNeedsNoSignature() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 100);
        vm.prank(payee);
        RESERVE.settle(d, 100, signature);
        vm.prank(payee);
        RESERVE.close(d, 100, 100, "not a signature");
        vm.assertEq(_balance(payee), 100, "payee keeps what was settled");
        vm.assertEq(_balance(payer), MONEY - 100, "payer has the rest");
    }

    function test_anIdleChannelIsRefundedWithoutAVoucher() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.prank(payee);
        RESERVE.close(d, 0, 0, "");
        vm.assertEq(_balance(payer), MONEY, "payer has everything");
    }

    function test_closeTakesAVoucherAboveTheDeposit() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, DEPOSIT + 5_000);
        vm.prank(payee);
        RESERVE.close(d, DEPOSIT + 5_000, DEPOSIT, signature);
        vm.assertEq(_balance(payee), DEPOSIT, "payee has the whole deposit, not more");
    }

    function test_closeRefusesACaptureAboveTheDeposit() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, DEPOSIT + 1);
        _refuseClose(payee, d, DEPOSIT + 1, DEPOSIT + 1, signature, IReserve.AmountExceedsDeposit.selector);
    }

    function test_closeRefusesACaptureOutsideSettledAndVoucher() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 100);
        vm.prank(payee);
        RESERVE.settle(d, 100, signature);
        bytes4 refusal = IReserve.CaptureAmountInvalid.selector;
        _refuseClose(payee, d, 100, 99, signature, refusal);
        _refuseClose(payee, d, 100, 101, signature, refusal);
        // A voucher below what is settled covers no capture at all.
        _refuseClose(payee, d, 99, 100, signature, refusal);
    }

    function test_closeRefusesForeignVouchers() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes4 refusal = IReserve.InvalidSignature.selector;
        _refuseClose(payee, d, 5, 5, _voucher(STRANGER_KEY, id, 5), refusal);
        _refuseClose(payee, d, 6, 5, _voucher(PAYER_KEY, id, 5), refusal);
        _refuseClose(payee, d, 5, 5, "", refusal);
    }

    function test_closeIsForThePayeeAndTheOperator() public {
        IReserve.ChannelDescriptor memory d = _descriptor();
        d.operator = operator;
        bytes32 id = _open(d, DEPOSIT);
        bytes4 refusal = IReserve.NotPayeeOrOperator.selector;
        _refuseClose(payer, d, 0, 0, "", refusal);
        _refuseClose(stranger, d, 0, 0, "", refusal);
        _refuseClose(address(0), d, 0, 0, "", refusal);
        bytes memory signature = _voucher(PAYER_KEY, id, 50);
        vm.prank(operator);
        RESERVE.close(d, 50, 50, signature);
        vm.assertEq(_balance(payee), 50, "the payee is paid, whoever closes");
    }

    function test_aZeroOperatorAuthorizesNobodyToClose() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        _refuseClose(address(0), d, 0, 0, "", IReserve.NotPayeeOrOperator.selector);
    }

    /// Why a server must refuse an operator that it did not name: a payer could bring one of his own.
    function test_thePayersOwnOperatorTakesEverythingBack() public {
        IReserve.ChannelDescriptor memory d = _descriptor();
        d.operator = stranger;
        _open(d, DEPOSIT);
        vm.prank(stranger);
        RESERVE.close(d, 0, 0, "");
        vm.assertEq(_balance(payer), MONEY, "payer has everything");
        vm.assertEq(_balance(payee), 0, "payee has nothing");
    }

    function test_closeWorksDuringACloseRequest() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.warp(START + 900);
        bytes memory signature = _voucher(PAYER_KEY, id, 10);
        vm.prank(payee);
        RESERVE.close(d, 10, 10, signature);
        vm.assertEq(_balance(payee), 10, "payee has the capture");
    }

    function test_anEndedChannelIsUnknown() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.prank(payee);
        RESERVE.close(d, 0, 0, "");
        bytes memory signature = _voucher(PAYER_KEY, id, 5);
        bytes4 refusal = IReserve.ChannelNotFound.selector;
        _refuseClose(payee, d, 5, 5, signature, refusal);
        vm.expectRevert(refusal);
        vm.prank(payee);
        RESERVE.settle(d, 5, signature);
        vm.expectRevert(refusal);
        vm.prank(payer);
        RESERVE.topUp(d, 5);
        vm.expectRevert(refusal);
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.expectRevert(refusal);
        vm.prank(payer);
        RESERVE.withdraw(d);
    }

    function testFuzz_closeConservesMoney(uint96 deposit, uint96 settled, uint96 capture, uint96 voucher)
        public
    {
        deposit = uint96(1 + uint256(deposit) % (MONEY - 1));
        settled = uint96(uint256(settled) % (uint256(deposit) + 1));
        capture = uint96(settled + uint256(capture) % (uint256(deposit) - settled + 1));
        voucher = uint96(capture + uint256(voucher) % (uint256(type(uint96).max) - capture + 1));
        IReserve.ChannelDescriptor memory d = _descriptor();
        bytes32 id = _open(d, deposit);
        if (settled != 0) {
            bytes memory first = _voucher(PAYER_KEY, id, settled);
            vm.prank(payee);
            RESERVE.settle(d, settled, first);
        }
        bytes memory last = _voucher(PAYER_KEY, id, voucher);
        vm.prank(payee);
        RESERVE.close(d, voucher, capture, last);
        vm.assertEq(_balance(payee), capture, "payee has the capture");
        vm.assertEq(_balance(payer), MONEY - capture, "payer has the rest");
        vm.assertEq(_balance(address(RESERVE)), 0, "reserve holds nothing");
    }

    function _refuseClose(
        address caller,
        IReserve.ChannelDescriptor memory d,
        uint96 voucher,
        uint96 capture,
        bytes memory signature,
        bytes4 refusal
    ) internal {
        vm.expectRevert(refusal);
        vm.prank(caller);
        RESERVE.close(d, voucher, capture, signature);
    }
}
