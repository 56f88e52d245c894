// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20} from "../src/ITIP20.sol";
import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";
import {vm} from "./helpers/Vm.sol";

contract ReserveSettleTest is ReserveTest {
    uint256 private constant P256_KEY = 0x9256;
    uint256 private constant P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;

    function test_settlePaysOnlyWhatIsNew() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        _settle(d, id, 400);
        bytes memory signature = _voucher(PAYER_KEY, id, 1_000);
        vm.expectEmit(address(RESERVE));
        emit IReserve.Settled(id, payer, payee, 1_000, 600, 1_000);
        vm.prank(payee);
        RESERVE.settle(d, 1_000, signature);

        _assertState(id, 1_000, DEPOSIT, 0);
        vm.assertEq(_balance(payee), 1_000, "payee has");
        vm.assertEq(_balance(address(RESERVE)), DEPOSIT - 1_000, "reserve holds");
    }

    function test_settleTakesTheWholeDeposit() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        _settle(d, id, DEPOSIT);
        _assertState(id, DEPOSIT, DEPOSIT, 0);
    }

    function test_settleWorksDuringACloseRequestAndKeepsIt() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        vm.prank(payer);
        RESERVE.requestClose(d);
        _settle(d, id, 1);
        _assertState(id, 1, DEPOSIT, START);
    }

    function test_settleRefusesWhatDoesNotIncrease() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        _settle(d, id, 400);
        _refuseSettle(payee, d, 400, _voucher(PAYER_KEY, id, 400), IReserve.AmountNotIncreasing.selector);
        _refuseSettle(payee, d, 399, _voucher(PAYER_KEY, id, 399), IReserve.AmountNotIncreasing.selector);
        _refuseSettle(payee, d, 0, _voucher(PAYER_KEY, id, 0), IReserve.AmountNotIncreasing.selector);
    }

    function test_settleRefusesMoreThanTheDeposit() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, DEPOSIT + 1);
        _refuseSettle(payee, d, DEPOSIT + 1, signature, IReserve.AmountExceedsDeposit.selector);
    }

    function test_settleIsForThePayeeAndTheOperator() public {
        IReserve.ChannelDescriptor memory d = _descriptor();
        d.operator = operator;
        bytes32 id = _open(d, DEPOSIT);
        bytes memory signature = _voucher(PAYER_KEY, id, 5);
        _refuseSettle(payer, d, 5, signature, IReserve.NotPayeeOrOperator.selector);
        _refuseSettle(stranger, d, 5, signature, IReserve.NotPayeeOrOperator.selector);
        _refuseSettle(address(0), d, 5, signature, IReserve.NotPayeeOrOperator.selector);
        vm.prank(operator);
        RESERVE.settle(d, 5, signature);
        vm.assertEq(_balance(payee), 5, "the payee is paid, whoever settles");
        vm.assertEq(_balance(operator), 0, "the operator is not");
    }

    function test_aZeroOperatorAuthorizesNobody() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 5);
        _refuseSettle(address(0), d, 5, signature, IReserve.NotPayeeOrOperator.selector);
    }

    function test_settleRefusesAnUnknownDescriptor() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        d.operator = payee;
        _refuseSettle(payee, d, 5, _voucher(PAYER_KEY, id, 5), IReserve.ChannelNotFound.selector);
    }

    function test_theDelegateSignsInsteadOfThePayer() public {
        IReserve.ChannelDescriptor memory d = _descriptor();
        d.authorizedSigner = delegate;
        bytes32 id = _open(d, DEPOSIT);
        _refuseSettle(payee, d, 5, _voucher(PAYER_KEY, id, 5), IReserve.InvalidSignature.selector);
        bytes memory signature = _voucher(DELEGATE_KEY, id, 5);
        vm.prank(payee);
        RESERVE.settle(d, 5, signature);
        _assertState(id, 5, DEPOSIT, 0);
    }

    function test_settleRefusesForeignVouchers() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes4 refusal = IReserve.InvalidSignature.selector;
        _refuseSettle(payee, d, 5, _voucher(STRANGER_KEY, id, 5), refusal);
        _refuseSettle(payee, d, 5, _voucher(PAYER_KEY, id, 6), refusal);
        _refuseSettle(payee, d, 5, _voucher(PAYER_KEY, bytes32(uint256(id) ^ 1), 5), refusal);
    }

    function test_settleRefusesMalformedSignatures() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes32 digest = RESERVE.getVoucherDigest(id, 5);
        bytes memory good = _sign(PAYER_KEY, digest);
        bytes4 refusal = IReserve.InvalidSignature.selector;
        _refuseSettle(payee, d, 5, "", refusal);
        _refuseSettle(payee, d, 5, _signCompact(PAYER_KEY, digest), refusal);
        _refuseSettle(payee, d, 5, _signHighS(PAYER_KEY, digest), refusal);
        _refuseSettle(payee, d, 5, abi.encodePacked(good, bytes1(0)), refusal);
        // Keychain wrappers of both versions around a good signature.
        _refuseSettle(payee, d, 5, abi.encodePacked(bytes1(0x03), payer, good), refusal);
        _refuseSettle(payee, d, 5, abi.encodePacked(bytes1(0x04), payer, good), refusal);
    }

    function test_settleTakesARawRecoveryId() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 5);
        signature[64] = bytes1(uint8(signature[64]) - 27);
        vm.prank(payee);
        RESERVE.settle(d, 5, signature);
        _assertState(id, 5, DEPOSIT, 0);
    }

    function test_settleTakesAP256Signature() public {
        (uint256 x, uint256 y) = vm.publicKeyP256(P256_KEY);
        IReserve.ChannelDescriptor memory d = _descriptor();
        // The address of a P-256 key: the last 20 bytes of the hash of its coordinates.
        d.authorizedSigner = address(uint160(uint256(keccak256(abi.encodePacked(x, y)))));
        bytes32 id = _open(d, DEPOSIT);
        (bytes32 r, bytes32 s) = vm.signP256(P256_KEY, RESERVE.getVoucherDigest(id, 5));
        uint256 low = uint256(s) > P256_ORDER / 2 ? P256_ORDER - uint256(s) : uint256(s);

        bytes memory highS = abi.encodePacked(bytes1(0x01), r, P256_ORDER - low, x, y, bytes1(0));
        _refuseSettle(payee, d, 5, highS, IReserve.InvalidSignature.selector);
        bytes memory signature = abi.encodePacked(bytes1(0x01), r, low, x, y, bytes1(0));
        vm.prank(payee);
        RESERVE.settle(d, 5, signature);
        _assertState(id, 5, DEPOSIT, 0);
    }

    function test_aTokenThatAnswersFalseIsNoToken() public {
        (IReserve.ChannelDescriptor memory d, bytes32 id) = _openDefault();
        bytes memory signature = _voucher(PAYER_KEY, id, 5);
        vm.mockCall(address(TOKEN), abi.encodeWithSelector(ITIP20.transfer.selector), abi.encode(false));
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 1));
        vm.prank(payee);
        RESERVE.settle(d, 5, signature);
    }

    function testFuzz_anyRisingAmountWithinTheDepositSettles(uint96 deposit, uint96 first, uint96 second)
        public
    {
        deposit = uint96(2 + uint256(deposit) % (MONEY - 2));
        first = uint96(1 + uint256(first) % (deposit - 1));
        second = uint96(uint256(first) + 1 + uint256(second) % (deposit - first));
        IReserve.ChannelDescriptor memory d = _descriptor();
        bytes32 id = _open(d, deposit);
        _settle(d, id, first);
        _settle(d, id, second);
        _assertState(id, second, deposit, 0);
        vm.assertEq(_balance(payee), second, "payee has exactly the voucher's amount");
    }

    function _settle(IReserve.ChannelDescriptor memory d, bytes32 id, uint96 amount) internal {
        bytes memory signature = _voucher(PAYER_KEY, id, amount);
        vm.prank(payee);
        RESERVE.settle(d, amount, signature);
    }

    function _refuseSettle(
        address caller,
        IReserve.ChannelDescriptor memory d,
        uint96 amount,
        bytes memory signature,
        bytes4 refusal
    ) internal {
        vm.expectRevert(refusal);
        vm.prank(caller);
        RESERVE.settle(d, amount, signature);
    }
}
