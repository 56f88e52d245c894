// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITIP20ChannelReserve as IReserve} from "../src/ITIP20ChannelReserve.sol";
import {ReserveActors} from "./helpers/ReserveActors.sol";
import {ReserveTest} from "./helpers/ReserveTest.sol";
import {vm} from "./helpers/Vm.sol";

contract ReserveInvariantsTest is ReserveTest {
    ReserveActors private actors;
    uint256 private moneyAtStart;

    function setUp() public override {
        actors = new ReserveActors();
        actors.setUp();
        moneyAtStart = actors.everybodysMoney();
    }

    /// forge asks which contracts and functions the fuzzer may call.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory actions = new bytes4[](7);
        actions[0] = ReserveActors.open.selector;
        actions[1] = ReserveActors.settle.selector;
        actions[2] = ReserveActors.topUp.selector;
        actions[3] = ReserveActors.close.selector;
        actions[4] = ReserveActors.requestClose.selector;
        actions[5] = ReserveActors.withdraw.selector;
        actions[6] = ReserveActors.steal.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(actors), actions);
    }

    function invariant_theReserveHoldsExactlyWhatOpenChannelsAreOwed() public view {
        uint256 owed = 0;
        for (uint256 i = 0; i < actors.channels(); i++) {
            IReserve.ChannelState memory state = RESERVE.getChannelState(actors.ids(i));
            owed += state.deposit - state.settled;
        }
        vm.assertEq(_balance(address(RESERVE)), owed, "reserve's balance");
    }

    function invariant_moneyIsNeitherMadeNorLost() public view {
        vm.assertEq(actors.everybodysMoney(), moneyAtStart, "sum of all balances");
    }

    function invariant_payeesHoldExactlyWhatVouchersGaveThem() public view {
        for (uint256 i = 0; i < 2; i++) {
            address account = actors.payees(i);
            vm.assertEq(_balance(account), actors.captured(account), "payee's balance");
        }
    }

    function invariant_nobodyElseIsEverPaid() public view {
        vm.assertEq(_balance(operator) + _balance(stranger) + _balance(delegate), 0, "others' balance");
        vm.assertEq(actors.thefts(), 0, "thefts");
    }

    function invariant_settledNeverExceedsDeposit() public view {
        for (uint256 i = 0; i < actors.channels(); i++) {
            IReserve.ChannelState memory state = RESERVE.getChannelState(actors.ids(i));
            vm.assertLe(state.settled, state.deposit, "settled");
        }
    }

    function invariant_settledNeverDecreases() public view {
        vm.assertEq(actors.settledDecreases(), 0, "decreases");
    }

    function invariant_theBooksAgreeWithTheHistory() public view {
        for (uint256 i = 0; i < actors.channels(); i++) {
            (uint256 settled, uint256 deposit, bool ended) = actors.ghost(i);
            if (ended) continue;
            IReserve.ChannelState memory state = RESERVE.getChannelState(actors.ids(i));
            vm.assertEq(state.settled, settled, "settled");
            vm.assertEq(state.deposit, deposit, "deposit");
        }
    }

    function invariant_endedChannelsLeaveNothingInStorage() public view {
        for (uint256 i = 0; i < actors.channels(); i++) {
            (,, bool ended) = actors.ghost(i);
            if (ended) vm.assertEq(_slot(actors.ids(i)), 0, "slot");
        }
    }

    function invariant_theReservedBitsStayZero() public view {
        for (uint256 i = 0; i < actors.channels(); i++) {
            vm.assertEq(_slot(actors.ids(i)) >> 224, 0, "bits 224 to 255");
        }
    }
}
