// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITempoStreamChannel} from "./ITempoStreamChannel.sol";
import {ITIP20} from "./ITIP20.sol";
import {StreamChannelHash} from "./StreamChannelHash.sol";
import {TokenAddress} from "./TokenAddress.sol";

/// @title The escrow contract of session protocol v1, for a local chain
/// @notice Behaves towards clients like the deployed v1 escrows. For development and tests only.
contract TempoStreamChannel is ITempoStreamChannel {
    /// @inheritdoc ITempoStreamChannel
    uint64 public constant CLOSE_GRACE_PERIOD = 900;

    /// @inheritdoc ITempoStreamChannel
    bytes32 public constant VOUCHER_TYPEHASH = StreamChannelHash.VOUCHER_TYPEHASH;

    /// @inheritdoc ITempoStreamChannel
    mapping(bytes32 channelId => Channel) public channels;

    /// @inheritdoc ITempoStreamChannel
    function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner)
        external
        returns (bytes32 channelId)
    {
        if (payee == address(0)) revert InvalidPayee();
        if (!TokenAddress.isToken(token)) revert ITIP20.InvalidToken();
        if (deposit == 0) revert ZeroDeposit();
        channelId = StreamChannelHash.channelId(msg.sender, payee, token, salt, authorizedSigner);
        Channel storage channel = channels[channelId];
        // An ended channel stays finalized for ever, so its vouchers can never be used on a new deposit.
        if (channel.payer != address(0) || channel.finalized) revert ChannelAlreadyExists();

        channels[channelId] = Channel(false, 0, msg.sender, payee, token, authorizedSigner, deposit, 0);

        _reserve(token, deposit);
        emit ChannelOpened(channelId, msg.sender, payee, token, authorizedSigner, salt, deposit);
    }

    /// @inheritdoc ITempoStreamChannel
    function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external {
        Channel memory channel = _load(channelId);
        if (msg.sender != channel.payee) revert NotPayee();
        if (cumulativeAmount > channel.deposit) revert AmountExceedsDeposit();
        if (cumulativeAmount <= channel.settled) revert AmountNotIncreasing();
        _requireVoucher(channel, channelId, cumulativeAmount, signature);

        uint128 delta = cumulativeAmount - channel.settled;
        channels[channelId].settled = cumulativeAmount;

        _pay(channel.token, channel.payee, delta);
        emit Settled(channelId, channel.payer, channel.payee, cumulativeAmount, delta, cumulativeAmount);
    }

    /// @inheritdoc ITempoStreamChannel
    function topUp(bytes32 channelId, uint256 additionalDeposit) external {
        Channel memory channel = _load(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        if (additionalDeposit == 0) revert ZeroDeposit();
        if (additionalDeposit > type(uint128).max - channel.deposit) revert DepositOverflow();

        uint128 newDeposit = channel.deposit + uint128(additionalDeposit);
        channels[channelId].deposit = newDeposit;
        channels[channelId].closeRequestedAt = 0;

        _reserve(channel.token, uint128(additionalDeposit));
        if (channel.closeRequestedAt != 0) {
            emit CloseRequestCancelled(channelId, channel.payer, channel.payee);
        }
        emit TopUp(channelId, channel.payer, channel.payee, additionalDeposit, newDeposit);
    }

    /// @inheritdoc ITempoStreamChannel
    function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external {
        Channel memory channel = _load(channelId);
        if (msg.sender != channel.payee) revert NotPayee();
        uint128 captured = channel.settled;
        if (cumulativeAmount > captured) {
            if (cumulativeAmount > channel.deposit) revert AmountExceedsDeposit();
            _requireVoucher(channel, channelId, cumulativeAmount, signature);
            captured = cumulativeAmount;
        }

        uint128 refund = _end(channel, channelId, captured);
        emit ChannelClosed(channelId, channel.payer, channel.payee, captured, refund);
    }

    /// @inheritdoc ITempoStreamChannel
    function requestClose(bytes32 channelId) external {
        Channel memory channel = _load(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        if (channel.closeRequestedAt != 0) return;

        channels[channelId].closeRequestedAt = uint64(block.timestamp);
        emit CloseRequested(channelId, channel.payer, channel.payee, block.timestamp + CLOSE_GRACE_PERIOD);
    }

    /// @inheritdoc ITempoStreamChannel
    function withdraw(bytes32 channelId) external {
        Channel memory channel = _load(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        if (channel.closeRequestedAt == 0) revert CloseNotReady();
        if (block.timestamp < uint256(channel.closeRequestedAt) + CLOSE_GRACE_PERIOD) revert CloseNotReady();

        uint128 refund = _end(channel, channelId, channel.settled);
        emit ChannelExpired(channelId, channel.payer, channel.payee);
        emit ChannelClosed(channelId, channel.payer, channel.payee, channel.settled, refund);
    }

    /// @inheritdoc ITempoStreamChannel
    function getChannel(bytes32 channelId) external view returns (Channel memory) {
        return channels[channelId];
    }

    /// @inheritdoc ITempoStreamChannel
    function getChannelsBatch(bytes32[] calldata channelIds)
        external
        view
        returns (Channel[] memory channelStates)
    {
        channelStates = new Channel[](channelIds.length);
        for (uint256 i = 0; i < channelIds.length; i++) {
            channelStates[i] = channels[channelIds[i]];
        }
    }

    /// @inheritdoc ITempoStreamChannel
    function computeChannelId(
        address payer,
        address payee,
        address token,
        bytes32 salt,
        address authorizedSigner
    ) external view returns (bytes32) {
        return StreamChannelHash.channelId(payer, payee, token, salt, authorizedSigner);
    }

    /// @inheritdoc ITempoStreamChannel
    function getVoucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32) {
        return StreamChannelHash.voucherDigest(channelId, cumulativeAmount);
    }

    /// @inheritdoc ITempoStreamChannel
    function domainSeparator() external view returns (bytes32) {
        return StreamChannelHash.domainSeparator();
    }

    /// @inheritdoc ITempoStreamChannel
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
        )
    {
        // The low four bits: name, version, chainId and verifyingContract are used, salt is not.
        fields = 0x0f;
        name = StreamChannelHash.NAME;
        version = StreamChannelHash.VERSION;
        chainId = block.chainid;
        verifyingContract = address(this);
        salt = 0;
        extensions = new uint256[](0);
    }

    /// @dev Leaves only the mark that the channel has ended, pays what is captured beyond `settled`, refunds
    /// the rest.
    function _end(Channel memory channel, bytes32 channelId, uint128 captured)
        private
        returns (uint128 refund)
    {
        uint128 delta = captured - channel.settled;
        refund = channel.deposit - captured;
        delete channels[channelId];
        channels[channelId].finalized = true;

        if (delta != 0) _pay(channel.token, channel.payee, delta);
        if (refund != 0) _pay(channel.token, channel.payer, refund);
    }

    function _load(bytes32 channelId) private view returns (Channel memory channel) {
        channel = channels[channelId];
        if (channel.finalized) revert ChannelFinalized();
        if (channel.payer == address(0)) revert ChannelNotFound();
    }

    /// @dev The signer is never zero (the payer is not), so a failed recovery never equals it.
    function _requireVoucher(
        Channel memory channel,
        bytes32 channelId,
        uint128 cumulativeAmount,
        bytes calldata signature
    ) private view {
        address signer = channel.authorizedSigner == address(0) ? channel.payer : channel.authorizedSigner;
        bytes32 digest = StreamChannelHash.voucherDigest(channelId, cumulativeAmount);
        if (StreamChannelHash.recover(digest, signature) != signer) revert InvalidSignature();
    }

    function _reserve(address token, uint128 amount) private {
        if (!ITIP20(token).transferFrom(msg.sender, address(this), amount)) revert TransferFailed();
    }

    function _pay(address token, address to, uint128 amount) private {
        if (!ITIP20(token).transfer(to, amount)) revert TransferFailed();
    }
}
