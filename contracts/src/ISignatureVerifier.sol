// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The signature verification precompile of TIP-1020
/// @notice Takes the encodings of Tempo transactions: secp256k1 (65 bytes, no prefix), P-256 (prefix 0x01)
/// and WebAuthn (prefix 0x02). Everything else, keychain wrappers (0x03, 0x04) included, reverts.
interface ISignatureVerifier {
    /// @notice Whether `signer` made `signature` over `hash`.
    /// @dev Reverts on a malformed or invalid signature; returns false when another key made a valid one.
    function verify(address signer, bytes32 hash, bytes calldata signature) external view returns (bool);
}
