//! Batches in, verified vouchers out.
//!
//! secp256k1 vouchers of a batch go through [`farebox_crypto::Verifier`] together; P-256 and WebAuthn are
//! rare and go one by one. A batch gives each voucher the answer that it would get alone.

use alloc::vec::Vec;

use farebox_crypto::{Job, Outcome, Verifier, ecdsa, recover};

use super::domain::check_amount;
use super::p256::P256Signature;
use super::protocol::SignatureScheme;
use super::webauthn::WebAuthnSignature;
use super::{Domain, Protocol, Signature, Voucher, VoucherError};
use crate::units::{Address, Amount, B256, ChannelId};

/// Keeps the protocol traits closed.
pub(super) mod sealed {
    /// Implemented inside `voucher` only.
    pub trait Sealed {}
}

/// A voucher with a signature that is well-formed, and not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedVoucher<P: Protocol> {
    voucher: Voucher,
    signature: P::Signature,
}

impl<P: Protocol> SignedVoucher<P> {
    /// Checks that the amount fits the protocol, then reads the signature. No cryptography yet.
    pub fn parse(voucher: Voucher, signature: &[u8]) -> Result<Self, VoucherError> {
        check_amount::<P>(&voucher)?;
        Ok(Self { voucher, signature: P::Signature::parse(signature)? })
    }

    /// What was signed, if the signature holds.
    pub const fn voucher(&self) -> &Voucher {
        &self.voucher
    }

    /// The signature in the form that the escrow takes.
    pub fn to_chain_bytes(&self) -> Signature {
        self.signature.to_chain_bytes()
    }

    /// The question that the verifier answers.
    pub(super) fn task(&self, domain: &Domain<P>, expected_signer: Address) -> Task<'_> {
        Task {
            voucher: self.voucher,
            // The amount was checked by the only constructor.
            digest: domain.hash(&self.voucher),
            signature: self.signature.as_ref(),
            expected_signer,
        }
    }
}

/// A value that its signer signed. Only this module makes one, so holding it is the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    signature: Signature,
    signer: Address,
}

impl<T> Verified<T> {
    /// What was signed.
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// The signature in the form that the escrow takes.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Who signed.
    pub const fn signer(&self) -> Address {
        self.signer
    }

    /// Gives up the proof and keeps value and signature.
    pub fn into_parts(self) -> (T, Signature) {
        (self.value, self.signature)
    }
}

impl Verified<Voucher> {
    /// The channel that pays.
    pub const fn channel_id(&self) -> ChannelId {
        self.value.channel_id
    }

    /// Everything the payee may have had from the channel, this voucher included.
    pub const fn cumulative_amount(&self) -> Amount {
        self.value.cumulative_amount
    }

    /// A voucher that nobody signed, for unit tests of this crate's rules.
    #[cfg(test)]
    pub(crate) fn assumed(value: Voucher, signature: Signature, signer: Address) -> Self {
        Self { value, signature, signer }
    }
}

impl<P: Protocol> Domain<P> {
    /// Verifies vouchers for this domain, each against its expected signer: the one that the channel's
    /// terms name, never one that the client claims. One answer a voucher, in order.
    pub fn verify_batch(
        &self,
        verifier: &Verifier,
        vouchers: &[(&SignedVoucher<P>, Address)],
    ) -> Vec<Result<Verified<Voucher>, VoucherError>> {
        run(verifier, vouchers.iter().map(|(voucher, signer)| Ok(voucher.task(self, *signer))))
    }

    /// [`Self::verify_batch`] of one.
    pub fn verify_one(
        &self,
        verifier: &Verifier,
        voucher: &SignedVoucher<P>,
        expected_signer: Address,
    ) -> Result<Verified<Voucher>, VoucherError> {
        let task = voucher.task(self, expected_signer);
        task.answer(|signature| verifier.verify_one(&task.job(signature)))
    }

    /// Who signed a voucher, for a caller that must know: to show it, or to learn a channel's signer from its
    /// first voucher. It costs a recovery (some 40 µs), and it is no proof: whatever was signed, and by whomever, some
    /// address comes out for nearly every secp256k1 signature.
    pub fn recover_signer(&self, voucher: &SignedVoucher<P>) -> Result<Address, VoucherError> {
        let digest = self.hash(&voucher.voucher);
        match voucher.signature.as_ref() {
            SignatureRef::Secp256k1(signature) => recover(&digest.0, signature)
                .map(|key| Address::new(key.address()))
                .ok_or(VoucherError::Unrecoverable),
            SignatureRef::P256(signature) => signature.signer(digest),
            SignatureRef::WebAuthn(signature) => signature.signer(digest),
        }
    }
}

/// A parsed signature of any kind, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum SignatureRef<'a> {
    /// secp256k1.
    Secp256k1(&'a ecdsa::Signature),
    /// P-256.
    P256(&'a P256Signature),
    /// P-256 by an authenticator.
    WebAuthn(&'a WebAuthnSignature),
}

impl SignatureRef<'_> {
    /// The bytes that the escrow takes.
    pub(super) fn to_chain_bytes(self) -> Signature {
        match self {
            Self::Secp256k1(signature) => Signature::secp256k1(signature.to_rsv()),
            Self::P256(signature) => Signature::typed(signature.as_bytes()),
            Self::WebAuthn(signature) => Signature::typed(signature.as_bytes()),
        }
    }
}

/// One question: did the expected signer sign this digest?
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    voucher: Voucher,
    digest: B256,
    signature: SignatureRef<'a>,
    expected_signer: Address,
}

impl Task<'_> {
    /// The work for the crypto crate.
    fn job(&self, signature: &ecdsa::Signature) -> Job {
        Job { digest: self.digest.0, signature: *signature, signer: self.expected_signer.into_array() }
    }

    /// Whether the expected signer signed. `outcome` is asked for secp256k1 signatures only.
    fn answer(
        &self,
        outcome: impl FnOnce(&ecdsa::Signature) -> Outcome,
    ) -> Result<Verified<Voucher>, VoucherError> {
        let signer = self.expected_signer;
        let signed = match self.signature {
            SignatureRef::Secp256k1(signature) => outcome(signature) == Outcome::Valid,
            SignatureRef::P256(signature) => signature.signer(self.digest)? == signer,
            SignatureRef::WebAuthn(signature) => signature.signer(self.digest)? == signer,
        };
        if !signed {
            return Err(VoucherError::WrongSigner { expected: signer });
        }
        Ok(Verified { value: self.voucher, signature: self.signature.to_chain_bytes(), signer })
    }
}

/// Answers every task, in order: the secp256k1 ones together, the others one by one.
pub(super) fn run<'a>(
    verifier: &Verifier,
    tasks: impl Iterator<Item = Result<Task<'a>, VoucherError>>,
) -> Vec<Result<Verified<Voucher>, VoucherError>> {
    let tasks: Vec<_> = tasks.collect();
    let jobs: Vec<_> = tasks
        .iter()
        .filter_map(|task| match task {
            Ok(task) => match task.signature {
                SignatureRef::Secp256k1(signature) => Some(task.job(signature)),
                SignatureRef::P256(_) | SignatureRef::WebAuthn(_) => None,
            },
            Err(_) => None,
        })
        .collect();
    let mut outcomes = Vec::with_capacity(jobs.len());
    verifier.verify_batch(&jobs, &mut outcomes);
    let mut outcomes = outcomes.into_iter();
    let mut next = || outcomes.next().expect("a batch has one outcome for every job");
    tasks.into_iter().map(|task| task?.answer(|_| next())).collect()
}
