// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve as IReserve} from "../../src/ITIP20ChannelReserve.sol";
import {ReserveTest} from "./ReserveTest.sol";
import {vm} from "./Vm.sol";

/// @title Payers, payees, an operator and a thief, who use many channels at once
/// @notice Every call of the fuzzer is one action of one of them. Honest actions are chosen so that they must
/// succeed; the thief's must all fail. What the books must say is counted here, independently.
contract ReserveActors is ReserveTest {
    struct Ghost {
        IReserve.ChannelDescriptor descriptor;
        uint256 signerKey;
        uint256 settled;
        uint256 deposit;
        bool ended;
    }

    uint256[3] private payerKeys = [uint256(0xA1), 0xA2, 0xA3];
    address[2] public payees = [address(0xBEEF11), address(0xBEEF12)];
    bytes32[] public ids;
    mapping(bytes32 => Ghost) private ghosts;

    /// What each payee has ever been paid.
    mapping(address => uint256) public captured;
    uint256 public settledDecreases;
    uint256 public thefts;
    uint256 private now_ = START;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < payerKeys.length; i++) {
            _fund(vm.addr(payerKeys[i]), MONEY);
            vm.prank(vm.addr(payerKeys[i]));
            TOKEN.approve(address(RESERVE), type(uint256).max);
        }
        _fund(payer, 0);
    }

    function open(uint256 who, uint256 to, uint96 deposit, bool delegated, bool operated) public {
        uint256 key = payerKeys[who % payerKeys.length];
        uint256 affordable = _balance(vm.addr(key));
        if (affordable == 0) return;
        IReserve.ChannelDescriptor memory d = IReserve.ChannelDescriptor({
            payer: vm.addr(key),
            payee: payees[to % payees.length],
            operator: operated ? operator : address(0),
            token: address(TOKEN),
            salt: bytes32(ids.length),
            authorizedSigner: delegated ? delegate : address(0),
            expiringNonceHash: keccak256(abi.encode("transaction", ids.length))
        });
        deposit = uint96(1 + uint256(deposit) % _min(affordable, 100_000));
        bytes32 id = _open(d, deposit);
        ids.push(id);
        ghosts[id] = Ghost(d, delegated ? DELEGATE_KEY : key, 0, deposit, false);
    }

    function settle(uint256 which, uint96 amount, bool byOperator) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended || g.settled == g.deposit) return;
        amount = uint96(g.settled + 1 + uint256(amount) % (g.deposit - g.settled));
        bytes memory signature = _voucher(g.signerKey, id, amount);
        vm.prank(_payeeSide(g, byOperator));
        RESERVE.settle(g.descriptor, amount, signature);
        _capture(id, g, amount);
    }

    function topUp(uint256 which, uint96 amount) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended) return;
        amount = uint96(uint256(amount) % (_min(_balance(g.descriptor.payer), 100_000) + 1));
        vm.prank(g.descriptor.payer);
        RESERVE.topUp(g.descriptor, amount);
        g.deposit += amount;
        _observe(id, g);
    }

    function close(uint256 which, uint96 capture, uint96 surplus, bool byOperator) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended) return;
        capture = uint96(g.settled + uint256(capture) % (g.deposit - g.settled + 1));
        uint96 voucher = uint96(_min(uint256(capture) + surplus, type(uint96).max));
        bytes memory signature = _voucher(g.signerKey, id, voucher);
        vm.prank(_payeeSide(g, byOperator));
        RESERVE.close(g.descriptor, voucher, capture, signature);
        g.ended = true;
        captured[g.descriptor.payee] += capture - g.settled;
        g.settled = capture;
    }

    function requestClose(uint256 which) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended) return;
        vm.prank(g.descriptor.payer);
        RESERVE.requestClose(g.descriptor);
        _observe(id, g);
    }

    function withdraw(uint256 which, uint256 wait) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        if (g.ended) return;
        uint256 requestedAt = RESERVE.getChannelState(id).closeRequestedAt;
        if (requestedAt == 0) return;
        now_ = _max(now_, requestedAt + 900 + wait % 1_000);
        vm.warp(now_);
        vm.prank(g.descriptor.payer);
        RESERVE.withdraw(g.descriptor);
        g.ended = true;
    }

    /// Everything that must fail: foreign callers, foreign vouchers, excess, early withdrawals, ended channels.
    function steal(uint256 which, uint96 amount, uint256 trick) public {
        (bytes32 id, Ghost storage g) = _pick(which);
        IReserve.ChannelDescriptor memory d = g.descriptor;
        uint96 rising = uint96(g.settled + 1);
        bytes memory forged = _voucher(STRANGER_KEY, id, rising);
        bytes memory real = _voucher(g.signerKey, id, rising);
        trick = trick % 7;
        if (trick == 0) _attempt(d.payee, abi.encodeCall(RESERVE.settle, (d, rising, forged)));
        if (trick == 1) _attempt(stranger, abi.encodeCall(RESERVE.settle, (d, rising, real)));
        if (trick == 2) _attempt(stranger, abi.encodeCall(RESERVE.close, (d, 0, 0, "")));
        if (trick == 3) _attempt(stranger, abi.encodeCall(RESERVE.withdraw, (d)));
        if (trick == 4) {
            uint96 excess = uint96(g.deposit + 1 + amount % 1_000);
            bytes memory signature = _voucher(g.signerKey, id, excess);
            _attempt(d.payee, abi.encodeCall(RESERVE.settle, (d, excess, signature)));
            _attempt(d.payee, abi.encodeCall(RESERVE.close, (d, excess, excess, signature)));
        }
        if (trick == 5 && RESERVE.getChannelState(id).closeRequestedAt == 0) {
            _attempt(d.payer, abi.encodeCall(RESERVE.withdraw, (d)));
        }
        if (trick == 6) {
            d.payee = stranger;
            _attempt(stranger, abi.encodeCall(RESERVE.settle, (d, rising, real)));
        }
        if (g.ended) _attempt(d.payee, abi.encodeCall(RESERVE.settle, (g.descriptor, rising, real)));
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
        money += _balance(address(RESERVE)) + _balance(operator) + _balance(stranger) + _balance(delegate);
    }

    function _capture(bytes32 id, Ghost storage g, uint96 amount) private {
        captured[g.descriptor.payee] += amount - g.settled;
        _observe(id, g);
        g.settled = amount;
    }

    function _observe(bytes32 id, Ghost storage g) private {
        if (RESERVE.getChannelState(id).settled < g.settled) settledDecreases++;
    }

    function _attempt(address caller, bytes memory data) private {
        vm.prank(caller);
        (bool succeeded,) = address(RESERVE).call(data);
        if (succeeded) thefts++;
    }

    function _pick(uint256 which) private returns (bytes32 id, Ghost storage g) {
        if (ids.length == 0) open(which, which, uint96(which), false, true);
        id = ids[which % ids.length];
        g = ghosts[id];
    }

    function _payeeSide(Ghost storage g, bool byOperator) private view returns (address) {
        return byOperator && g.descriptor.operator != address(0) ? operator : g.descriptor.payee;
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }
}
