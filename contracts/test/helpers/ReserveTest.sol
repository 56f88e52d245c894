// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve as IReserve} from "../../src/ITIP20ChannelReserve.sol";
import {TIP20ChannelReserve} from "../../src/TIP20ChannelReserve.sol";
import {TokenTest} from "./TokenTest.sol";
import {vm} from "./Vm.sol";

/// @title Base of the reserve's tests
/// @notice The reserve runs at its canonical address, in the way that the devnet places it there.
abstract contract ReserveTest is TokenTest {
    IReserve internal constant RESERVE = IReserve(0x4d50500000000000000000000000000000000000);
    /// The slot of the mapping that the devnet proxy writes.
    uint256 internal constant OPEN_CONTEXTS_SLOT = 1;
    uint256 internal constant CHANNELS_SLOT = 0;

    bytes32 internal constant SALT = bytes32(uint256(0x5A17));
    bytes32 internal constant OPEN_HASH = keccak256("the opening transaction");
    uint96 internal constant DEPOSIT = 10_000;

    function setUp() public virtual {
        vm.etch(address(RESERVE), type(TIP20ChannelReserve).runtimeCode);
        vm.warp(START);
        _fund(payer, MONEY);
        vm.prank(payer);
        TOKEN.approve(address(RESERVE), type(uint256).max);
    }

    /// @dev What the devnet proxy does before it forwards an open.
    function _setOpenContext(address sender, bytes32 salt, bytes32 expiringNonceHash) internal {
        bytes32 key = keccak256(abi.encode(sender, salt));
        vm.store(address(RESERVE), keccak256(abi.encode(key, OPEN_CONTEXTS_SLOT)), expiringNonceHash);
    }

    function _descriptor() internal view returns (IReserve.ChannelDescriptor memory) {
        return
            IReserve.ChannelDescriptor(payer, payee, address(0), address(TOKEN), SALT, address(0), OPEN_HASH);
    }

    function _open(IReserve.ChannelDescriptor memory d, uint96 deposit) internal returns (bytes32) {
        _setOpenContext(d.payer, d.salt, d.expiringNonceHash);
        vm.prank(d.payer);
        return RESERVE.open(d.payee, d.operator, d.token, deposit, d.salt, d.authorizedSigner);
    }

    function _openDefault() internal returns (IReserve.ChannelDescriptor memory d, bytes32 id) {
        d = _descriptor();
        id = _open(d, DEPOSIT);
    }

    function _voucher(uint256 key, bytes32 id, uint96 amount) internal view returns (bytes memory) {
        return _sign(key, RESERVE.getVoucherDigest(id, amount));
    }

    function _assertState(bytes32 id, uint96 settled, uint96 deposit, uint256 closeRequestedAt)
        internal
        view
    {
        IReserve.ChannelState memory state = RESERVE.getChannelState(id);
        vm.assertEq(state.settled, settled, "settled");
        vm.assertEq(state.deposit, deposit, "deposit");
        vm.assertEq(state.closeRequestedAt, closeRequestedAt, "closeRequestedAt");
    }

    function _slot(bytes32 id) internal view returns (uint256) {
        return uint256(vm.load(address(RESERVE), keccak256(abi.encode(id, CHANNELS_SLOT))));
    }
}
