// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Channel ids, voucher digests and signatures of session protocol v1
library StreamChannelHash {
    string internal constant NAME = "Tempo Stream Channel";
    string internal constant VERSION = "1";

    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    /// @dev Half the order of secp256k1. A larger s would be a second signature for the same voucher.
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice The id binds a channel to the escrow that runs this code, and to this chain.
    function channelId(address payer, address payee, address token, bytes32 salt, address authorizedSigner)
        internal
        view
        returns (bytes32)
    {
        return
            keccak256(abi.encode(payer, payee, token, salt, authorizedSigner, address(this), block.chainid));
    }

    /// @notice The EIP-712 domain separator of the escrow that runs this code.
    function domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256(bytes(NAME)),
                keccak256(bytes(VERSION)),
                block.chainid,
                address(this)
            )
        );
    }

    /// @notice The EIP-712 digest of a voucher.
    function voucherDigest(bytes32 id, uint128 cumulativeAmount) internal view returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(VOUCHER_TYPEHASH, id, cumulativeAmount));
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }

    /// @notice Who made `signature` over `digest`; zero when it is malformed, high-s or invalid.
    /// @dev Takes r, s, v in 65 bytes (v is 27 or 28), or the 64 bytes of EIP-2098, where the highest bit of
    /// s says which v it is.
    function recover(bytes32 digest, bytes calldata signature) internal pure returns (address) {
        bytes32 r;
        uint256 s;
        uint8 v;
        if (signature.length == 65) {
            r = bytes32(signature[:32]);
            s = uint256(bytes32(signature[32:64]));
            v = uint8(signature[64]);
        } else if (signature.length == 64) {
            r = bytes32(signature[:32]);
            uint256 yParityAndS = uint256(bytes32(signature[32:]));
            s = yParityAndS & (type(uint256).max >> 1);
            v = 27 + uint8(yParityAndS >> 255);
        } else {
            return address(0);
        }
        if (s > S_MAX) return address(0);
        // The precompile itself answers zero for any v but 27 and 28.
        return ecrecover(digest, v, r, bytes32(s));
    }
}
