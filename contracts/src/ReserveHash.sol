// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve} from "./ITIP20ChannelReserve.sol";

/// @title Channel ids and voucher digests of session protocol v2
library ReserveHash {
    /// @dev Both hashes name the canonical address, never `address(this)`: they mean the same wherever
    /// the code runs.
    address internal constant RESERVE = 0x4d50500000000000000000000000000000000000;

    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channelId,uint96 cumulativeAmount)");

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("TIP20 Channel Reserve");
    bytes32 private constant VERSION_HASH = keccak256("1");

    /// @notice A descriptor is seven static words, so its encoding is the beginning of the id's preimage.
    function channelId(ITIP20ChannelReserve.ChannelDescriptor memory descriptor)
        internal
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(descriptor, RESERVE, block.chainid));
    }

    /// @notice The EIP-712 domain separator on this chain.
    function domainSeparator() internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, RESERVE));
    }

    /// @notice The EIP-712 digest of a voucher.
    function voucherDigest(bytes32 id, uint96 cumulativeAmount) internal view returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(VOUCHER_TYPEHASH, id, cumulativeAmount));
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }
}
