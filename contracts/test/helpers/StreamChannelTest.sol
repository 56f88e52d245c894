// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITempoStreamChannel as IEscrow} from "../../src/ITempoStreamChannel.sol";
import {TempoStreamChannel} from "../../src/TempoStreamChannel.sol";
import {TokenTest} from "./TokenTest.sol";
import {vm} from "./Vm.sol";

/// @title Base of the v1 escrow's tests
abstract contract StreamChannelTest is TokenTest {
    bytes32 internal constant SALT = bytes32(uint256(0x5A17));
    uint128 internal constant DEPOSIT = 10_000;

    IEscrow internal escrow;

    function setUp() public virtual {
        escrow = new TempoStreamChannel();
        vm.warp(START);
        _fund(payer, MONEY);
        vm.prank(payer);
        TOKEN.approve(address(escrow), type(uint256).max);
    }

    function _open(address authorizedSigner) internal returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(TOKEN), DEPOSIT, SALT, authorizedSigner);
    }

    function _openDefault() internal returns (bytes32) {
        return _open(address(0));
    }

    function _voucher(uint256 key, bytes32 id, uint128 amount) internal view returns (bytes memory) {
        return _sign(key, escrow.getVoucherDigest(id, amount));
    }

    function _settle(bytes32 id, uint128 amount) internal {
        bytes memory signature = _voucher(PAYER_KEY, id, amount);
        vm.prank(payee);
        escrow.settle(id, amount, signature);
    }

    function _assertMoney(uint128 settled, uint128 deposit, bytes32 id) internal view {
        IEscrow.Channel memory channel = escrow.getChannel(id);
        vm.assertEq(channel.settled, settled, "settled");
        vm.assertEq(channel.deposit, deposit, "deposit");
    }

    /// @dev What remains of an ended channel: nothing but the mark.
    function _assertTombstone(bytes32 id) internal view {
        bytes memory expected =
            abi.encode(IEscrow.Channel(true, 0, address(0), address(0), address(0), address(0), 0, 0));
        vm.assertEq(abi.encode(escrow.getChannel(id)), expected, "tombstone");
    }
}
