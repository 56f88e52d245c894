// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";
import {vm} from "./helpers/Vm.sol";

/// @title What the payer may do after the open: top up, request the close, withdraw
contract ReservePayerTest is ReserveTest {
    function test_topUpAddsToTheDeposit() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.expectEmit(address(RESERVE));
        emit IReserve.TopUp(id, payer, payee, 500, DEPOSIT + 500);
        vm.prank(payer);
        RESERVE.topUp(d, 500);
        _assertState(id, 0, DEPOSIT + 500, 0);
        vm.assertEq(_balance(address(RESERVE)), DEPOSIT + 500, "reserve holds");
        vm.assertEq(_balance(payer), MONEY - DEPOSIT - 500, "payer paid");
    }

    function test_topUpCancelsACloseRequest() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.expectEmit(address(RESERVE));
        emit IReserve.CloseRequestCancelled(id, payer, payee);
        vm.expectEmit(address(RESERVE));
        emit IReserve.TopUp(id, payer, payee, 500, DEPOSIT + 500);
        vm.prank(payer);
        RESERVE.topUp(d, 500);
        _assertState(id, 0, DEPOSIT + 500, 0);
    }

    function test_topUpOfZeroCancelsACloseRequest() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.expectEmit(address(RESERVE));
        emit IReserve.CloseRequestCancelled(id, payer, payee);
        vm.expectEmit(address(RESERVE));
        emit IReserve.TopUp(id, payer, payee, 0, DEPOSIT);
        vm.prank(payer);
        RESERVE.topUp(d, 0);
        _assertState(id, 0, DEPOSIT, 0);
    }

    function test_topUpOfZeroWithoutACloseRequestDoesNothingAtAll() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.recordLogs();
        vm.prank(payer);
        RESERVE.topUp(d, 0);
        vm.assertEq(vm.getRecordedLogs().length, 0, "no event");
        _assertState(id, 0, DEPOSIT, 0);
    }

    function test_topUpKeepsWhatIsSettled() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, DEPOSIT);
        vm.prank(payee);
        RESERVE.settle(d, DEPOSIT, signature);
        vm.prank(payer);
        RESERVE.topUp(d, 1);
        _assertState(id, DEPOSIT, DEPOSIT + 1, 0);
    }

    function test_topUpRefusesWhatDoesNotFit() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.expectRevert(IReserve.DepositOverflow.selector);
        vm.prank(payer);
        RESERVE.topUp(d, type(uint96).max - DEPOSIT + 1);
    }

    function test_topUpFillsTheDepositToItsLimit() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        _fund(payer, type(uint96).max);
        vm.prank(payer);
        RESERVE.topUp(d, type(uint96).max - DEPOSIT);
        _assertState(id, 0, type(uint96).max, 0);
    }

    function test_topUpIsForThePayer() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.expectRevert(IReserve.NotPayer.selector);
        vm.prank(payee);
        RESERVE.topUp(d, 0);
    }

    function test_requestCloseStartsTheGracePeriod() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.expectEmit(address(RESERVE));
        emit IReserve.CloseRequested(id, payer, payee, START + 900);
        vm.prank(payer);
        RESERVE.requestClose(d);
        _assertState(id, 0, DEPOSIT, START);
    }

    function test_aRepeatedRequestDoesNotRestartTheGracePeriod() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.warp(START + 899);
        vm.recordLogs();
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.assertEq(vm.getRecordedLogs().length, 0, "no event");
        _assertState(id, 0, DEPOSIT, START);
    }

    function test_requestCloseIsForThePayer() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.expectRevert(IReserve.NotPayer.selector);
        vm.prank(payee);
        RESERVE.requestClose(d);
    }

    function test_withdrawRefundsWhatIsNotSettled() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 300);
        vm.prank(payee);
        RESERVE.settle(d, 300, signature);
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.warp(START + 900);
        vm.expectEmit(address(RESERVE));
        emit IReserve.ChannelClosed(id, payer, payee, 300, DEPOSIT - 300);
        vm.prank(payer);
        RESERVE.withdraw(d);
        vm.assertEq(_slot(id), 0, "nothing remains in storage");
        vm.assertEq(_balance(payer), MONEY - 300, "payer has the rest");
        vm.assertEq(_balance(address(RESERVE)), 0, "reserve holds nothing");
    }

    function test_withdrawOfASettledChannelRefundsNothingAndEndsIt() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, DEPOSIT);
        vm.prank(payee);
        RESERVE.settle(d, DEPOSIT, signature);
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.warp(START + 900);
        vm.prank(payer);
        RESERVE.withdraw(d);
        vm.assertEq(_slot(id), 0, "nothing remains in storage");
    }

    function test_withdrawWaitsForTheLastSecond() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.expectRevert(IReserve.CloseNotReady.selector);
        vm.prank(payer);
        RESERVE.withdraw(d);
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.warp(START + 899);
        vm.expectRevert(IReserve.CloseNotReady.selector);
        vm.prank(payer);
        RESERVE.withdraw(d);
        vm.warp(START + 900);
        vm.prank(payer);
        RESERVE.withdraw(d);
    }

    function test_withdrawIsForThePayer() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.warp(START + 900);
        vm.expectRevert(IReserve.NotPayer.selector);
        vm.prank(payee);
        RESERVE.withdraw(d);
    }
}
