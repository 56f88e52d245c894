//! The escrow contract of session protocol v1: [`ITempoStreamChannel`], as deployed escrows and real clients
//! speak it.
//!
//! Meaning, units and refusals of every item are in `ITempoStreamChannel.sol` beside this file, and where this
//! differs from the appendix of the session draft.

use alloy_sol_types::sol;

sol! {
    /// The escrow contract of session protocol v1.
    #[derive(Debug, PartialEq, Eq)]
    #[allow(missing_docs, clippy::too_many_arguments)]
    interface ITempoStreamChannel {
        /// A channel; all zero when it was never opened, all zero but `finalized` after its end.
        #[derive(Default)]
        struct Channel {
            bool finalized;
            uint64 closeRequestedAt;
            address payer;
            address payee;
            address token;
            address authorizedSigner;
            uint128 deposit;
            uint128 settled;
        }

        error ChannelAlreadyExists();
        error ChannelNotFound();
        error ChannelFinalized();
        error NotPayer();
        error NotPayee();
        error InvalidPayee();
        error ZeroDeposit();
        error InvalidSignature();
        error AmountExceedsDeposit();
        error AmountNotIncreasing();
        error CloseNotReady();
        error DepositOverflow();
        error TransferFailed();

        event ChannelOpened(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            address token,
            address authorizedSigner,
            bytes32 salt,
            uint256 deposit
        );
        event Settled(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint256 cumulativeAmount,
            uint256 deltaPaid,
            uint256 newSettled
        );
        event TopUp(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint256 additionalDeposit,
            uint256 newDeposit
        );
        event CloseRequested(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint256 closeGraceEnd
        );
        event CloseRequestCancelled(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee
        );
        event ChannelExpired(bytes32 indexed channelId, address indexed payer, address indexed payee);
        event ChannelClosed(
            bytes32 indexed channelId,
            address indexed payer,
            address indexed payee,
            uint256 settledToPayee,
            uint256 refundedToPayer
        );

        function CLOSE_GRACE_PERIOD() external view returns (uint64);
        function VOUCHER_TYPEHASH() external view returns (bytes32);
        function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner)
            external
            returns (bytes32 channelId);
        function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external;
        function topUp(bytes32 channelId, uint256 additionalDeposit) external;
        function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external;
        function requestClose(bytes32 channelId) external;
        function withdraw(bytes32 channelId) external;
        function channels(bytes32 channelId)
            external
            view
            returns (
                bool finalized,
                uint64 closeRequestedAt,
                address payer,
                address payee,
                address token,
                address authorizedSigner,
                uint128 deposit,
                uint128 settled
            );
        function getChannel(bytes32 channelId) external view returns (Channel memory);
        function getChannelsBatch(bytes32[] calldata channelIds)
            external
            view
            returns (Channel[] memory channelStates);
        function computeChannelId(
            address payer,
            address payee,
            address token,
            bytes32 salt,
            address authorizedSigner
        ) external view returns (bytes32);
        function getVoucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);
        function domainSeparator() external view returns (bytes32);
        function eip712Domain()
            external
            view
            returns (
                bytes1 fields,
                string memory name,
                string memory version,
                uint256 chainId,
                address verifyingContract,
                bytes32 salt,
                uint256[] memory extensions
            );
    }
}
