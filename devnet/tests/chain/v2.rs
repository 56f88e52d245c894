//! The v2 reserve, used with real transactions through the proxy.

use alloy_consensus::{SignableTransaction, crypto::secp256k1::sign_message};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, aliases::U96, keccak256};
use alloy_sol_types::SolValue;
use farebox_contracts::{
    tip20::PATH_USD,
    v2::{ITIP20ChannelReserve::*, RESERVE},
};
use farebox_devnet::Account;

use crate::client::{Chain, Receipt, Signed, call, sign_65};

pub const DEPOSIT: u64 = 1_000_000;

pub fn open_call(payee: Address, salt: u8) -> openCall {
    openCall {
        payee,
        operator: Address::ZERO,
        token: PATH_USD,
        deposit: U96::from(DEPOSIT),
        salt: B256::repeat_byte(salt),
        authorizedSigner: Address::ZERO,
    }
}

pub fn descriptor(payer: Address, open: &openCall, signed: &Signed) -> ChannelDescriptor {
    ChannelDescriptor {
        payer,
        payee: open.payee,
        operator: open.operator,
        token: open.token,
        salt: open.salt,
        authorizedSigner: open.authorizedSigner,
        expiringNonceHash: signed.expiring_nonce_hash,
    }
}

/// Our own computation of the channel id.
pub fn channel_id(chain: &Chain, descriptor: &ChannelDescriptor) -> B256 {
    keccak256((descriptor.clone(), RESERVE, U256::from(chain.info().chain_id)).abi_encode())
}

/// Our own computation of the voucher digest.
fn voucher_digest(chain: &Chain, id: B256, amount: u64) -> B256 {
    let domain_type = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let domain = keccak256(
        (
            keccak256(domain_type),
            keccak256("TIP20 Channel Reserve"),
            keccak256("1"),
            U256::from(chain.info().chain_id),
            RESERVE,
        )
            .abi_encode(),
    );
    let voucher_type = keccak256("Voucher(bytes32 channelId,uint96 cumulativeAmount)");
    let voucher = keccak256((voucher_type, id, U256::from(amount)).abi_encode());
    keccak256([&[0x19, 0x01], domain.as_slice(), voucher.as_slice()].concat())
}

pub fn voucher(chain: &Chain, signer: Account, id: B256, amount: u64) -> Bytes {
    sign_65(signer, voucher_digest(chain, id, amount))
}

/// Opens a channel and insists that its id is the one that we compute.
pub async fn open(chain: &Chain, payer: Account, payee: Address, salt: u8) -> (ChannelDescriptor, B256) {
    let open = open_call(payee, salt);
    let signed = chain.sign(payer, vec![call(RESERVE, open.clone())]).await;
    let receipt = chain.submit(&signed).await;
    let descriptor = descriptor(payer.address, &open, &signed);
    assert_opened(chain, &receipt, &descriptor);
    let id = channel_id(chain, &descriptor);
    (descriptor, id)
}

fn assert_opened(chain: &Chain, receipt: &Receipt, descriptor: &ChannelDescriptor) {
    let opened: Vec<ChannelOpened> = receipt.events(RESERVE);
    let expected = ChannelOpened {
        channelId: channel_id(chain, descriptor),
        payer: descriptor.payer,
        payee: descriptor.payee,
        operator: descriptor.operator,
        token: descriptor.token,
        authorizedSigner: descriptor.authorizedSigner,
        salt: descriptor.salt,
        expiringNonceHash: descriptor.expiringNonceHash,
        deposit: U96::from(DEPOSIT),
    };
    assert!(opened.contains(&expected), "{opened:#?} lacks {expected:#?}");
}

#[tokio::test]
async fn a_channel_lives_from_open_to_close() {
    let chain = Chain::start().await;
    let (payer, payee) = (chain.account(0), chain.account(1));
    let (descriptor, id) = open(&chain, payer, payee.address, 1).await;
    let reserve_before = chain.balance(RESERVE).await;
    assert_eq!(reserve_before, U256::from(DEPOSIT));

    let settle = settleCall {
        descriptor: descriptor.clone(),
        cumulativeAmount: U96::from(300),
        signature: voucher(&chain, payer, id, 300),
    };
    let settled: Settled = chain.send(payee, vec![call(RESERVE, settle)]).await.event(RESERVE);
    assert_eq!((settled.channelId, settled.deltaPaid), (id, U96::from(300)));

    let top_up = topUpCall { descriptor: descriptor.clone(), additionalDeposit: U96::from(500) };
    let topped: TopUp = chain.send(payer, vec![call(RESERVE, top_up)]).await.event(RESERVE);
    assert_eq!(topped.newDeposit, U96::from(DEPOSIT + 500));

    let close = closeCall {
        descriptor,
        cumulativeAmount: U96::from(900),
        captureAmount: U96::from(800),
        signature: voucher(&chain, payer, id, 900),
    };
    let closed: ChannelClosed = chain.send(payee, vec![call(RESERVE, close)]).await.event(RESERVE);
    assert_eq!(closed.settledToPayee, U96::from(800));
    assert_eq!(closed.refundedToPayer, U96::from(DEPOSIT + 500 - 800));

    let state = chain.read(RESERVE, getChannelStateCall { channelId: id }).await;
    assert_eq!(state, ChannelState::default());
    assert_eq!(chain.balance(RESERVE).await, U256::ZERO);
    chain.devnet.stop().await;
}

#[tokio::test]
async fn a_foreign_voucher_settles_nothing() {
    let chain = Chain::start().await;
    let (payer, payee, stranger) = (chain.account(0), chain.account(1), chain.account(2));
    let (descriptor, id) = open(&chain, payer, payee.address, 1).await;
    let settle = settleCall {
        descriptor,
        cumulativeAmount: U96::from(300),
        signature: voucher(&chain, stranger, id, 300),
    };
    let signed = chain.sign(payee, vec![call(RESERVE, settle)]).await;
    let receipt = chain.rpc.call("eth_sendRawTransactionSync", serde_json::json!([signed.raw])).await;
    assert_eq!(receipt["status"], "0x0", "{receipt}");
    let state = chain.read(RESERVE, getChannelStateCall { channelId: id }).await;
    assert_eq!(state.settled, U96::ZERO);
}

#[tokio::test]
async fn opens_at_the_same_time_keep_their_own_hashes() {
    let chain = Chain::start().await;
    let payee = chain.account(9).address;
    // Two senders with the same salt, and one of them with a second salt, all in flight together.
    let plan = [(chain.account(0), 1), (chain.account(1), 1), (chain.account(0), 2)];
    let mut opens = Vec::new();
    for (payer, salt) in plan {
        let open = open_call(payee, salt);
        let signed = chain.sign(payer, vec![call(RESERVE, open.clone())]).await;
        opens.push((descriptor(payer.address, &open, &signed), signed));
    }
    let (a, b, c) =
        tokio::join!(chain.submit(&opens[0].1), chain.submit(&opens[1].1), chain.submit(&opens[2].1));
    for (receipt, (descriptor, _)) in [a, b, c].iter().zip(&opens) {
        assert_opened(&chain, receipt, descriptor);
    }
}

#[tokio::test]
async fn one_transaction_opens_several_channels() {
    let chain = Chain::start().await;
    let payer = chain.account(0);
    let opens = [open_call(chain.account(1).address, 1), open_call(chain.account(2).address, 1)];
    let calls = opens.iter().map(|open| call(RESERVE, open.clone())).collect();
    let signed = chain.sign(payer, calls).await;
    let receipt = chain.submit(&signed).await;
    for open in &opens {
        assert_opened(&chain, &receipt, &descriptor(payer.address, open, &signed));
    }
}

/// The sender does not sign the fee payer's part, so the hash must not depend on it.
#[tokio::test]
async fn a_sponsored_open_binds_what_the_sender_signed() {
    let chain = Chain::start().await;
    let (payer, sponsor) = (chain.account(0), chain.account(5));
    let open = open_call(chain.account(1).address, 1);
    let mut transaction = chain.unsigned(vec![call(RESERVE, open.clone())]).await;
    transaction.fee_payer_signature = Some(Signature::new(U256::ZERO, U256::ZERO, false));
    let sender_hash = transaction.signature_hash();
    let sponsor_hash = transaction.fee_payer_signature_hash(payer.address);
    transaction.fee_payer_signature = Some(sign_message(sponsor.private_key, sponsor_hash).unwrap());
    assert_eq!(transaction.signature_hash(), sender_hash, "the sender's payload omits the sponsor");

    let mut payload = Vec::new();
    transaction.encode_for_signing(&mut payload);
    assert_eq!(keccak256(&payload), sender_hash);
    let (payer_before, sponsor_before) =
        (chain.balance(payer.address).await, chain.balance(sponsor.address).await);
    let signed = chain.seal(payer, transaction);
    let receipt = chain.submit(&signed).await;
    assert_opened(&chain, &receipt, &descriptor(payer.address, &open, &signed));
    assert_eq!(chain.balance(payer.address).await, payer_before - U256::from(DEPOSIT), "no fee");
    assert!(chain.balance(sponsor.address).await < sponsor_before, "the sponsor paid the fee");
}

#[tokio::test]
async fn a_payer_gets_the_rest_back_after_the_grace_period() {
    let chain = Chain::start().await;
    let payer = chain.account(0);
    let (descriptor, id) = open(&chain, payer, chain.account(1).address, 1).await;
    let request = requestCloseCall { descriptor: descriptor.clone() };
    let requested: CloseRequested = chain.send(payer, vec![call(RESERVE, request)]).await.event(RESERVE);
    assert_eq!(requested.channelId, id);

    let withdraw = withdrawCall { descriptor };
    let early = chain.sign(payer, vec![call(RESERVE, withdraw.clone())]).await;
    let receipt = chain.rpc.call("eth_sendRawTransactionSync", serde_json::json!([early.raw])).await;
    assert_eq!(receipt["status"], "0x0", "the grace period still runs: {receipt}");

    chain.rpc.call("evm_increaseTime", serde_json::json!([900])).await;
    chain.rpc.call("evm_mine", serde_json::json!([])).await;
    let closed: ChannelClosed = chain.send(payer, vec![call(RESERVE, withdraw)]).await.event(RESERVE);
    assert_eq!(closed.refundedToPayer, U96::from(DEPOSIT));
}
