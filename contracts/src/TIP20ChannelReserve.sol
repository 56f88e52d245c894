// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ISignatureVerifier} from "./ISignatureVerifier.sol";
import {ITIP20} from "./ITIP20.sol";
import {ITIP20ChannelReserve} from "./ITIP20ChannelReserve.sol";
import {ReserveHash} from "./ReserveHash.sol";
import {TokenAddress} from "./TokenAddress.sol";

/// @title The channel reserve of TIP-1034 as a contract, for chains that lack the precompile
/// @notice Stands in for the precompile on a local chain, in development and tests only. It never holds
/// real money. The devnet proxy supplies the two things that a contract cannot have:
///
/// - the hash of the enclosing transaction: the proxy writes it into `openContexts` before it forwards an
///   `open`. Entries are not erased: a transaction may open the same salt towards several payees, and each
///   of these opens reads the same entry. The next transaction overwrites it.
/// - native token movement: the proxy sets the payer's allowance before `open` and `topUp`.
///
/// The token's transfer policy (TIP-403) is enforced by the token itself, for the transfers that really
/// happen: payer to reserve, reserve to payee, reserve to payer. The precompile also asks it about the
/// logical path from payer to payee.
contract TIP20ChannelReserve is ITIP20ChannelReserve {
    /// @inheritdoc ITIP20ChannelReserve
    uint64 public constant CLOSE_GRACE_PERIOD = 900;

    /// @inheritdoc ITIP20ChannelReserve
    bytes32 public constant VOUCHER_TYPEHASH = ReserveHash.VOUCHER_TYPEHASH;

    ISignatureVerifier private constant VERIFIER =
        ISignatureVerifier(0x5165300000000000000000000000000000000000);

    /// @dev Slot 0. The order of the struct's fields is the bit layout of TIP-1034, low bits first.
    mapping(bytes32 channelId => ChannelState) private channels;

    /// @dev Slot 1, written by the devnet proxy: keccak256(abi.encode(payer, salt)) to the hash of the
    /// transaction that carries the open.
    mapping(bytes32 payerAndSalt => bytes32 expiringNonceHash) private openContexts;

    /// @inheritdoc ITIP20ChannelReserve
    function open(
        address payee,
        address operator,
        address token,
        uint96 deposit,
        bytes32 salt,
        address authorizedSigner
    ) external returns (bytes32 channelId) {
        if (payee == address(0) || TokenAddress.hasPrefix(payee)) revert InvalidPayee();
        if (!TokenAddress.isToken(token)) revert ITIP20.InvalidToken();
        if (deposit == 0) revert ZeroDeposit();

        bytes32 expiringNonceHash = openContexts[keccak256(abi.encode(msg.sender, salt))];
        if (expiringNonceHash == 0) revert ExpiringNonceHashNotSet();

        channelId = ReserveHash.channelId(
            ChannelDescriptor(msg.sender, payee, operator, token, salt, authorizedSigner, expiringNonceHash)
        );
        // The second question matters when the channel was opened and ended within this transaction: its
        // slot is empty again, but its id is spent.
        if (channels[channelId].deposit != 0 || _wasOpenedInThisTransaction(channelId)) {
            revert ChannelAlreadyExists();
        }
        _markOpenedInThisTransaction(channelId);
        channels[channelId].deposit = deposit;

        _reserve(token, deposit);
        emit ChannelOpened(
            channelId, msg.sender, payee, operator, token, authorizedSigner, salt, expiringNonceHash, deposit
        );
    }

    /// @inheritdoc ITIP20ChannelReserve
    function settle(ChannelDescriptor calldata descriptor, uint96 cumulativeAmount, bytes calldata signature)
        external
    {
        (bytes32 channelId, ChannelState memory state) = _load(descriptor);
        _requirePayeeSide(descriptor);
        if (cumulativeAmount > state.deposit) revert AmountExceedsDeposit();
        if (cumulativeAmount <= state.settled) revert AmountNotIncreasing();
        _requireVoucher(descriptor, channelId, cumulativeAmount, signature);

        uint96 delta = cumulativeAmount - state.settled;
        channels[channelId].settled = cumulativeAmount;

        _pay(descriptor.token, descriptor.payee, delta);
        emit Settled(channelId, descriptor.payer, descriptor.payee, cumulativeAmount, delta, cumulativeAmount);
    }

    /// @inheritdoc ITIP20ChannelReserve
    function topUp(ChannelDescriptor calldata descriptor, uint96 additionalDeposit) external {
        (bytes32 channelId, ChannelState memory state) = _load(descriptor);
        _requirePayer(descriptor);
        bool cancels = state.closeRequestedAt != 0;
        if (additionalDeposit == 0 && !cancels) return;
        if (additionalDeposit > type(uint96).max - state.deposit) revert DepositOverflow();

        state.deposit += additionalDeposit;
        state.closeRequestedAt = 0;
        channels[channelId] = state;

        if (additionalDeposit != 0) _reserve(descriptor.token, additionalDeposit);
        if (cancels) emit CloseRequestCancelled(channelId, descriptor.payer, descriptor.payee);
        emit TopUp(channelId, descriptor.payer, descriptor.payee, additionalDeposit, state.deposit);
    }

    /// @inheritdoc ITIP20ChannelReserve
    function close(
        ChannelDescriptor calldata descriptor,
        uint96 cumulativeAmount,
        uint96 captureAmount,
        bytes calldata signature
    ) external {
        (bytes32 channelId, ChannelState memory state) = _load(descriptor);
        _requirePayeeSide(descriptor);
        if (captureAmount < state.settled || captureAmount > cumulativeAmount) revert CaptureAmountInvalid();
        if (captureAmount > state.deposit) revert AmountExceedsDeposit();
        if (captureAmount > state.settled) {
            _requireVoucher(descriptor, channelId, cumulativeAmount, signature);
        }

        _end(descriptor, channelId, state, captureAmount);
    }

    /// @inheritdoc ITIP20ChannelReserve
    function requestClose(ChannelDescriptor calldata descriptor) external {
        (bytes32 channelId, ChannelState memory state) = _load(descriptor);
        _requirePayer(descriptor);
        if (state.closeRequestedAt != 0) return;

        channels[channelId].closeRequestedAt = uint32(block.timestamp);
        emit CloseRequested(
            channelId, descriptor.payer, descriptor.payee, block.timestamp + CLOSE_GRACE_PERIOD
        );
    }

    /// @inheritdoc ITIP20ChannelReserve
    function withdraw(ChannelDescriptor calldata descriptor) external {
        (bytes32 channelId, ChannelState memory state) = _load(descriptor);
        _requirePayer(descriptor);
        if (state.closeRequestedAt == 0) revert CloseNotReady();
        if (block.timestamp < uint256(state.closeRequestedAt) + CLOSE_GRACE_PERIOD) revert CloseNotReady();

        _end(descriptor, channelId, state, state.settled);
    }

    /// @inheritdoc ITIP20ChannelReserve
    function getChannel(ChannelDescriptor calldata descriptor) external view returns (Channel memory) {
        return Channel(descriptor, channels[ReserveHash.channelId(descriptor)]);
    }

    /// @inheritdoc ITIP20ChannelReserve
    function getChannelState(bytes32 channelId) external view returns (ChannelState memory) {
        return channels[channelId];
    }

    /// @inheritdoc ITIP20ChannelReserve
    function getChannelStatesBatch(bytes32[] calldata channelIds)
        external
        view
        returns (ChannelState[] memory states)
    {
        states = new ChannelState[](channelIds.length);
        for (uint256 i = 0; i < channelIds.length; i++) {
            states[i] = channels[channelIds[i]];
        }
    }

    /// @inheritdoc ITIP20ChannelReserve
    function computeChannelId(
        address payer,
        address payee,
        address operator,
        address token,
        bytes32 salt,
        address authorizedSigner,
        bytes32 expiringNonceHash
    ) external view returns (bytes32) {
        return ReserveHash.channelId(
            ChannelDescriptor(payer, payee, operator, token, salt, authorizedSigner, expiringNonceHash)
        );
    }

    /// @inheritdoc ITIP20ChannelReserve
    function getVoucherDigest(bytes32 channelId, uint96 cumulativeAmount) external view returns (bytes32) {
        return ReserveHash.voucherDigest(channelId, cumulativeAmount);
    }

    /// @inheritdoc ITIP20ChannelReserve
    function domainSeparator() external view returns (bytes32) {
        return ReserveHash.domainSeparator();
    }

    /// @inheritdoc ITIP20ChannelReserve
    /// @dev Credits make gas cheaper on the real chain. A contract cannot grant them, so nobody has any.
    function storageCredits(address) external pure returns (uint64) {
        return 0;
    }

    /// @dev Erases the channel, pays what is captured beyond `settled`, refunds the rest.
    function _end(
        ChannelDescriptor calldata descriptor,
        bytes32 channelId,
        ChannelState memory state,
        uint96 captured
    ) private {
        uint96 delta = captured - state.settled;
        uint96 refund = state.deposit - captured;
        delete channels[channelId];

        if (delta != 0) _pay(descriptor.token, descriptor.payee, delta);
        if (refund != 0) _pay(descriptor.token, descriptor.payer, refund);
        emit ChannelClosed(channelId, descriptor.payer, descriptor.payee, captured, refund);
    }

    /// @dev Every open channel has a deposit, so an empty one means that there is no channel.
    function _load(ChannelDescriptor calldata descriptor)
        private
        view
        returns (bytes32 channelId, ChannelState memory state)
    {
        channelId = ReserveHash.channelId(descriptor);
        state = channels[channelId];
        if (state.deposit == 0) revert ChannelNotFound();
    }

    function _requirePayer(ChannelDescriptor calldata descriptor) private view {
        if (msg.sender != descriptor.payer) revert NotPayer();
    }

    /// @dev A zero operator authorizes nobody, not even a caller with address zero (simulations have one).
    function _requirePayeeSide(ChannelDescriptor calldata descriptor) private view {
        if (msg.sender == descriptor.payee) return;
        if (descriptor.operator == address(0) || msg.sender != descriptor.operator) {
            revert NotPayeeOrOperator();
        }
    }

    /// @dev The precompile reverts on a bad signature and answers false on a wrong signer; both are one
    /// error here.
    function _requireVoucher(
        ChannelDescriptor calldata descriptor,
        bytes32 channelId,
        uint96 cumulativeAmount,
        bytes calldata signature
    ) private view {
        address signer = descriptor.authorizedSigner == address(0)
            ? descriptor.payer
            : descriptor.authorizedSigner;
        bytes32 digest = ReserveHash.voucherDigest(channelId, cumulativeAmount);
        try VERIFIER.verify(signer, digest, signature) returns (bool signed) {
            if (!signed) revert InvalidSignature();
        } catch {
            revert InvalidSignature();
        }
    }

    /// @dev A TIP-20 transfer reverts or moves everything: false is impossible, hence assert.
    function _reserve(address token, uint96 amount) private {
        assert(ITIP20(token).transferFrom(msg.sender, address(this), amount));
    }

    /// @dev See `_reserve`.
    function _pay(address token, address to, uint96 amount) private {
        assert(ITIP20(token).transfer(to, amount));
    }

    /// @dev Transient storage is empty at the start of every transaction and used for nothing else here,
    /// so the channel id itself is the key.
    function _wasOpenedInThisTransaction(bytes32 channelId) private view returns (bool opened) {
        assembly ("memory-safe") {
            opened := tload(channelId)
        }
    }

    /// @dev A reverted open takes its mark back with it.
    function _markOpenedInThisTransaction(bytes32 channelId) private {
        assembly ("memory-safe") {
            tstore(channelId, 1)
        }
    }
}
