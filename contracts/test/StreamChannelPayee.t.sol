// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITempoStreamChannel as IEscrow} from "../src/ITempoStreamChannel.sol";
import {ITIP20} from "../src/ITIP20.sol";
import {StreamChannelTest} from "./helpers/StreamChannelTest.sol";
import {vm} from "./helpers/Vm.sol";

/// @title What the payee of a v1 channel may do: settle and close
contract StreamChannelPayeeTest is StreamChannelTest {
    function test_settlePaysOnlyWhatIsNew() public {
        bytes32 id = _openDefault();
        _settle(id, 400);
        bytes memory signature = _voucher(PAYER_KEY, id, 1_000);
        vm.expectEmit(address(escrow));
        emit IEscrow.Settled(id, payer, payee, 1_000, 600, 1_000);
        vm.prank(payee);
        escrow.settle(id, 1_000, signature);
        _assertMoney(1_000, DEPOSIT, id);
        vm.assertEq(_balance(payee), 1_000, "payee has");
        vm.assertEq(_balance(address(escrow)), DEPOSIT - 1_000, "escrow holds");
    }

    function test_settleTakesTheWholeDeposit() public {
        bytes32 id = _openDefault();
        _settle(id, DEPOSIT);
        _assertMoney(DEPOSIT, DEPOSIT, id);
    }

    function test_settleRefusesWhatDoesNotIncrease() public {
        bytes32 id = _openDefault();
        _settle(id, 400);
        _refuseSettle(payee, id, 400, _voucher(PAYER_KEY, id, 400), IEscrow.AmountNotIncreasing.selector);
        _refuseSettle(payee, id, 399, _voucher(PAYER_KEY, id, 399), IEscrow.AmountNotIncreasing.selector);
    }

    function test_settleRefusesMoreThanTheDeposit() public {
        bytes32 id = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, DEPOSIT + 1);
        _refuseSettle(payee, id, DEPOSIT + 1, signature, IEscrow.AmountExceedsDeposit.selector);
    }

    function test_settleIsForThePayee() public {
        bytes32 id = _openDefault();
        _refuseSettle(payer, id, 5, _voucher(PAYER_KEY, id, 5), IEscrow.NotPayee.selector);
    }

    function test_settleRefusesAnUnknownChannel() public {
        bytes32 id = bytes32(uint256(1));
        _refuseSettle(payee, id, 5, _voucher(PAYER_KEY, id, 5), IEscrow.ChannelNotFound.selector);
    }

    function test_settleTakesACompactSignature() public {
        // Enough vouchers that both values of v occur.
        bytes32 id = _openDefault();
        for (uint128 amount = 1; amount <= 16; amount++) {
            bytes memory signature = _signCompact(PAYER_KEY, escrow.getVoucherDigest(id, amount));
            vm.prank(payee);
            escrow.settle(id, amount, signature);
        }
        _assertMoney(16, DEPOSIT, id);
    }

    function test_theDelegateSignsInsteadOfThePayer() public {
        bytes32 id = _open(delegate);
        _refuseSettle(payee, id, 5, _voucher(PAYER_KEY, id, 5), IEscrow.InvalidSignature.selector);
        bytes memory signature = _voucher(DELEGATE_KEY, id, 5);
        vm.prank(payee);
        escrow.settle(id, 5, signature);
        _assertMoney(5, DEPOSIT, id);
    }

    function test_settleRefusesForeignVouchers() public {
        bytes32 id = _openDefault();
        bytes4 refusal = IEscrow.InvalidSignature.selector;
        _refuseSettle(payee, id, 5, _voucher(STRANGER_KEY, id, 5), refusal);
        _refuseSettle(payee, id, 5, _voucher(PAYER_KEY, id, 6), refusal);
        _refuseSettle(payee, id, 5, _voucher(PAYER_KEY, bytes32(uint256(id) ^ 1), 5), refusal);
    }

    function test_settleRefusesMalformedSignatures() public {
        bytes32 id = _openDefault();
        bytes32 digest = escrow.getVoucherDigest(id, 5);
        bytes memory good = _sign(PAYER_KEY, digest);
        bytes4 refusal = IEscrow.InvalidSignature.selector;
        _refuseSettle(payee, id, 5, "", refusal);
        _refuseSettle(payee, id, 5, new bytes(65), refusal);
        _refuseSettle(payee, id, 5, abi.encodePacked(good, bytes1(0)), refusal);
        _refuseSettle(payee, id, 5, _signHighS(PAYER_KEY, digest), refusal);
        good[64] = bytes1(uint8(good[64]) - 27);
        _refuseSettle(payee, id, 5, good, refusal);
    }

    function test_closePaysTheVoucherAndRefundsTheRest() public {
        bytes32 id = _openDefault();
        _settle(id, 100);
        bytes memory signature = _voucher(PAYER_KEY, id, 700);
        vm.expectEmit(address(escrow));
        emit IEscrow.ChannelClosed(id, payer, payee, 700, DEPOSIT - 700);
        vm.prank(payee);
        escrow.close(id, 700, signature);
        _assertTombstone(id);
        vm.assertEq(_balance(payee), 700, "payee has the voucher");
        vm.assertEq(_balance(payer), MONEY - 700, "payer has the rest");
        vm.assertEq(_balance(address(escrow)), 0, "escrow holds nothing");
    }

    function test_closeWithoutNewAmountNeedsNoSignatureAndPaysNothing() public {
        bytes32 id = _openDefault();
        _settle(id, 100);
        vm.expectEmit(address(escrow));
        emit IEscrow.ChannelClosed(id, payer, payee, 100, DEPOSIT - 100);
        vm.prank(payee);
        escrow.close(id, 0, "");
        _assertTombstone(id);
        vm.assertEq(_balance(payee), 100, "payee keeps what was settled");
    }

    function test_closeRefusesMoreThanTheDeposit() public {
        bytes32 id = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, DEPOSIT + 1);
        vm.expectRevert(IEscrow.AmountExceedsDeposit.selector);
        vm.prank(payee);
        escrow.close(id, DEPOSIT + 1, signature);
    }

    function test_closeRefusesForeignVouchersAndCallers() public {
        bytes32 id = _openDefault();
        bytes memory foreign = _voucher(STRANGER_KEY, id, 5);
        vm.expectRevert(IEscrow.InvalidSignature.selector);
        vm.prank(payee);
        escrow.close(id, 5, foreign);
        vm.expectRevert(IEscrow.NotPayee.selector);
        vm.prank(payer);
        escrow.close(id, 0, "");
        vm.expectRevert(IEscrow.ChannelNotFound.selector);
        vm.prank(payee);
        escrow.close(bytes32(uint256(1)), 0, "");
    }

    function test_aTokenThatRefusesStopsSettleAndClose() public {
        bytes32 id = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 5);
        vm.mockCall(address(TOKEN), abi.encodeWithSelector(ITIP20.transfer.selector), abi.encode(false));
        _refuseSettle(payee, id, 5, signature, IEscrow.TransferFailed.selector);
        vm.expectRevert(IEscrow.TransferFailed.selector);
        vm.prank(payee);
        escrow.close(id, 5, signature);
    }

    function testFuzz_closeConservesMoney(uint128 settled, uint128 amount) public {
        settled = settled % (DEPOSIT + 1);
        amount = amount % (DEPOSIT + 1);
        uint128 captured = amount > settled ? amount : settled;
        bytes32 id = _openDefault();
        if (settled != 0) _settle(id, settled);
        bytes memory signature = _voucher(PAYER_KEY, id, amount);
        vm.prank(payee);
        escrow.close(id, amount, signature);
        vm.assertEq(_balance(payee), captured, "payee has the larger of both");
        vm.assertEq(_balance(payer), MONEY - captured, "payer has the rest");
        vm.assertEq(_balance(address(escrow)), 0, "escrow holds nothing");
    }

    function _refuseSettle(address caller, bytes32 id, uint128 amount, bytes memory signature, bytes4 refusal)
        internal
    {
        vm.expectRevert(refusal);
        vm.prank(caller);
        escrow.settle(id, amount, signature);
    }
}
