// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ITempoStreamChannel as IEscrow} from "../src/ITempoStreamChannel.sol";
import {StreamChannelActors} from "./helpers/StreamChannelActors.sol";
import {TokenTest} from "./helpers/TokenTest.sol";
import {vm} from "./helpers/Vm.sol";

contract StreamChannelInvariantsTest is TokenTest {
    StreamChannelActors private actors;
    IEscrow private escrow;
    uint256 private moneyAtStart;

    function setUp() public {
        actors = new StreamChannelActors();
        actors.setUp();
        escrow = actors.escrow();
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
        actions[0] = StreamChannelActors.open.selector;
        actions[1] = StreamChannelActors.settle.selector;
        actions[2] = StreamChannelActors.topUp.selector;
        actions[3] = StreamChannelActors.close.selector;
        actions[4] = StreamChannelActors.requestClose.selector;
        actions[5] = StreamChannelActors.withdraw.selector;
        actions[6] = StreamChannelActors.steal.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(actors), actions);
    }

    function invariant_theEscrowHoldsExactlyWhatOpenChannelsAreOwed() public view {
        uint256 owed = 0;
        for (uint256 i = 0; i < actors.channels(); i++) {
            IEscrow.Channel memory channel = escrow.getChannel(actors.ids(i));
            owed += channel.deposit - channel.settled;
        }
        vm.assertEq(_balance(address(escrow)), owed, "escrow's balance");
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
        vm.assertEq(_balance(stranger) + _balance(delegate), 0, "others' balance");
        vm.assertEq(actors.thefts(), 0, "thefts");
    }

    function invariant_settledNeverExceedsDeposit() public view {
        for (uint256 i = 0; i < actors.channels(); i++) {
            IEscrow.Channel memory channel = escrow.getChannel(actors.ids(i));
            vm.assertLe(channel.settled, channel.deposit, "settled");
        }
    }

    function invariant_theBooksAgreeWithTheHistory() public view {
        for (uint256 i = 0; i < actors.channels(); i++) {
            (uint256 settled, uint256 deposit, bool ended) = actors.ghost(i);
            IEscrow.Channel memory channel = escrow.getChannel(actors.ids(i));
            vm.assertTrue(channel.finalized == ended, "finalized");
            if (ended) continue;
            vm.assertEq(channel.settled, settled, "settled");
            vm.assertEq(channel.deposit, deposit, "deposit");
        }
    }

    function invariant_endedChannelsKeepOnlyTheirMark() public view {
        bytes memory tombstone =
            abi.encode(IEscrow.Channel(true, 0, address(0), address(0), address(0), address(0), 0, 0));
        for (uint256 i = 0; i < actors.channels(); i++) {
            (,, bool ended) = actors.ghost(i);
            if (ended) vm.assertEq(abi.encode(escrow.getChannel(actors.ids(i))), tombstone, "tombstone");
        }
    }
}
