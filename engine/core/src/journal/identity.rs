//! A channel's terms as bytes: inside `Opened` records, and alone in the ledger's table of identities.
//!
//! Alone: magic `FBXI`, version (2), terms, checksum (8). The terms: chain id (8), escrow (20), protocol
//! (1: v1 = 1, v2 = 2), then v1: payer, payee, token, salt, authorized signer; v2: payer, payee, operator,
//! token, salt, authorized signer, expiring nonce hash.

use alloc::vec::Vec;

use super::codec::{Malformed, Put, Reader};
use super::state::{StoredError, protocol_from_tag, protocol_tag, seal, unseal};
use crate::channel::{Identity, Terms};
use crate::units::ChainId;
use crate::voucher::{ProtocolVersion, v1, v2};

const MAGIC: [u8; 4] = *b"FBXI";
const VERSION: u16 = 1;

/// Appends an identity to `out`.
pub fn encode_identity(out: &mut Vec<u8>, identity: &Identity) {
    seal(out, MAGIC, VERSION, |out| encode_body(out, identity));
}

/// Reads what [`encode_identity`] wrote.
///
/// # Errors
///
/// [`StoredError`] for damaged or unknown bytes.
pub fn decode_identity(bytes: &[u8]) -> Result<Identity, StoredError> {
    let (mut body, _) = unseal(bytes, MAGIC, &[VERSION])?;
    let identity = decode_body(&mut body)?;
    body.end()?;
    Ok(identity)
}

pub(super) fn encode_body(out: &mut Vec<u8>, identity: &Identity) {
    out.u64(identity.chain_id.0);
    out.put(identity.escrow.as_slice());
    out.u8(protocol_tag(identity.protocol()));
    match &identity.terms {
        Terms::V1(v1::Terms { payer, payee, token, salt, authorized_signer }) => {
            out.put(payer.as_slice());
            out.put(payee.as_slice());
            out.put(token.as_slice());
            out.put(salt.as_slice());
            out.put(authorized_signer.as_slice());
        }
        Terms::V2(descriptor) => {
            out.put(descriptor.payer.as_slice());
            out.put(descriptor.payee.as_slice());
            out.put(descriptor.operator.as_slice());
            out.put(descriptor.token.as_slice());
            out.put(descriptor.salt.as_slice());
            out.put(descriptor.authorized_signer.as_slice());
            out.put(descriptor.expiring_nonce_hash.as_slice());
        }
    }
}

pub(super) fn decode_body(body: &mut Reader<'_>) -> Result<Identity, Malformed> {
    let chain_id = ChainId(body.u64()?);
    let escrow = body.address()?;
    let terms = match protocol_from_tag(body.u8()?)? {
        ProtocolVersion::V1 => Terms::V1(v1::Terms {
            payer: body.address()?,
            payee: body.address()?,
            token: body.address()?,
            salt: body.hash()?,
            authorized_signer: body.address()?,
        }),
        ProtocolVersion::V2 => Terms::V2(v2::Descriptor {
            payer: body.address()?,
            payee: body.address()?,
            operator: body.address()?,
            token: body.address()?,
            salt: body.hash()?,
            authorized_signer: body.address()?,
            expiring_nonce_hash: body.hash()?,
        }),
    };
    Ok(Identity { chain_id, escrow, terms })
}
