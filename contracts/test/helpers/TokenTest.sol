// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20} from "../../src/ITIP20.sol";
import {vm} from "./Vm.sol";

interface IToken is ITIP20 {
    function approve(address spender, uint256 amount) external returns (bool);
}

/// @title What every test needs: people with keys, and money in a real TIP-20 token
abstract contract TokenTest {
    /// pathUSD, a precompile of the chain under test.
    IToken internal constant TOKEN = IToken(0x20C0000000000000000000000000000000000000);
    uint256 private constant TOKEN_BALANCES_SLOT = 9;

    uint256 internal constant PAYER_KEY = 0xA11CE;
    uint256 internal constant DELEGATE_KEY = 0xDE1E6A7E;
    uint256 internal constant STRANGER_KEY = 0x57A46E4;
    uint256 internal constant SECP256K1_ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    uint96 internal constant MONEY = 1_000_000_000;
    uint256 internal constant START = 1_700_000_000;

    address internal payer = vm.addr(PAYER_KEY);
    address internal delegate = vm.addr(DELEGATE_KEY);
    address internal stranger = vm.addr(STRANGER_KEY);
    address internal payee = address(0xBEEF01);
    address internal operator = address(0xBEEF02);

    function _fund(address account, uint256 amount) internal {
        vm.store(address(TOKEN), keccak256(abi.encode(account, TOKEN_BALANCES_SLOT)), bytes32(amount));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The same signature in the 64 bytes of EIP-2098.
    function _signCompact(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    /// @dev The other signature that ECDSA would accept for the same message.
    function _signHighS(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, SECP256K1_ORDER - uint256(s), v == 27 ? uint8(28) : uint8(27));
    }

    function _balance(address account) internal view returns (uint256) {
        return TOKEN.balanceOf(account);
    }
}
