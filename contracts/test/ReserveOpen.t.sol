// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20} from "../src/ITIP20.sol";
import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";
import {vm} from "./helpers/Vm.sol";

contract ReserveOpenTest is ReserveTest {
    function test_openMovesTheDepositAndPublishesTheDescriptor() public {
        IReserve.ChannelDescriptor memory d = _descriptor();
        d.operator = operator;
        d.authorizedSigner = delegate;
        bytes32 expected = keccak256(
            abi.encode(
                payer, payee, operator, TOKEN, SALT, delegate, OPEN_HASH, address(RESERVE), block.chainid
            )
        );

        _setOpenContext(payer, SALT, OPEN_HASH);
        vm.expectEmit(address(RESERVE));
        emit IReserve.ChannelOpened(
            expected, payer, payee, operator, address(TOKEN), delegate, SALT, OPEN_HASH, DEPOSIT
        );
        vm.prank(payer);
        bytes32 id = RESERVE.open(payee, operator, address(TOKEN), DEPOSIT, SALT, delegate);

        vm.assertEq(id, expected, "channel id");
        _assertState(id, 0, DEPOSIT, 0);
        vm.assertEq(_balance(payer), MONEY - DEPOSIT, "payer paid");
        vm.assertEq(_balance(address(RESERVE)), DEPOSIT, "reserve holds");
    }

    function test_stateFillsOneSlotInTheLayoutOfTheStandard() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 7);
        vm.prank(payee);
        RESERVE.settle(d, 7, signature);
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.assertEq(_slot(id), 7 | (uint256(DEPOSIT) << 96) | (START << 192), "packed slot");
    }

    function test_openRefusesAPayeeThatCannotBePaid() public {
        _setOpenContext(payer, SALT, OPEN_HASH);
        vm.expectRevert(IReserve.InvalidPayee.selector);
        vm.prank(payer);
        RESERVE.open(address(0), address(0), address(TOKEN), DEPOSIT, SALT, address(0));
        vm.expectRevert(IReserve.InvalidPayee.selector);
        vm.prank(payer);
        RESERVE.open(address(TOKEN), address(0), address(TOKEN), DEPOSIT, SALT, address(0));
    }

    function test_openRefusesWhatIsNotAToken() public {
        _setOpenContext(payer, SALT, OPEN_HASH);
        address[3] memory tokens =
            [address(0), address(this), address(0x20C0000000000000000000000000000000ABcDef)];
        for (uint256 i = 0; i < tokens.length; i++) {
            vm.expectRevert(ITIP20.InvalidToken.selector);
            vm.prank(payer);
            RESERVE.open(payee, address(0), tokens[i], DEPOSIT, SALT, address(0));
        }
    }

    function test_openRefusesAZeroDeposit() public {
        _setOpenContext(payer, SALT, OPEN_HASH);
        vm.expectRevert(IReserve.ZeroDeposit.selector);
        vm.prank(payer);
        RESERVE.open(payee, address(0), address(TOKEN), 0, SALT, address(0));
    }

    function test_openRefusesAnUnknownTransaction() public {
        // Another payer's context, or another salt's, is no context.
        _setOpenContext(stranger, SALT, OPEN_HASH);
        _setOpenContext(payer, bytes32(uint256(SALT) + 1), OPEN_HASH);
        vm.expectRevert(IReserve.ExpiringNonceHashNotSet.selector);
        vm.prank(payer);
        RESERVE.open(payee, address(0), address(TOKEN), DEPOSIT, SALT, address(0));
    }

    function test_openRefusesAnOpenChannel() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.expectRevert(IReserve.ChannelAlreadyExists.selector);
        vm.prank(payer);
        RESERVE.open(d.payee, d.operator, d.token, DEPOSIT, d.salt, d.authorizedSigner);
    }

    /// A test runs as one transaction, so this is open, end, open again in one transaction.
    function test_openRefusesAChannelThatEndedInTheSameTransaction() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.prank(payee);
        RESERVE.close(d, 0, 0, "");
        _assertState(id, 0, 0, 0);
        vm.expectRevert(IReserve.ChannelAlreadyExists.selector);
        vm.prank(payer);
        RESERVE.open(d.payee, d.operator, d.token, DEPOSIT, d.salt, d.authorizedSigner);
    }

    function test_openRefusesAChannelThatWasWithdrawnInTheSameTransaction() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        vm.prank(payer);
        RESERVE.requestClose(d);
        vm.warp(START + 900);
        vm.prank(payer);
        RESERVE.withdraw(d);
        vm.expectRevert(IReserve.ChannelAlreadyExists.selector);
        vm.prank(payer);
        RESERVE.open(d.payee, d.operator, d.token, DEPOSIT, d.salt, d.authorizedSigner);
    }

    function test_aFailedOpenLeavesNoMark() public {
        IReserve.ChannelDescriptor memory d = _descriptor();
        _fund(payer, DEPOSIT - 1);
        _setOpenContext(payer, SALT, OPEN_HASH);
        vm.prank(payer);
        (bool opened,) = address(RESERVE)
            .call(
                abi.encodeCall(IReserve.open, (payee, address(0), address(TOKEN), DEPOSIT, SALT, address(0)))
            );
        vm.assertTrue(!opened, "the payer cannot afford it");
        _fund(payer, DEPOSIT);
        _open(d, DEPOSIT);
    }

    function test_anotherTransactionOpensAnotherChannelWithTheSameTerms() public {
        (IReserve.ChannelDescriptor memory d, bytes32 first) = _openDefault();
        d.expiringNonceHash = keccak256("another transaction");
        bytes32 second = _open(d, DEPOSIT);
        vm.assertTrue(first != second, "ids differ");
        _assertState(first, 0, DEPOSIT, 0);
        _assertState(second, 0, DEPOSIT, 0);
    }

    function test_oneTransactionOpensSeveralChannels() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        d.payee = address(0xBEEF09);
        vm.prank(payer);
        bytes32 id = RESERVE.open(d.payee, d.operator, d.token, 5, d.salt, d.authorizedSigner);
        _assertState(id, 0, 5, 0);
        _assertState(_id(_descriptor()), 0, DEPOSIT, 0);
    }

    function testFuzz_everyFieldOfTheDescriptorChangesTheId(uint8 field, bytes32 value) public view {
        IReserve.ChannelDescriptor memory d = _descriptor();
        address account = address(uint160(uint256(value)));
        vm.assume(account != payer && account != payee && account != address(0) && account != d.token);
        vm.assume(value != d.salt && value != d.expiringNonceHash);
        bytes32 before = _id(d);
        field = field % 7;
        if (field == 0) d.payer = account;
        if (field == 1) d.payee = account;
        if (field == 2) d.operator = account;
        if (field == 3) d.token = account;
        if (field == 4) d.salt = value;
        if (field == 5) d.authorizedSigner = account;
        if (field == 6) d.expiringNonceHash = value;
        vm.assertTrue(_id(d) != before, "id must change");
    }

    function test_aTokenThatAnswersFalseIsNoToken() public {
        _setOpenContext(payer, SALT, OPEN_HASH);
        vm.mockCall(address(TOKEN), abi.encodeWithSelector(ITIP20.transferFrom.selector), abi.encode(false));
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 1));
        vm.prank(payer);
        RESERVE.open(payee, address(0), address(TOKEN), DEPOSIT, SALT, address(0));
    }

    function _id(IReserve.ChannelDescriptor memory d) internal view returns (bytes32) {
        return RESERVE.computeChannelId(
            d.payer, d.payee, d.operator, d.token, d.salt, d.authorizedSigner, d.expiringNonceHash
        );
    }
}
