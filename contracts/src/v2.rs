//! The channel reserve of session protocol v2 (TIP-1034): [`ITIP20ChannelReserve`] and its canonical address.
//!
//! Meaning, units and refusals of every item are in `ITIP20ChannelReserve.sol` beside this file.

use alloy_primitives::{Address, address};
use alloy_sol_types::sol;

/// Where the reserve lives on every Tempo chain.
pub const RESERVE: Address = address!("0x4d50500000000000000000000000000000000000");

sol! {
    /// The channel reserve of TIP-1034.
    #[derive(Debug, PartialEq, Eq)]
    #[allow(missing_docs, clippy::too_many_arguments)]
    interface ITIP20ChannelReserve {
        /// What a channel is; never changes, and hashes to the channel id.
        #[derive(Hash)]
        struct ChannelDescriptor {
            address payer;
            address payee;
            address operator;
            address token;
            bytes32 salt;
            address authorizedSigner;
            bytes32 expiringNonceHash;
        }

        /// What a channel holds; all zero when there is no such channel.
        #[derive(Default)]
        struct ChannelState {
            uint96 settled;
            uint96 deposit;
            uint32 closeRequestedAt;
        }

        /// Identity and state together.
        struct Channel {
            ChannelDescriptor descriptor;
            ChannelState state;
        }

        error ChannelAlreadyExists();
        error ChannelNotFound();
        error NotPayer();
        error NotPayeeOrOperator();
        error InvalidPayee();
        error ZeroDeposit();
        error ExpiringNonceHashNotSet();
        error InvalidSignature();
        error AmountExceedsDeposit();
        error AmountNotIncreasing();
        error CaptureAmountInvalid();
        error CloseNotReady();
        error DepositOverflow();

        event ChannelOpened(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            address operator,
            address token,
            address authorizedSigner,
            bytes32 salt,
            bytes32 expiringNonceHash,
            uint96 deposit
        );
        event Settled(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint96 cumulativeAmount,
            uint96 deltaPaid,
            uint96 newSettled
        );
        event TopUp(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint96 additionalDeposit,
            uint96 newDeposit
        );
        event CloseRequested(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint256 closeGraceEnd
        );
        event ChannelClosed(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint96 settledToPayee,
            uint96 refundedToPayer
        );
        event CloseRequestCancelled(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee
        );

        function CLOSE_GRACE_PERIOD() external view returns (uint64);
        function VOUCHER_TYPEHASH() external view returns (bytes32);
        function open(
            address payee,
            address operator,
            address token,
            uint96 deposit,
            bytes32 salt,
            address authorizedSigner
        ) external returns (bytes32 channelId);
        function settle(ChannelDescriptor calldata descriptor, uint96 cumulativeAmount, bytes calldata signature)
            external;
        function topUp(ChannelDescriptor calldata descriptor, uint96 additionalDeposit) external;
        function close(
            ChannelDescriptor calldata descriptor,
            uint96 cumulativeAmount,
            uint96 captureAmount,
            bytes calldata signature
        ) external;
        function requestClose(ChannelDescriptor calldata descriptor) external;
        function withdraw(ChannelDescriptor calldata descriptor) external;
        function getChannel(ChannelDescriptor calldata descriptor) external view returns (Channel memory);
        function getChannelState(bytes32 channelId) external view returns (ChannelState memory);
        function getChannelStatesBatch(bytes32[] calldata channelIds)
            external
            view
            returns (ChannelState[] memory);
        function computeChannelId(
            address payer,
            address payee,
            address operator,
            address token,
            bytes32 salt,
            address authorizedSigner,
            bytes32 expiringNonceHash
        ) external view returns (bytes32);
        function getVoucherDigest(bytes32 channelId, uint96 cumulativeAmount) external view returns (bytes32);
        function domainSeparator() external view returns (bytes32);
        function storageCredits(address payer) external view returns (uint64 credits);
    }
}
