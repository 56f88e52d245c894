//! The part of a TIP-20 token that payments need: [`ITIP20`].

use alloy_primitives::{Address, address};
use alloy_sol_types::sol;

/// pathUSD, the token that every Tempo chain has from its first block.
pub const PATH_USD: Address = address!("0x20c0000000000000000000000000000000000000");

sol! {
    /// A TIP-20 token. Amounts are base units.
    #[derive(Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    interface ITIP20 {
        event Transfer(address indexed from, address indexed to, uint256 amount);

        function symbol() external view returns (string memory);
        function decimals() external pure returns (uint8);
        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 amount) external returns (bool);
        function transferWithMemo(address to, uint256 amount, bytes32 memo) external;
        function approve(address spender, uint256 amount) external returns (bool);
        function allowance(address owner, address spender) external view returns (uint256);
    }
}
