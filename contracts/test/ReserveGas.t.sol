// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";

/// @title What the calls of one channel's life cost: these figures are kept in `contracts/gas.snapshot`
/// @dev Compared with each other, they say whether a change made a call dearer. The precompile of the real chain has
/// prices of its own.
contract ReserveGasTest is ReserveTest {
    IReserve.ChannelDescriptor private channel;
    bytes32 private id;
    bytes private voucher;

    function setUp() public override {
        super.setUp();
        payer = address(this);
        _fund(payer, MONEY);
        TOKEN.approve(address(RESERVE), type(uint256).max);
        // This contract pays and is paid, and a key signs: no cheat code stands between the measured calls.
        payee = address(this);
        channel = _descriptor();
        channel.authorizedSigner = delegate;
        id = _openMeasured(channel);
        voucher = _voucher(DELEGATE_KEY, id, 4_000);
    }

    function _openMeasured(IReserve.ChannelDescriptor memory d) private returns (bytes32) {
        _setOpenContext(d.payer, d.salt, d.expiringNonceHash);
        return RESERVE.open(d.payee, d.operator, d.token, DEPOSIT, d.salt, d.authorizedSigner);
    }

    function test_gasOpen() public {
        channel.salt = bytes32(uint256(2));
        _openMeasured(channel);
    }

    function test_gasSettle() public {
        RESERVE.settle(channel, 4_000, voucher);
    }

    function test_gasTopUp() public {
        RESERVE.topUp(channel, 500);
    }

    function test_gasRequestClose() public {
        RESERVE.requestClose(channel);
    }

    function test_gasClose() public {
        RESERVE.close(channel, 4_000, 3_000, voucher);
    }

    function test_gasCloseOfNothing() public {
        RESERVE.close(channel, 0, 0, "");
    }
}
