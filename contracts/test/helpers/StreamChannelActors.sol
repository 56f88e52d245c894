// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITempoStreamChannel as IEscrow} from "../../src/ITempoStreamChannel.sol";
import {TempoStreamChannel} from "../../src/TempoStreamChannel.sol";
import {TokenTest} from "./TokenTest.sol";
import {vm} from "./Vm.sol";

/// @title Payers, payees and a thief, who use many v1 channels at once
/// @notice See ReserveActors: the same play on the other stage.
contract StreamChannelActors is TokenTest {
    struct Ghost {
        address payer;
        address payee;
        uint256 signerKey;
        uint256 settled;
        uint256 deposit;
        bool ended;
    }

    IEscrow public immutable escrow = new TempoStreamChannel();
    uint256[3] private payerKeys = [uint256(0xA1), 0xA2, 0xA3];
    address[2] public payees = [address(0xBEEF11), address(0xBEEF12)];
    bytes32[] public ids;
    mapping(bytes32 => Ghost) private ghosts;

    /// What each payee has ever been paid.
    mapping(address => uint256) public captured;
    uint256 public thefts;
    uint256 private now_ = START;

    function setUp() public {
        vm.warp(now_);
        for (uint256 i = 0; i < payerKeys.length; i++) {
            _fund(vm.addr(payerKeys[i]), MONEY);
            vm.prank(vm.addr(payerKeys[i]));
            TOKEN.approve(address(escrow), type(uint256).max);
        }
    }

    function open(uint256 who, uint256 to, uint128 deposit, bool delegated) public {
        uint256 key = payerKeys[who % payerKeys.length];
        address account = vm.addr(key);
        uint256 affordable = _balance(account);
        if (affordable == 0) return;
        address payeeOf = payees[to % payees.length];
        deposit = uint128(1 + uint256(deposit) % _min(affordable, 100_000));
        vm.prank(account);
        bytes32 id = escrow.open(
            payeeOf, address(TOKEN), deposit, bytes32(ids.length), delegated ? delegate : address(0)
        );
        ids.push(id);
        ghosts[id] = Ghost(account, payeeOf, delegated ? DELEGATE_KEY : key, 0, deposit, false);
    }

    function settle(uint256 which, uint128 amount, bool compact) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended || g.settled == g.deposit) return;
        amount = uint128(g.settled + 1 + uint256(amount) % (g.deposit - g.settled));
        bytes32 digest = escrow.getVoucherDigest(id, amount);
        bytes memory signature = compact ? _signCompact(g.signerKey, digest) : _sign(g.signerKey, digest);
        vm.prank(g.payee);
        escrow.settle(id, amount, signature);
        captured[g.payee] += amount - g.settled;
        g.settled = amount;
    }

    function topUp(uint256 which, uint128 amount) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        uint256 affordable = _balance(g.payer);
        if (g.ended || affordable == 0) return;
        amount = uint128(1 + uint256(amount) % _min(affordable, 100_000));
        vm.prank(g.payer);
        escrow.topUp(id, amount);
        g.deposit += amount;
    }

    function close(uint256 which, uint128 amount) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended) return;
        amount = uint128(uint256(amount) % (g.deposit + 1));
        bytes memory signature = _sign(g.signerKey, escrow.getVoucherDigest(id, amount));
        vm.prank(g.payee);
        escrow.close(id, amount, signature);
        g.ended = true;
        if (amount > g.settled) captured[g.payee] += amount - g.settled;
    }

    function requestClose(uint256 which) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended) return;
        vm.prank(g.payer);
        escrow.requestClose(id);
    }

    function withdraw(uint256 which, uint256 wait) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended) return;
        uint256 requestedAt = escrow.getChannel(id).closeRequestedAt;
        if (requestedAt == 0) return;
        uint256 ready = requestedAt + 900 + wait % 1_000;
        now_ = ready > now_ ? ready : now_;
        vm.warp(now_);
        vm.prank(g.payer);
        escrow.withdraw(id);
        g.ended = true;
    }

    /// Everything that must fail: foreign callers, foreign vouchers, excess, early withdrawals, ended channels.
    function steal(uint256 which, uint128 amount, uint256 trick) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        uint128 rising = uint128(g.settled + 1);
        bytes memory forged = _sign(STRANGER_KEY, escrow.getVoucherDigest(id, rising));
        bytes memory real = _sign(g.signerKey, escrow.getVoucherDigest(id, rising));
        trick = trick % 6;
        if (trick == 0) _attempt(g.payee, abi.encodeCall(escrow.settle, (id, rising, forged)));
        if (trick == 1) _attempt(stranger, abi.encodeCall(escrow.settle, (id, rising, real)));
        if (trick == 2) _attempt(stranger, abi.encodeCall(escrow.close, (id, rising, real)));
        if (trick == 3) _attempt(stranger, abi.encodeCall(escrow.withdraw, (id)));
        if (trick == 4) {
            uint128 excess = uint128(g.deposit + 1 + amount % 1_000);
            bytes memory signature = _sign(g.signerKey, escrow.getVoucherDigest(id, excess));
            _attempt(g.payee, abi.encodeCall(escrow.settle, (id, excess, signature)));
            _attempt(g.payee, abi.encodeCall(escrow.close, (id, excess, signature)));
        }
        if (trick == 5 && escrow.getChannel(id).closeRequestedAt == 0) {
            _attempt(g.payer, abi.encodeCall(escrow.withdraw, (id)));
        }
        if (g.ended) _attempt(g.payee, abi.encodeCall(escrow.settle, (id, rising, real)));
    }

    function channels() public view returns (uint256) {
        return ids.length;
    }

    function ghost(uint256 index) public view returns (uint256 settled, uint256 deposit, bool ended) {
        Ghost storage g = ghosts[ids[index]];
        return (g.settled, g.deposit, g.ended);
    }

    function everybodysMoney() public view returns (uint256 money) {
        for (uint256 i = 0; i < payerKeys.length; i++) {
            money += _balance(vm.addr(payerKeys[i]));
        }
        for (uint256 i = 0; i < payees.length; i++) {
            money += _balance(payees[i]);
        }
        money += _balance(address(escrow)) + _balance(stranger) + _balance(delegate);
    }

    function _attempt(address caller, bytes memory data) private {
        vm.prank(caller);
        (bool succeeded,) = address(escrow).call(data);
        if (succeeded) thefts++;
    }

    function _pick(uint256 which) private returns (bytes32 id, Ghost storage g) {
        if (ids.length == 0) open(which, which, uint128(which), false);
        id = ids[which % ids.length];
        g = ghosts[id];
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
