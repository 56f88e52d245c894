// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The form of TIP-20 token addresses
library TokenAddress {
    bytes12 private constant PREFIX = 0x20c000000000000000000000;

    /// @notice Whether a TIP-20 token may live at `account`; says nothing about whether one does.
    function hasPrefix(address account) internal pure returns (bool) {
        return bytes12(bytes20(account)) == PREFIX;
    }

    /// @notice Whether a TIP-20 token lives at `account`.
    function isToken(address account) internal view returns (bool) {
        return hasPrefix(account) && account.code.length != 0;
    }
}
