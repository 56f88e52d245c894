//! The envelope: bytes in, sender, hash and calls out.
//!
//! Three forms ask for fee sponsorship, and all are read: type 0x76 with the fee payer's place holding
//! `0x00` (the draft's form), with a zero signature, and type 0x78, whose fee payer's place holds the
//! sender's address (what deployed clients send).

use std::fmt;
use std::num::NonZeroU64;

use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, hex};
use alloy_rlp::{EMPTY_STRING_CODE, Header};
use farebox_core::units::{ChainId, UnixSeconds};
use tempo_primitives::transaction::FEE_PAYER_SIGNATURE_MARKER;
use tempo_primitives::{AASigned, TempoSignature};

use super::TransactionError;

/// The most bytes of a transaction that are read: a WebAuthn signature, a key authorization and two calls
/// fit several times.
pub const TRANSACTION_BYTES_MAX: usize = 16 * 1_024;

/// A Tempo transaction (tempo-primitives calls it an account abstraction transaction).
const TYPE_TEMPO: u8 = 0x76;
/// A Tempo transaction on its way to a fee payer.
const TYPE_FOR_FEE_PAYER: u8 = 0x78;
/// The place of the fee payer's signature among the fields of a Tempo transaction.
const FEE_PAYER_FIELD: usize = 11;
/// What the draft puts there as a placeholder: a zero byte.
const PLACEHOLDER_BYTE: u8 = 0x00;

/// Who pays the fees of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sponsorship {
    /// The sender.
    None,
    /// Somebody shall, and has not signed yet: the transaction cannot be broadcast.
    Wanted,
    /// This account, which signed.
    Paid(Address),
}

/// One call of a transaction, without native value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCall {
    /// The contract.
    pub to: Address,
    /// Selector and arguments.
    pub input: Bytes,
}

/// A well-formed Tempo transaction whose signature names its sender.
///
/// For a sender with access keys that is the account that the signature claims; only the chain knows
/// whether the key may act for it, so nothing is believed before the receipt.
#[derive(Clone)]
pub struct ClientTransaction {
    /// Who signed.
    pub sender: Address,
    /// `keccak256(encodeForSigning ++ sender)`: what a v2 channel id holds (TIP-1034).
    pub expiring_nonce_hash: B256,
    /// The hash under which the chain will know it; `None` while a fee payer's signature is missing.
    pub tx_hash: Option<B256>,
    /// The chain that it is for.
    pub chain_id: ChainId,
    /// Whether its nonce is an expiring one.
    pub has_expiring_nonce: bool,
    /// No block before this time can hold it.
    pub valid_after: Option<UnixSeconds>,
    /// No block at or after this time can hold it.
    pub valid_before: Option<UnixSeconds>,
    /// Who pays the fees.
    pub sponsorship: Sponsorship,
    /// In which token.
    pub fee_token: Option<Address>,
    /// How much gas it may use.
    pub gas_limit: u64,
    /// What a unit of gas may cost in all, in 10^-18 dollars.
    pub gas_price: u128,
    /// What the block's proposer is offered of it.
    pub priority_fee: u128,
    /// Whether an access key signed for the sender.
    pub is_by_access_key: bool,
    /// Whether it authorizes a new access key.
    pub authorizes_key: bool,
    /// What it does, in order.
    pub calls: Vec<ClientCall>,
    signed: AASigned,
}

impl fmt::Debug for ClientTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTransaction")
            .field("sender", &self.sender)
            .field("tx_hash", &self.tx_hash)
            .field("calls", &self.calls.len())
            .finish_non_exhaustive()
    }
}

impl ClientTransaction {
    /// Reads hex with the prefix `0x`, as it comes in a credential.
    pub fn parse(text: &str) -> Result<Self, TransactionError> {
        let digits = text.strip_prefix("0x").ok_or(TransactionError::NotHex)?;
        let max_bytes = TRANSACTION_BYTES_MAX;
        if digits.len() / 2 > max_bytes {
            return Err(TransactionError::TooLong { found_bytes: digits.len() / 2, max_bytes });
        }
        Self::decode(&hex::decode(digits).map_err(|_| TransactionError::NotHex)?)
    }

    /// Reads the bytes of a signed transaction.
    pub fn decode(bytes: &[u8]) -> Result<Self, TransactionError> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            let max_bytes = TRANSACTION_BYTES_MAX;
            return Err(TransactionError::TooLong { found_bytes: bytes.len(), max_bytes });
        }
        let (kind, body) = bytes.split_first().ok_or(TransactionError::Empty)?;
        let (signed, claimed_sender) = match *kind {
            TYPE_TEMPO => (decode_tempo(body)?, None),
            TYPE_FOR_FEE_PAYER => {
                let field = FeePayerField::find(body)?;
                let claimed = Address::try_from(field.payload).map_err(|_| malformed("no sender address"))?;
                (with_marker(decode_body(&field.emptied())?), Some(claimed))
            }
            found => return Err(TransactionError::UnknownType { found }),
        };
        let transaction = Self::from_signed(signed)?;
        match claimed_sender {
            Some(claimed) if claimed != transaction.sender => {
                Err(TransactionError::SenderMismatch { claimed, recovered: transaction.sender })
            }
            _ => Ok(transaction),
        }
    }

    fn from_signed(signed: AASigned) -> Result<Self, TransactionError> {
        let (sender, _) =
            signed.recover_signer_with_expiring_nonce_hash().map_err(|_| TransactionError::BadSignature)?;
        let tx = signed.tx();
        check_lists(tx.access_list.0.len(), tx.tempo_authorization_list.len())?;
        let sponsorship = match tx.fee_payer_signature {
            None => Sponsorship::None,
            Some(FEE_PAYER_SIGNATURE_MARKER) => Sponsorship::Wanted,
            Some(_) => {
                Sponsorship::Paid(tx.recover_fee_payer(sender).map_err(|_| TransactionError::BadSignature)?)
            }
        };
        let seconds = |time: NonZeroU64| UnixSeconds(time.get());
        Ok(Self {
            sender,
            expiring_nonce_hash: signed.expiring_nonce_hash(sender),
            tx_hash: (sponsorship != Sponsorship::Wanted).then(|| *signed.hash()),
            chain_id: ChainId(tx.chain_id),
            has_expiring_nonce: tx.is_expiring_nonce_tx() && tx.nonce == 0 && tx.valid_before.is_some(),
            valid_after: tx.valid_after.map(seconds),
            valid_before: tx.valid_before.map(seconds),
            sponsorship,
            fee_token: tx.fee_token,
            gas_limit: tx.gas_limit,
            gas_price: tx.max_fee_per_gas,
            priority_fee: tx.max_priority_fee_per_gas,
            is_by_access_key: matches!(signed.signature(), TempoSignature::Keychain(_)),
            authorizes_key: tx.key_authorization.is_some(),
            calls: plain_calls(&signed)?,
            signed,
        })
    }

    /// The same transaction with a fee payer, whose signature is `sign`'s of the hash that it is given. `None` when
    /// nobody is asked for, or nobody signs.
    ///
    /// Neither the sender's signature nor what a v2 channel id holds of the transaction changes: both leave the fee
    /// payer and the fee token out.
    pub(crate) fn sponsored(
        &self,
        fee_token: Address,
        sign: impl FnOnce(B256) -> Option<Signature>,
    ) -> Option<Self> {
        if self.sponsorship != Sponsorship::Wanted {
            return None;
        }
        let (mut tx, signature, _) = self.signed.clone().into_parts();
        tx.fee_token = Some(fee_token);
        tx.fee_payer_signature = Some(sign(tx.fee_payer_signature_hash(self.sender))?);
        let sponsored = Self::from_signed(tx.into_signed(signature)).ok()?;
        let is_same = sponsored.sender == self.sender
            && sponsored.expiring_nonce_hash == self.expiring_nonce_hash
            && sponsored.calls == self.calls;
        is_same.then_some(sponsored)
    }

    /// The bytes to broadcast: the canonical encoding, to which [`Self::tx_hash`] belongs.
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.signed.eip2718_encode(&mut bytes);
        bytes
    }
}

/// The calls, none of which may create a contract or send native value.
fn plain_calls(signed: &AASigned) -> Result<Vec<ClientCall>, TransactionError> {
    let plain = |(index, call): (usize, &tempo_primitives::transaction::Call)| {
        let TxKind::Call(to) = call.to else { return Err(TransactionError::CreatesContract { index }) };
        if !call.value.is_zero() {
            return Err(TransactionError::ValueNotZero { index, value: call.value });
        }
        Ok(ClientCall { to, input: call.input.clone() })
    };
    signed.tx().calls.iter().enumerate().map(plain).collect()
}

fn check_lists(access: usize, authorizations: usize) -> Result<(), TransactionError> {
    if access > 0 {
        return Err(TransactionError::AccessList { count: access });
    }
    if authorizations > 0 {
        return Err(TransactionError::AuthorizationList { count: authorizations });
    }
    Ok(())
}

/// Decodes what follows the byte 0x76. The draft's placeholder is no legal signature, so it is taken out
/// and replaced by the marker that stands for it when the transaction is hashed.
fn decode_tempo(body: &[u8]) -> Result<AASigned, TransactionError> {
    let field = FeePayerField::find(body)?;
    if field.encoded == [PLACEHOLDER_BYTE] {
        return decode_body(&field.emptied()).map(with_marker);
    }
    decode_body(body)
}

fn decode_body(body: &[u8]) -> Result<AASigned, TransactionError> {
    let mut rest = body;
    let signed = AASigned::rlp_decode(&mut rest).map_err(|cause| TransactionError::Malformed { cause })?;
    match rest.len() {
        0 => Ok(signed),
        count => Err(TransactionError::TrailingBytes { count }),
    }
}

/// The transaction with the marker in the fee payer's place: the form that its sender signed.
fn with_marker(signed: AASigned) -> AASigned {
    let (mut tx, signature, _) = signed.into_parts();
    tx.fee_payer_signature = Some(FEE_PAYER_SIGNATURE_MARKER);
    tx.into_signed(signature)
}

fn malformed(cause: &'static str) -> TransactionError {
    TransactionError::Malformed { cause: alloy_rlp::Error::Custom(cause) }
}

/// The fee payer's field inside the list of fields.
struct FeePayerField<'a> {
    /// The fields before it.
    before: &'a [u8],
    /// The field with its header.
    encoded: &'a [u8],
    /// The field without its header.
    payload: &'a [u8],
    /// The fields after it.
    after: &'a [u8],
    /// Bytes behind the list, which only a broken transaction has.
    trailing: usize,
}

impl<'a> FeePayerField<'a> {
    fn find(body: &'a [u8]) -> Result<Self, TransactionError> {
        let find = || -> alloy_rlp::Result<Self> {
            let mut rest = body;
            let fields = Header::decode_bytes(&mut rest, true)?;
            let trailing = rest.len();
            let mut tail = fields;
            for _ in 0..FEE_PAYER_FIELD {
                skip(&mut tail)?;
            }
            let before = &fields[..fields.len() - tail.len()];
            let from_field = tail;
            let payload = skip(&mut tail)?;
            let encoded = &from_field[..from_field.len() - tail.len()];
            Ok(Self { before, encoded, payload, after: tail, trailing })
        };
        let field = find().map_err(|cause| TransactionError::Malformed { cause })?;
        match field.trailing {
            0 => Ok(field),
            count => Err(TransactionError::TrailingBytes { count }),
        }
    }

    /// The list with nothing in the field.
    fn emptied(&self) -> Vec<u8> {
        let payload_length = self.before.len() + 1 + self.after.len();
        let mut body = Vec::with_capacity(payload_length + 4);
        Header { list: true, payload_length }.encode(&mut body);
        body.extend_from_slice(self.before);
        body.push(EMPTY_STRING_CODE);
        body.extend_from_slice(self.after);
        body
    }
}

/// Steps over one item, and gives its payload.
fn skip<'a>(tail: &mut &'a [u8]) -> alloy_rlp::Result<&'a [u8]> {
    let Header { payload_length, .. } = Header::decode(tail)?;
    let (payload, rest) = tail.split_at_checked(payload_length).ok_or(alloy_rlp::Error::InputTooShort)?;
    *tail = rest;
    Ok(payload)
}
