// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITempoStreamChannel as IEscrow} from "../src/ITempoStreamChannel.sol";
import {ITIP20} from "../src/ITIP20.sol";
import {StreamChannelTest} from "./helpers/StreamChannelTest.sol";
import {Vm, vm} from "./helpers/Vm.sol";

/// @title What the payer of a v1 channel may do, and what everybody may read
contract StreamChannelPayerTest is StreamChannelTest {
    function test_openMovesTheDeposit() public {
        bytes32 expected =
            keccak256(abi.encode(payer, payee, TOKEN, SALT, delegate, address(escrow), block.chainid));
        vm.expectEmit(address(escrow));
        emit IEscrow.ChannelOpened(expected, payer, payee, address(TOKEN), delegate, SALT, DEPOSIT);
        bytes32 id = _open(delegate);
        vm.assertEq(id, expected, "channel id");
        vm.assertEq(
            id, escrow.computeChannelId(payer, payee, address(TOKEN), SALT, delegate), "computed channel id"
        );
        vm.assertEq(_balance(payer), MONEY - DEPOSIT, "payer paid");
        vm.assertEq(_balance(address(escrow)), DEPOSIT, "escrow holds");
        bytes memory channel =
            abi.encode(IEscrow.Channel(false, 0, payer, payee, address(TOKEN), delegate, DEPOSIT, 0));
        vm.assertEq(abi.encode(escrow.getChannel(id)), channel, "channel");
    }

    function test_openRefusesBadTerms() public {
        vm.expectRevert(IEscrow.InvalidPayee.selector);
        vm.prank(payer);
        escrow.open(address(0), address(TOKEN), DEPOSIT, SALT, address(0));
        vm.expectRevert(IEscrow.ZeroDeposit.selector);
        vm.prank(payer);
        escrow.open(payee, address(TOKEN), 0, SALT, address(0));
        address[3] memory tokens =
            [address(0), address(this), address(0x20C0000000000000000000000000000000ABcDef)];
        for (uint256 i = 0; i < tokens.length; i++) {
            vm.expectRevert(ITIP20.InvalidToken.selector);
            vm.prank(payer);
            escrow.open(payee, tokens[i], DEPOSIT, SALT, address(0));
        }
    }

    function test_openRefusesAnOpenChannel() public {
        _openDefault();
        vm.expectRevert(IEscrow.ChannelAlreadyExists.selector);
        vm.prank(payer);
        escrow.open(payee, address(TOKEN), 1, SALT, address(0));
    }

    function test_openNeedsAnApproval() public {
        vm.prank(payer);
        TOKEN.approve(address(escrow), DEPOSIT - 1);
        vm.prank(payer);
        (bool opened,) = address(escrow)
            .call(abi.encodeCall(IEscrow.open, (payee, address(TOKEN), DEPOSIT, SALT, address(0))));
        vm.assertTrue(!opened, "the escrow may not take the deposit");
    }

    function test_anEndedChannelNeverReturns() public {
        bytes32 id = _openDefault();
        vm.prank(payee);
        escrow.close(id, 0, "");
        _assertTombstone(id);
        bytes4 refusal = IEscrow.ChannelFinalized.selector;
        bytes memory signature = _voucher(PAYER_KEY, id, 5);

        vm.expectRevert(IEscrow.ChannelAlreadyExists.selector);
        vm.prank(payer);
        escrow.open(payee, address(TOKEN), DEPOSIT, SALT, address(0));
        vm.expectRevert(refusal);
        vm.prank(payee);
        escrow.settle(id, 5, signature);
        vm.expectRevert(refusal);
        vm.prank(payee);
        escrow.close(id, 5, signature);
        vm.expectRevert(refusal);
        vm.prank(payer);
        escrow.topUp(id, 5);
        vm.expectRevert(refusal);
        vm.prank(payer);
        escrow.requestClose(id);
        vm.expectRevert(refusal);
        vm.prank(payer);
        escrow.withdraw(id);
    }

    function test_topUpAddsAndCancelsACloseRequest() public {
        bytes32 id = _openDefault();
        vm.prank(payer);
        escrow.requestClose(id);
        vm.expectEmit(address(escrow));
        emit IEscrow.CloseRequestCancelled(id, payer, payee);
        vm.expectEmit(address(escrow));
        emit IEscrow.TopUp(id, payer, payee, 500, DEPOSIT + 500);
        vm.prank(payer);
        escrow.topUp(id, 500);
        _assertMoney(0, DEPOSIT + 500, id);
        vm.assertEq(escrow.getChannel(id).closeRequestedAt, 0, "no close request");
        vm.assertEq(_balance(address(escrow)), DEPOSIT + 500, "escrow holds");
    }

    function test_topUpWithoutACloseRequestCancelsNone() public {
        bytes32 id = _openDefault();
        vm.recordLogs();
        vm.prank(payer);
        escrow.topUp(id, 1);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            vm.assertTrue(logs[i].topics[0] != IEscrow.CloseRequestCancelled.selector, "no cancellation");
        }
    }

    function test_topUpRefusesBadAmountsAndCallers() public {
        bytes32 id = _openDefault();
        vm.expectRevert(IEscrow.ZeroDeposit.selector);
        vm.prank(payer);
        escrow.topUp(id, 0);
        vm.expectRevert(IEscrow.DepositOverflow.selector);
        vm.prank(payer);
        escrow.topUp(id, uint256(type(uint128).max) - DEPOSIT + 1);
        vm.expectRevert(IEscrow.DepositOverflow.selector);
        vm.prank(payer);
        escrow.topUp(id, type(uint256).max);
        vm.expectRevert(IEscrow.NotPayer.selector);
        vm.prank(payee);
        escrow.topUp(id, 1);
        vm.expectRevert(IEscrow.ChannelNotFound.selector);
        vm.prank(payer);
        escrow.topUp(bytes32(uint256(1)), 1);
    }

    function test_requestCloseStartsTheGracePeriodOnce() public {
        bytes32 id = _openDefault();
        vm.expectEmit(address(escrow));
        emit IEscrow.CloseRequested(id, payer, payee, START + 900);
        vm.prank(payer);
        escrow.requestClose(id);
        vm.warp(START + 500);
        vm.recordLogs();
        vm.prank(payer);
        escrow.requestClose(id);
        vm.assertEq(vm.getRecordedLogs().length, 0, "no event");
        vm.assertEq(escrow.getChannel(id).closeRequestedAt, START, "the first request counts");
    }

    function test_requestCloseRefusesOthers() public {
        bytes32 id = _openDefault();
        vm.expectRevert(IEscrow.NotPayer.selector);
        vm.prank(payee);
        escrow.requestClose(id);
        vm.expectRevert(IEscrow.ChannelNotFound.selector);
        vm.prank(payer);
        escrow.requestClose(bytes32(uint256(1)));
    }

    function test_withdrawRefundsWhatIsNotSettled() public {
        bytes32 id = _openDefault();
        _settle(id, 300);
        vm.prank(payer);
        escrow.requestClose(id);
        vm.warp(START + 900);
        vm.expectEmit(address(escrow));
        emit IEscrow.ChannelExpired(id, payer, payee);
        vm.expectEmit(address(escrow));
        emit IEscrow.ChannelClosed(id, payer, payee, 300, DEPOSIT - 300);
        vm.prank(payer);
        escrow.withdraw(id);
        _assertTombstone(id);
        vm.assertEq(_balance(payer), MONEY - 300, "payer has the rest");
        vm.assertEq(_balance(address(escrow)), 0, "escrow holds nothing");
    }

    function test_withdrawWaitsForTheLastSecond() public {
        bytes32 id = _openDefault();
        vm.expectRevert(IEscrow.CloseNotReady.selector);
        vm.prank(payer);
        escrow.withdraw(id);
        vm.prank(payer);
        escrow.requestClose(id);
        vm.warp(START + 899);
        vm.expectRevert(IEscrow.CloseNotReady.selector);
        vm.prank(payer);
        escrow.withdraw(id);
        vm.warp(START + 900);
        vm.expectRevert(IEscrow.NotPayer.selector);
        vm.prank(payee);
        escrow.withdraw(id);
        vm.expectRevert(IEscrow.ChannelNotFound.selector);
        vm.prank(payer);
        escrow.withdraw(bytes32(uint256(1)));
        vm.prank(payer);
        escrow.withdraw(id);
        _assertTombstone(id);
    }

    function test_aTokenThatRefusesStopsOpenAndTopUp() public {
        bytes32 id = _openDefault();
        vm.mockCall(address(TOKEN), abi.encodeWithSelector(ITIP20.transferFrom.selector), abi.encode(false));
        vm.expectRevert(IEscrow.TransferFailed.selector);
        vm.prank(payer);
        escrow.topUp(id, 1);
        vm.expectRevert(IEscrow.TransferFailed.selector);
        vm.prank(payer);
        escrow.open(payee, address(TOKEN), 1, 0, address(0));
    }

    function test_viewsAgree() public {
        bytes32 id = _openDefault();
        bytes32[] memory ids = new bytes32[](2);
        ids[1] = id;
        IEscrow.Channel[] memory batch = escrow.getChannelsBatch(ids);
        vm.assertEq(batch.length, 2, "length");
        vm.assertEq(batch[0].deposit, 0, "unknown");
        vm.assertEq(abi.encode(batch[1]), abi.encode(escrow.getChannel(id)), "batch");
        (bool ok, bytes memory fields) = address(escrow).call(abi.encodeCall(IEscrow.channels, (id)));
        vm.assertTrue(ok, "channels answers");
        vm.assertEq(fields, abi.encode(escrow.getChannel(id)), "fields in the same order");
    }

    function test_digestIsEip712() public view {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address verifier,,) =
            escrow.eip712Domain();
        vm.assertEq(bytes32(fields), bytes32(bytes1(0x0f)), "fields");
        vm.assertEq(name, "Tempo Stream Channel", "name");
        vm.assertEq(version, "1", "version");
        vm.assertEq(chainId, block.chainid, "chain");
        vm.assertEq(verifier, address(escrow), "verifying contract");
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                verifier
            )
        );
        vm.assertEq(escrow.domainSeparator(), domain, "domain");
        bytes32 voucherType = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
        vm.assertEq(escrow.VOUCHER_TYPEHASH(), voucherType, "voucher type");
        vm.assertEq(escrow.CLOSE_GRACE_PERIOD(), 15 minutes, "grace period");
        bytes32 voucher = keccak256(abi.encode(voucherType, bytes32(uint256(9)), uint128(1234)));
        vm.assertEq(
            escrow.getVoucherDigest(bytes32(uint256(9)), 1234),
            keccak256(abi.encodePacked("\x19\x01", domain, voucher)),
            "digest"
        );
    }
}
