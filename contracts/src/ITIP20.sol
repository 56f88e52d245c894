// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The part of a TIP-20 token that the escrows use
/// @notice Every TIP-20 token of a Tempo chain is a precompile at an address that starts with `0x20c0…`.
/// A transfer moves the whole amount or reverts; it never returns false.
interface ITIP20 {
    /// @notice The address has the form of a TIP-20 token but none lives there, or not even the form.
    error InvalidToken();

    /// @notice Moves `amount` base units from the caller to `to`.
    function transfer(address to, uint256 amount) external returns (bool);

    /// @notice Moves `amount` base units from `from` to `to` and consumes the caller's allowance.
    function transferFrom(address from, address to, uint256 amount) external returns (bool);

    /// @notice Base units that `account` holds.
    function balanceOf(address account) external view returns (uint256);
}
