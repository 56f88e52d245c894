// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The channel reserve of TIP-1034 (session protocol v2)
/// @notice Holds the deposits of payment channels that run one way, from a payer to a payee, in one TIP-20
/// token. The payer signs vouchers off chain; each names the cumulative amount that the payee may have.
/// @dev The reserve stores three numbers a channel. The identity of a channel, its descriptor, is never
/// stored: callers bring it, and it must hash to the channel id. Amounts are base units of the token.
interface ITIP20ChannelReserve {
    /// @notice What a channel is; never changes, and hashes to the channel id.
    struct ChannelDescriptor {
        /// Paid the deposit, gets the refund, and signs vouchers unless `authorizedSigner` does.
        address payer;
        /// Gets every captured amount.
        address payee;
        /// May settle and close for the payee; zero means nobody may.
        address operator;
        /// The TIP-20 token of the deposit.
        address token;
        /// Chosen by the payer, tells apart channels that are otherwise equal.
        bytes32 salt;
        /// Signs the vouchers; zero means that the payer does.
        address authorizedSigner;
        /// Binds the channel to the one transaction that opened it.
        bytes32 expiringNonceHash;
    }

    /// @notice What a channel holds; one storage slot, all zero when there is no such channel.
    struct ChannelState {
        /// Cumulative amount that the payee has received.
        uint96 settled;
        /// Cumulative amount that the payer has put in.
        uint96 deposit;
        /// Unix seconds of the payer's pending close request; zero when there is none.
        uint32 closeRequestedAt;
    }

    /// @notice Identity and state together.
    struct Channel {
        ChannelDescriptor descriptor;
        ChannelState state;
    }

    /// @notice The channel is open already, or was open earlier in the same transaction.
    error ChannelAlreadyExists();
    /// @notice No channel has this descriptor: never opened, closed, or withdrawn.
    error ChannelNotFound();
    /// @notice Only the payer may do this.
    error NotPayer();
    /// @notice Only the payee, or the operator if there is one, may do this.
    error NotPayeeOrOperator();
    /// @notice The payee is the zero address or a token.
    error InvalidPayee();
    /// @notice A channel needs a deposit.
    error ZeroDeposit();
    /// @notice The hash of the opening transaction is not known to the reserve.
    error ExpiringNonceHashNotSet();
    /// @notice The expected signer did not sign this voucher, or the encoding is not one of TIP-1020.
    error InvalidSignature();
    /// @notice The amount is larger than the deposit.
    error AmountExceedsDeposit();
    /// @notice The amount is not larger than what is settled already.
    error AmountNotIncreasing();
    /// @notice The capture is below what is settled already, or above the voucher.
    error CaptureAmountInvalid();
    /// @notice There is no close request, or its grace period still runs.
    error CloseNotReady();
    /// @notice The deposit would no longer fit 96 bits.
    error DepositOverflow();

    /// @notice A channel was opened and funded. The only place where the whole descriptor is published.
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

    /// @notice The payee received `deltaPaid`, `newSettled` in all.
    event Settled(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint96 cumulativeAmount,
        uint96 deltaPaid,
        uint96 newSettled
    );

    /// @notice The payer added to the deposit, or cancelled a close request with a top-up of zero.
    event TopUp(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint96 additionalDeposit,
        uint96 newDeposit
    );

    /// @notice The payer may withdraw from `closeGraceEnd` (unix seconds) on.
    event CloseRequested(
        bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 closeGraceEnd
    );

    /// @notice The channel is gone; over its life the payee received `settledToPayee`.
    event ChannelClosed(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint96 settledToPayee,
        uint96 refundedToPayer
    );

    /// @notice A top-up cancelled the pending close request.
    event CloseRequestCancelled(bytes32 indexed channelId, address indexed payer, address indexed payee);

    /// @notice Seconds between a close request and the earliest withdrawal.
    function CLOSE_GRACE_PERIOD() external view returns (uint64);

    /// @notice EIP-712 type hash of a voucher.
    function VOUCHER_TYPEHASH() external view returns (bytes32);

    /// @notice Opens a channel from the caller to `payee` and moves `deposit` of `token` into the reserve.
    /// @return channelId Hash of the new channel's descriptor, this reserve and this chain.
    function open(
        address payee,
        address operator,
        address token,
        uint96 deposit,
        bytes32 salt,
        address authorizedSigner
    ) external returns (bytes32 channelId);

    /// @notice Pays the payee up to `cumulativeAmount`, the exact amount of a voucher. Payee or operator only.
    function settle(ChannelDescriptor calldata descriptor, uint96 cumulativeAmount, bytes calldata signature)
        external;

    /// @notice Adds to the deposit and cancels a pending close request. Payer only.
    /// @dev An amount of zero only cancels; without a close request it changes nothing and emits nothing.
    function topUp(ChannelDescriptor calldata descriptor, uint96 additionalDeposit) external;

    /// @notice Ends the channel: pays the payee up to `captureAmount`, refunds the rest. Payee or operator only.
    /// @dev Needs a voucher of `cumulativeAmount >= captureAmount` only when the capture exceeds what is
    /// settled; at `captureAmount == settled` the signature is not looked at.
    function close(
        ChannelDescriptor calldata descriptor,
        uint96 cumulativeAmount,
        uint96 captureAmount,
        bytes calldata signature
    ) external;

    /// @notice Starts the grace period; repeated requests do not restart it. Payer only.
    function requestClose(ChannelDescriptor calldata descriptor) external;

    /// @notice Ends the channel after the grace period and refunds what is not settled. Payer only.
    function withdraw(ChannelDescriptor calldata descriptor) external;

    /// @notice The descriptor as given, with the state of its channel.
    function getChannel(ChannelDescriptor calldata descriptor) external view returns (Channel memory);

    /// @notice The state of one channel; all zero when there is no such channel.
    function getChannelState(bytes32 channelId) external view returns (ChannelState memory);

    /// @notice The states of many channels, in the given order.
    function getChannelStatesBatch(bytes32[] calldata channelIds)
        external
        view
        returns (ChannelState[] memory);

    /// @notice The channel id of a descriptor, on this chain.
    function computeChannelId(
        address payer,
        address payee,
        address operator,
        address token,
        bytes32 salt,
        address authorizedSigner,
        bytes32 expiringNonceHash
    ) external view returns (bytes32);

    /// @notice The EIP-712 digest that the signer of a voucher signs.
    function getVoucherDigest(bytes32 channelId, uint96 cumulativeAmount) external view returns (bytes32);

    /// @notice The EIP-712 domain separator of the reserve on this chain.
    function domainSeparator() external view returns (bytes32);

    /// @notice Storage slots that closed channels of `payer` have freed for cheaper reuse.
    function storageCredits(address payer) external view returns (uint64 credits);
}
