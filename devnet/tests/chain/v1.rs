//! The v1 escrow, used like v1 clients do: one transaction approves and opens.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue;
use farebox_contracts::{
    tip20::{ITIP20, PATH_USD},
    v1::ITempoStreamChannel::*,
};

use crate::client::{Chain, call, sign_64, sign_65};

const DEPOSIT: u128 = 1_000_000;

#[tokio::test]
async fn approve_open_settle_and_close() {
    let chain = Chain::start().await;
    let escrow = chain.info().escrow_v1;
    let (payer, payee) = (chain.account(0), chain.account(1));
    let salt = B256::repeat_byte(3);
    let approve = ITIP20::approveCall { spender: escrow, amount: U256::from(DEPOSIT) };
    let open = openCall {
        payee: payee.address,
        token: PATH_USD,
        deposit: DEPOSIT,
        salt,
        authorizedSigner: Address::ZERO,
    };
    let receipt = chain.send(payer, vec![call(PATH_USD, approve), call(escrow, open)]).await;
    let opened: ChannelOpened = receipt.event(escrow);
    let preimage = (
        payer.address,
        payee.address,
        PATH_USD,
        salt,
        Address::ZERO,
        escrow,
        U256::from(chain.info().chain_id),
    );
    let id = keccak256(preimage.abi_encode());
    assert_eq!(opened.channelId, id);
    assert_eq!(opened.deposit, U256::from(DEPOSIT));

    let digest = chain.read(escrow, getVoucherDigestCall { channelId: id, cumulativeAmount: 300 }).await;
    let settle = settleCall { channelId: id, cumulativeAmount: 300, signature: sign_65(payer, digest) };
    let settled: Settled = chain.send(payee, vec![call(escrow, settle)]).await.event(escrow);
    assert_eq!(settled.newSettled, U256::from(300));

    let digest = chain.read(escrow, getVoucherDigestCall { channelId: id, cumulativeAmount: 800 }).await;
    let close = closeCall { channelId: id, cumulativeAmount: 800, signature: sign_64(payer, digest) };
    let closed: ChannelClosed = chain.send(payee, vec![call(escrow, close)]).await.event(escrow);
    assert_eq!(closed.settledToPayee, U256::from(800));
    assert_eq!(closed.refundedToPayer, U256::from(DEPOSIT - 800));

    let tombstone = chain.read(escrow, getChannelCall { channelId: id }).await;
    assert_eq!(tombstone, Channel { finalized: true, ..Channel::default() });
    assert_eq!(chain.balance(escrow).await, U256::ZERO);
    chain.devnet.stop().await;
}
