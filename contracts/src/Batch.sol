// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Several calls in one transaction, for chains whose transactions hold one call
/// @notice A payee that claims through this contract must be the contract: the escrows look at who calls. So a payee
/// deploys one for itself, names its address as the payee (or the operator) of its channels, and collects what it earned
/// with `sweep`. On Tempo transactions hold up to 32 calls, and nobody needs this.
/// @dev All or nothing: a call that fails takes the others back, as a Tempo transaction does.
contract Batch {
    /// @notice One call.
    /// @param target The escrow, or whatever is called.
    /// @param data The call.
    struct Call {
        address target;
        bytes data;
    }

    /// @notice The account that may use this contract, for ever.
    address public immutable owner;

    /// @notice Somebody else called.
    error NotOwner();
    /// @notice A call failed, and with it all of them.
    /// @param index Which one, from zero.
    /// @param reason What it reverted with.
    error CallFailed(uint256 index, bytes reason);
    /// @notice A target without code: a call would do nothing, and look like success.
    /// @param index Which one, from zero.
    error NoCode(uint256 index);

    constructor(address owner_) {
        owner = owner_;
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    /// @notice Does all calls in order.
    /// @param calls What to call.
    function execute(Call[] calldata calls) external onlyOwner {
        for (uint256 i = 0; i < calls.length; i++) {
            if (calls[i].target.code.length == 0) revert NoCode(i);
            (bool done, bytes memory reason) = calls[i].target.call(calls[i].data);
            if (!done) revert CallFailed(i, reason);
        }
    }

    /// @notice Sends tokens that were earned to the owner's choice.
    /// @param token The token.
    /// @param to Who gets them.
    /// @param amount How many base units.
    function sweep(address token, address to, uint256 amount) external onlyOwner {
        if (token.code.length == 0) revert NoCode(0);
        (bool done, bytes memory answer) =
            token.call(abi.encodeWithSignature("transfer(address,uint256)", to, amount));
        // Tokens that answer nothing revert when they fail; those that answer must answer true.
        if (!done || (answer.length != 0 && !abi.decode(answer, (bool)))) revert CallFailed(0, answer);
    }
}
