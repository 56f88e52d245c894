//! A payer: signs opens, top-ups, close requests and vouchers as real clients do.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::primitives::{Address, B256, Signature, TxKind, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use alloy_rlp::Header;
use farebox_contracts::tip20::ITIP20;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_contracts::v2::ITIP20ChannelReserve;
use farebox_core::channel::{Identity, Terms};
use farebox_core::units::{Amount, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, Voucher, v2};
use farebox_settlement::DecodedOpen;
use tempo_primitives::transaction::{Call, PrimitiveSignature};
use tempo_primitives::{TempoSignature, TempoTransaction};

/// How long the payer's transactions are valid.
const VALIDITY_SECONDS: u64 = 25;

/// A payer with a key, on one chain.
#[derive(Clone)]
pub struct Payer {
    pub key: PrivateKeySigner,
    pub chain_id: ChainId,
    pub token: Address,
}

/// How a transaction asks for a fee payer.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Type 0x76 with a signature of zeros.
    EmptySignature,
    /// Type 0x76 with the byte 0x00 in the signature's place.
    Placeholder,
    /// Type 0x78 with a sender's address there.
    Envelope(Address),
}

/// Turns the placeholder's form into an envelope that names `sender`.
fn envelope(placeholder: &[u8], sender: Address) -> Vec<u8> {
    const FEE_PAYER_FIELD: usize = 11;
    let mut rest = &placeholder[1..];
    let fields = Header::decode_bytes(&mut rest, true).expect("a list");
    let mut tail = fields;
    for _ in 0..FEE_PAYER_FIELD {
        let Header { payload_length, .. } = Header::decode(&mut tail).expect("a field");
        tail = &tail[payload_length..];
    }
    let before = &fields[..fields.len() - tail.len()];
    let mut list = before.to_vec();
    list.push(0x94);
    list.extend_from_slice(sender.as_slice());
    list.extend_from_slice(&tail[1..]);
    let mut bytes = vec![0x78];
    Header { list: true, payload_length: list.len() }.encode(&mut bytes);
    bytes.extend(list);
    bytes
}

/// A signed open, and the channel that it makes.
#[derive(Clone)]
pub struct Opened {
    pub bytes: Vec<u8>,
    pub channel: ChannelId,
    pub identity: Identity,
}

impl Opened {
    pub fn descriptor(&self) -> v2::Descriptor {
        match self.identity.terms {
            Terms::V2(descriptor) => descriptor,
            Terms::V1(_) => panic!("a v1 channel has no descriptor"),
        }
    }
}

fn call<C: SolCall>(to: Address, call: C) -> Call {
    Call { to: TxKind::Call(to), value: U256::ZERO, input: call.abi_encode().into() }
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

impl Payer {
    pub fn new(key: B256, chain_id: u64, token: Address) -> Self {
        let key = PrivateKeySigner::from_bytes(&key).expect("a key");
        Self { key, chain_id: ChainId(chain_id), token }
    }

    /// Signs calls as one transaction that is valid until `valid_before`.
    pub fn sign_until(&self, calls: Vec<Call>, valid_before: u64) -> Vec<u8> {
        let tx = TempoTransaction {
            chain_id: self.chain_id.0,
            max_priority_fee_per_gas: 1_000_000_000,
            max_fee_per_gas: 100_000_000_000,
            gas_limit: 2_000_000,
            calls,
            nonce_key: U256::MAX,
            valid_before: NonZeroU64::new(valid_before),
            // A time long past, so that equal calls in one second are different transactions.
            valid_after: NonZeroU64::new(fresh()),
            fee_token: Some(self.token),
            ..TempoTransaction::default()
        };
        let signature = self.key.sign_hash_sync(&tx.signature_hash()).expect("a key signs");
        let mut bytes = Vec::new();
        tx.into_signed(TempoSignature::Primitive(PrimitiveSignature::Secp256k1(signature)))
            .eip2718_encode(&mut bytes);
        bytes
    }

    pub fn sign(&self, calls: Vec<Call>) -> Vec<u8> {
        self.sign_until(calls, now() + VALIDITY_SECONDS)
    }

    /// The call of a v2 open.
    pub fn open_call(&self, escrow: Address, payee: Address, operator: Address, deposit: u128) -> Call {
        let open = ITIP20ChannelReserve::openCall {
            payee,
            operator,
            token: self.token,
            deposit: alloy::primitives::aliases::U96::from(deposit),
            salt: fresh_salt(),
            authorizedSigner: Address::ZERO,
        };
        call(escrow, open)
    }

    /// A signed v2 open.
    pub fn open_v2(&self, escrow: Address, payee: Address, operator: Address, deposit: u128) -> Opened {
        opened(self.sign(vec![self.open_call(escrow, payee, operator, deposit)]))
    }

    /// A signed v1 open.
    pub fn open_v1(&self, escrow: Address, payee: Address, deposit: u128) -> Opened {
        opened(self.sign(self.open_calls_v1(escrow, payee, deposit, deposit)))
    }

    /// The calls of a v1 open that approves `approved`.
    pub fn open_calls_v1(&self, escrow: Address, payee: Address, deposit: u128, approved: u128) -> Vec<Call> {
        let open = ITempoStreamChannel::openCall {
            payee,
            token: self.token,
            deposit,
            salt: fresh_salt(),
            authorizedSigner: Address::ZERO,
        };
        vec![self.approve(escrow, approved), call(escrow, open)]
    }

    /// The calls of a top-up.
    pub fn top_up_calls(&self, opened: &Opened, amount: u128) -> Vec<Call> {
        let escrow = opened.identity.escrow;
        match opened.identity.terms {
            Terms::V1(_) => {
                let additional = U256::from(amount);
                let channel = opened.channel.0;
                let top_up =
                    ITempoStreamChannel::topUpCall { channelId: channel, additionalDeposit: additional };
                vec![self.approve(escrow, amount), call(escrow, top_up)]
            }
            Terms::V2(descriptor) => {
                let additional = alloy::primitives::aliases::U96::from(amount);
                let descriptor = abi(&descriptor);
                let top_up = ITIP20ChannelReserve::topUpCall { descriptor, additionalDeposit: additional };
                vec![call(escrow, top_up)]
            }
        }
    }

    /// A transfer of the token with a memo.
    pub fn transfer_with_memo(&self, to: Address, amount: u128, memo: B256) -> Call {
        call(self.token, ITIP20::transferWithMemoCall { to, amount: U256::from(amount), memo })
    }

    /// A transfer of the token.
    pub fn transfer(&self, to: Address, amount: u128) -> Call {
        call(self.token, ITIP20::transferCall { to, amount: U256::from(amount) })
    }

    /// Signs calls for a fee payer, after `change`.
    pub fn sponsored(
        &self,
        form: Form,
        calls: Vec<Call>,
        change: impl FnOnce(&mut TempoTransaction),
    ) -> Vec<u8> {
        self.sponsored_by(form, calls, change, |tx| {
            let signature = self.key.sign_hash_sync(&tx.signature_hash()).expect("a key signs");
            TempoSignature::Primitive(PrimitiveSignature::Secp256k1(signature))
        })
    }

    /// The same with a signature of the caller's.
    pub fn sponsored_by(
        &self,
        form: Form,
        calls: Vec<Call>,
        change: impl FnOnce(&mut TempoTransaction),
        sign: impl FnOnce(&TempoTransaction) -> TempoSignature,
    ) -> Vec<u8> {
        let mut tx = TempoTransaction {
            chain_id: self.chain_id.0,
            max_priority_fee_per_gas: 1_000_000_000,
            max_fee_per_gas: 50_000_000_000,
            gas_limit: 2_000_000,
            calls,
            nonce_key: U256::MAX,
            valid_before: NonZeroU64::new(now() + VALIDITY_SECONDS),
            valid_after: NonZeroU64::new(fresh()),
            fee_payer_signature: Some(Signature::new(U256::ZERO, U256::ZERO, false)),
            ..TempoTransaction::default()
        };
        change(&mut tx);
        let signature = sign(&tx);
        let signed = tx.into_signed(signature);
        let mut bytes = Vec::new();
        match form {
            Form::EmptySignature => signed.eip2718_encode(&mut bytes),
            Form::Placeholder => signed.encode_for_fee_payer_service(&mut bytes),
            Form::Envelope(sender) => {
                signed.encode_for_fee_payer_service(&mut bytes);
                bytes = envelope(&bytes, sender);
            }
        }
        bytes
    }

    fn approve(&self, spender: Address, amount: u128) -> Call {
        call(self.token, ITIP20::approveCall { spender, amount: U256::from(amount) })
    }

    /// A signed top-up.
    pub fn top_up(&self, opened: &Opened, amount: u128) -> Vec<u8> {
        self.sign(self.top_up_calls(opened, amount))
    }

    /// A signed close request.
    pub fn request_close(&self, opened: &Opened) -> Vec<u8> {
        let escrow = opened.identity.escrow;
        self.sign(vec![match opened.identity.terms {
            Terms::V1(_) => {
                call(escrow, ITempoStreamChannel::requestCloseCall { channelId: opened.channel.0 })
            }
            Terms::V2(descriptor) => {
                call(escrow, ITIP20ChannelReserve::requestCloseCall { descriptor: abi(&descriptor) })
            }
        }])
    }

    /// A signed withdrawal from a v2 channel.
    pub fn withdraw(&self, opened: &Opened, valid_before: u64) -> Vec<u8> {
        let descriptor = abi(&opened.descriptor());
        let withdraw = call(opened.identity.escrow, ITIP20ChannelReserve::withdrawCall { descriptor });
        self.sign_until(vec![withdraw], valid_before)
    }

    /// A close by whoever holds this key, that captures nothing.
    pub fn close_for_nothing(&self, opened: &Opened) -> Vec<u8> {
        let close = ITIP20ChannelReserve::closeCall {
            descriptor: abi(&opened.descriptor()),
            cumulativeAmount: Default::default(),
            captureAmount: Default::default(),
            signature: Default::default(),
        };
        self.sign(vec![call(opened.identity.escrow, close)])
    }

    /// A signed voucher.
    pub fn voucher(&self, opened: &Opened, amount: u128) -> AnySignedVoucher {
        let identity = &opened.identity;
        let domain = AnyDomain::new(identity.protocol(), identity.chain_id, identity.escrow);
        let voucher = Voucher { channel_id: opened.channel, cumulative_amount: Amount::new(amount) };
        let digest = domain.digest(&voucher).expect("an amount in range");
        let signature = self.key.sign_hash_sync(&digest).expect("a key signs");
        domain.parse(voucher, &signature.as_bytes()).expect("a well-formed voucher")
    }
}

/// Reads an open that was just signed.
pub fn opened(bytes: Vec<u8>) -> Opened {
    let open = DecodedOpen::decode(&bytes).expect("our own open");
    Opened { bytes, channel: open.channel, identity: open.identity }
}

/// A number that no transaction and no channel of this process had before.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn fresh_salt() -> B256 {
    B256::left_padding_from(&fresh().to_be_bytes())
}

fn abi(descriptor: &v2::Descriptor) -> ITIP20ChannelReserve::ChannelDescriptor {
    ITIP20ChannelReserve::ChannelDescriptor {
        payer: descriptor.payer,
        payee: descriptor.payee,
        operator: descriptor.operator,
        token: descriptor.token,
        salt: descriptor.salt,
        authorizedSigner: descriptor.authorized_signer,
        expiringNonceHash: descriptor.expiring_nonce_hash,
    }
}
