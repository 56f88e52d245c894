// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";
import {vm} from "./helpers/Vm.sol";

contract ReserveViewsTest is ReserveTest {
    function test_constantsAreThoseOfTheStandard() public view {
        vm.assertEq(RESERVE.CLOSE_GRACE_PERIOD(), 15 minutes, "grace period");
        vm.assertEq(
            RESERVE.VOUCHER_TYPEHASH(),
            keccak256("Voucher(bytes32 channelId,uint96 cumulativeAmount)"),
            "voucher type"
        );
        vm.assertEq(RESERVE.storageCredits(payer), 0, "storage credits");
    }

    function test_digestIsEip712() public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("TIP20 Channel Reserve"),
                keccak256("1"),
                block.chainid,
                address(RESERVE)
            )
        );
        vm.assertEq(RESERVE.domainSeparator(), domain, "domain");
        bytes32 voucher = keccak256(abi.encode(RESERVE.VOUCHER_TYPEHASH(), bytes32(uint256(9)), uint96(1234)));
        vm.assertEq(
            RESERVE.getVoucherDigest(bytes32(uint256(9)), 1234),
            keccak256(abi.encodePacked("\x19\x01", domain, voucher)),
            "digest"
        );
    }

    function test_getChannelReturnsDescriptorAndState() public {
        (IReserve.ChannelDescriptor memory d,) = _openDefault();
        IReserve.Channel memory channel = RESERVE.getChannel(d);
        vm.assertEq(keccak256(abi.encode(channel.descriptor)), keccak256(abi.encode(d)), "descriptor");
        vm.assertEq(channel.state.deposit, DEPOSIT, "deposit");
        d.salt = 0;
        vm.assertEq(RESERVE.getChannel(d).state.deposit, 0, "an unknown channel is empty");
    }

    function test_batchKeepsTheOrder() public {
        (IReserve.ChannelDescriptor memory d, bytes32 first) = _openDefault();
        d.salt = bytes32(uint256(2));
        bytes32 second = _open(d, 77);
        bytes32[] memory ids = new bytes32[](4);
        (ids[0], ids[1], ids[2], ids[3]) = (second, bytes32(uint256(1)), first, second);
        IReserve.ChannelState[] memory states = RESERVE.getChannelStatesBatch(ids);
        vm.assertEq(states.length, 4, "length");
        vm.assertEq(states[0].deposit, 77, "second");
        vm.assertEq(states[1].deposit, 0, "unknown");
        vm.assertEq(states[2].deposit, DEPOSIT, "first");
        vm.assertEq(states[3].deposit, 77, "second again");
        vm.assertEq(RESERVE.getChannelStatesBatch(new bytes32[](0)).length, 0, "empty");
    }

    function testFuzz_idIsTheHashOfTheDescriptorReserveAndChain(IReserve.ChannelDescriptor memory d)
        public
        view
    {
        bytes32 id = RESERVE.computeChannelId(
            d.payer, d.payee, d.operator, d.token, d.salt, d.authorizedSigner, d.expiringNonceHash
        );
        bytes memory preimage = abi.encode(
            d.payer,
            d.payee,
            d.operator,
            d.token,
            d.salt,
            d.authorizedSigner,
            d.expiringNonceHash,
            0x4d50500000000000000000000000000000000000,
            block.chainid
        );
        vm.assertEq(id, keccak256(preimage), "id");
    }
}
