// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The escrow contract of session protocol v1
/// @notice Holds the deposits of payment channels that run one way, from a payer to a payee, in one token.
/// @dev The interface is the one that deployed v1 escrows have and v1 clients speak, which differs from the
/// informative appendix of the session draft in three places: the order of the fields of `Channel`, the
/// salt in `ChannelOpened`, and 256 bits in `topUp`. Amounts are base units of the token.
interface ITempoStreamChannel {
    /// @notice A channel; all zero when it was never opened, all zero but `finalized` after its end.
    struct Channel {
        /// The channel has ended, its id can never be used again.
        bool finalized;
        /// Unix seconds of the payer's pending close request; zero when there is none.
        uint64 closeRequestedAt;
        /// Paid the deposit, gets the refund, and signs vouchers unless `authorizedSigner` does.
        address payer;
        /// Gets every settled amount.
        address payee;
        /// The token of the deposit.
        address token;
        /// Signs the vouchers; zero means that the payer does.
        address authorizedSigner;
        /// Cumulative amount that the payer has put in.
        uint128 deposit;
        /// Cumulative amount that the payee has received.
        uint128 settled;
    }

    /// @notice The channel is open already.
    error ChannelAlreadyExists();
    /// @notice No such channel was ever opened.
    error ChannelNotFound();
    /// @notice The channel has ended.
    error ChannelFinalized();
    /// @notice Only the payer may do this.
    error NotPayer();
    /// @notice Only the payee may do this.
    error NotPayee();
    /// @notice The payee is the zero address.
    error InvalidPayee();
    /// @notice A channel needs a deposit.
    error ZeroDeposit();
    /// @notice The expected signer did not sign this voucher, or the signature is malformed.
    error InvalidSignature();
    /// @notice The amount is larger than the deposit.
    error AmountExceedsDeposit();
    /// @notice The amount is not larger than what is settled already.
    error AmountNotIncreasing();
    /// @notice There is no close request, or its grace period still runs.
    error CloseNotReady();
    /// @notice The deposit would no longer fit 128 bits.
    error DepositOverflow();
    /// @notice The token refused a transfer.
    error TransferFailed();

    /// @notice A channel was opened and funded.
    event ChannelOpened(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        address token,
        address authorizedSigner,
        bytes32 salt,
        uint256 deposit
    );

    /// @notice The payee received `deltaPaid`, `newSettled` in all.
    event Settled(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint256 cumulativeAmount,
        uint256 deltaPaid,
        uint256 newSettled
    );

    /// @notice The payer added to the deposit.
    event TopUp(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint256 additionalDeposit,
        uint256 newDeposit
    );

    /// @notice The payer may withdraw from `closeGraceEnd` (unix seconds) on.
    event CloseRequested(
        bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 closeGraceEnd
    );

    /// @notice A top-up cancelled the pending close request.
    event CloseRequestCancelled(bytes32 indexed channelId, address indexed payer, address indexed payee);

    /// @notice The grace period ran out and the payer took the rest; precedes `ChannelClosed`.
    event ChannelExpired(bytes32 indexed channelId, address indexed payer, address indexed payee);

    /// @notice The channel has ended; over its life the payee received `settledToPayee`.
    event ChannelClosed(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint256 settledToPayee,
        uint256 refundedToPayer
    );

    /// @notice Seconds between a close request and the earliest withdrawal.
    function CLOSE_GRACE_PERIOD() external view returns (uint64);

    /// @notice EIP-712 type hash of a voucher.
    function VOUCHER_TYPEHASH() external view returns (bytes32);

    /// @notice Opens a channel from the caller to `payee`; the caller must have approved the deposit.
    /// @return channelId Hash of the channel's parties, this contract and this chain.
    function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner)
        external
        returns (bytes32 channelId);

    /// @notice Pays the payee up to `cumulativeAmount`, the exact amount of a voucher. Payee only.
    function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external;

    /// @notice Adds to the deposit and cancels a pending close request. Payer only.
    function topUp(bytes32 channelId, uint256 additionalDeposit) external;

    /// @notice Ends the channel: pays a last voucher and refunds the rest. Payee only.
    /// @dev A `cumulativeAmount` that does not exceed what is settled pays nothing more and needs no
    /// signature.
    function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external;

    /// @notice Starts the grace period; repeated requests do not restart it. Payer only.
    function requestClose(bytes32 channelId) external;

    /// @notice Ends the channel after the grace period and refunds what is not settled. Payer only.
    function withdraw(bytes32 channelId) external;

    /// @notice One channel, its fields as separate values.
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

    /// @notice One channel.
    function getChannel(bytes32 channelId) external view returns (Channel memory);

    /// @notice Many channels, in the given order.
    function getChannelsBatch(bytes32[] calldata channelIds)
        external
        view
        returns (Channel[] memory channelStates);

    /// @notice The channel id of these parties, for this contract on this chain.
    function computeChannelId(
        address payer,
        address payee,
        address token,
        bytes32 salt,
        address authorizedSigner
    ) external view returns (bytes32);

    /// @notice The EIP-712 digest that the signer of a voucher signs.
    function getVoucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);

    /// @notice The EIP-712 domain separator of this contract on this chain.
    function domainSeparator() external view returns (bytes32);

    /// @notice The EIP-712 domain in parts (ERC-5267).
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
