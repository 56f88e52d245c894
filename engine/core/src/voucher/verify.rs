//! Vouchers in, verified vouchers out: one at a time, or many at once.
//!
//! The pipeline's shards call it, `farebox verify`, and services that keep no books. It is stateless: what it
//! remembers of signers changes the speed of an answer, never the answer.
//!
//! The secp256k1 vouchers of a batch go through [`farebox_crypto::Verifier`] together, their digests through lanes of
//! Keccak; P-256 and WebAuthn are rare and go one by one.

use alloc::vec::Vec;
use core::fmt;

use farebox_crypto::backend::Backend;
use farebox_crypto::keccak::keccak256_many;
use farebox_crypto::{Job, Outcome, ecdsa};

use self::sealed::Tasks;
use super::domain::HashWords;
use super::signed::SignatureRef;
use super::{AnyDomain, AnySignedVoucher, Domain, Protocol, Signature, SignedVoucher, Voucher, VoucherError};
use crate::units::{Address, Amount, B256, ChannelId};

/// Vouchers whose digests are computed together: many lanes full, and their messages (15 KB) stay in the first-level
/// cache.
const DIGESTS_MAX: usize = 64;

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

/// What the verifier says of a voucher: the voucher as verified, or why it is refused.
pub type Verification = Result<Verified<Voucher>, VoucherError>;

/// Verifies vouchers. Make one, keep it, share it between threads.
///
/// # What it takes
///
/// A voucher comes with its expected signer. That is the address which the channel's terms name
/// ([`Terms::expected_signer`](super::Terms::expected_signer)), known to the caller from the chain or from its books, and
/// never one that came with the voucher: whoever signs can also write an address beside the signature.
///
/// # What it guarantees
///
/// - A voucher is valid exactly if the escrow takes its signature: for secp256k1, if `ecrecover` returns the expected signer.
/// - A batch gives each voucher the answer that it would get alone, in order, whatever else is in the batch. Answers are exact
///   and the same in every run: no random combination of signatures, no table, backend or thread changes one.
/// - Nothing is looked up and nothing is kept but signers' keys and their tables, in no more bytes than it was
///   told. Amounts, repeats and closed channels are the books' matter.
///
/// # What it costs
///
/// The first vouchers of a signer are recovered by libsecp256k1 (some 40 µs each). A signer that comes back gets a table, and then
/// a voucher costs between one and three µs in a batch, the less the larger the batch: 64 and more are best,
/// below 8 there is little to gain. A forged voucher of such a signer costs the same. A P-256 or WebAuthn
/// voucher takes some 200 µs. Memory: `signer_tables_bytes_max`, and some 400 bytes a voucher of a batch
/// while it is verified.
///
/// # Threads
///
/// Any number of threads may call it at once. They share the tables, and wait for each other only while signers are looked up.
pub struct Verifier {
    signatures: farebox_crypto::Verifier,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signatures.fmt(f)
    }
}

impl Verifier {
    /// A verifier that knows no signer yet, with the fastest backend of this machine and 256 MiB for tables.
    pub fn new() -> Self {
        Self { signatures: farebox_crypto::Verifier::new() }
    }

    /// A verifier with this backend that keeps no more than so many bytes of tables.
    pub fn with(backend: Backend, signer_tables_bytes_max: usize) -> Self {
        Self { signatures: farebox_crypto::Verifier::with(backend, signer_tables_bytes_max) }
    }

    /// The backend in use.
    pub fn backend(&self) -> Backend {
        self.signatures.backend()
    }

    /// Verifies vouchers of one domain, each with its expected signer. One answer a voucher, in order; a voucher
    /// of the other protocol than an [`AnyDomain`]'s is refused.
    pub fn verify_batch<D: VoucherDomain>(
        &self,
        domain: &D,
        vouchers: &[(&D::Signed, Address)],
    ) -> Vec<Verification> {
        self.run(vouchers.iter().map(|(voucher, signer)| domain.task(voucher, *signer)))
    }

    /// Verifies vouchers of any domains in one batch, each with its domain and its expected signer.
    pub fn verify_mixed(&self, vouchers: &[(&AnyDomain, &AnySignedVoucher, Address)]) -> Vec<Verification> {
        self.run(vouchers.iter().map(|(domain, voucher, signer)| domain.task(voucher, *signer)))
    }

    /// Verifies one voucher.
    pub fn verify_one<D: VoucherDomain>(
        &self,
        domain: &D,
        voucher: &D::Signed,
        expected_signer: Address,
    ) -> Verification {
        let task = domain.task(voucher, expected_signer)?;
        let digest = task.words.digest(task.voucher);
        task.answer(digest, |signature| self.signatures.verify_one(&task.job(digest, signature)))
    }

    /// Answers every task, in order.
    fn run<'a>(
        &self,
        tasks: impl ExactSizeIterator<Item = Result<Task<'a>, VoucherError>> + Clone,
    ) -> Vec<Verification> {
        let mut digests = Vec::with_capacity(tasks.len());
        hash(self.backend(), tasks.clone().flatten(), &mut digests);
        let mut jobs = Vec::with_capacity(digests.len());
        for (task, digest) in tasks.clone().flatten().zip(&digests) {
            if let SignatureRef::Secp256k1(signature) = task.signature {
                jobs.push(task.job(*digest, signature));
            }
        }
        let mut outcomes = Vec::with_capacity(jobs.len());
        self.signatures.verify_batch(&jobs, &mut outcomes);
        let (mut digests, mut outcomes) = (digests.into_iter(), outcomes.into_iter());
        let answer = |task: Result<Task<'_>, VoucherError>| {
            let task = task?;
            let digest = digests.next().expect("every task has a digest");
            task.answer(digest, |_| outcomes.next().expect("every job has an outcome"))
        };
        tasks.map(answer).collect()
    }
}

/// Where vouchers are valid: a [`Domain`], or an [`AnyDomain`]. The trait is sealed.
pub trait VoucherDomain: Tasks {}

impl<P: Protocol> VoucherDomain for Domain<P> {}
impl VoucherDomain for AnyDomain {}

mod sealed {
    use super::{Address, Task, VoucherError};

    /// Makes tasks of a domain's vouchers.
    pub trait Tasks {
        /// The vouchers that are signed for it.
        type Signed;
        /// The question that the verifier answers.
        fn task<'a>(
            &'a self,
            voucher: &'a Self::Signed,
            expected_signer: Address,
        ) -> Result<Task<'a>, VoucherError>;
    }
}

impl<P: Protocol> Tasks for Domain<P> {
    type Signed = SignedVoucher<P>;

    fn task<'a>(
        &'a self,
        voucher: &'a SignedVoucher<P>,
        expected_signer: Address,
    ) -> Result<Task<'a>, VoucherError> {
        let (words, signature) = (self.words(), voucher.signature());
        Ok(Task { voucher: voucher.voucher(), words, signature, expected_signer })
    }
}

impl Tasks for AnyDomain {
    type Signed = AnySignedVoucher;

    fn task<'a>(
        &'a self,
        voucher: &'a AnySignedVoucher,
        expected_signer: Address,
    ) -> Result<Task<'a>, VoucherError> {
        match (self, voucher) {
            (Self::V1(domain), AnySignedVoucher::V1(voucher)) => domain.task(voucher, expected_signer),
            (Self::V2(domain), AnySignedVoucher::V2(voucher)) => domain.task(voucher, expected_signer),
            _ => Err(self.mismatch(voucher)),
        }
    }
}

/// One question: did the expected signer sign this voucher? Borrows everything: making one again is cheaper than
/// keeping it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    voucher: &'a Voucher,
    words: &'a HashWords,
    signature: SignatureRef<'a>,
    expected_signer: Address,
}

impl Task<'_> {
    /// The work for the crypto crate.
    fn job(&self, digest: B256, signature: &ecdsa::Signature) -> Job {
        Job { digest: digest.0, signature: *signature, signer: self.expected_signer.into_array() }
    }

    /// Whether the expected signer signed. `outcome` is asked for secp256k1 signatures only.
    fn answer(&self, digest: B256, outcome: impl FnOnce(&ecdsa::Signature) -> Outcome) -> Verification {
        let signer = self.expected_signer;
        let signed = match self.signature {
            SignatureRef::Secp256k1(signature) => outcome(signature) == Outcome::Valid,
            SignatureRef::P256(signature) => signature.signer(digest)? == signer,
            SignatureRef::WebAuthn(signature) => signature.signer(digest)? == signer,
        };
        if !signed {
            return Err(VoucherError::WrongSigner { expected: signer });
        }
        Ok(Verified { value: *self.voucher, signature: self.signature.to_chain_bytes(), signer })
    }
}

/// Appends the digests of all tasks, in order.
fn hash<'a>(backend: Backend, mut tasks: impl Iterator<Item = Task<'a>>, digests: &mut Vec<B256>) {
    let (mut words, mut fields) = (Vec::with_capacity(DIGESTS_MAX), Vec::with_capacity(DIGESTS_MAX));
    let (mut messages, mut hashes) = (Vec::with_capacity(DIGESTS_MAX), Vec::with_capacity(DIGESTS_MAX));
    loop {
        words.clear();
        fields.clear();
        for task in tasks.by_ref().take(DIGESTS_MAX) {
            words.push(task.words);
            fields.push(task.words.fields(task.voucher));
        }
        if fields.is_empty() {
            return;
        }
        keccak256_many(backend, &fields, &mut hashes);
        messages.clear();
        messages.extend(words.iter().zip(&hashes).map(|(words, hash)| words.message(hash)));
        keccak256_many(backend, &messages, &mut hashes);
        digests.extend(hashes.iter().map(B256::from));
    }
}
