//! Mistakes that can be planted, to show that each would be found.

/// One mistake, somewhere between the disk and the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The disk says "durable" and has not synced.
    AnswerBeforeSync,
    /// Recovery takes the last whole frame for a torn one.
    LoseLastFrame,
    /// The mark moves although the images before it are not durable.
    MarkBeforeImages,
    /// An image is stored before the frames that it holds.
    ImageLeads,
    /// The watcher's cursor becomes durable before the facts that it has passed.
    CursorLeads,
    /// A forced v2 close captures the whole voucher.
    CloseWholeVoucher,
    /// A settlement uses a voucher that is not spent yet.
    SettleUnspent,
    /// A voucher below the highest still pays.
    LowerPays,
    /// A voucher that was settled still pays.
    PublicPays,
    /// Each request of a batch sees the books as they were before the batch.
    SplitStep,
    /// A replayed open starts the channel anew.
    ReopenResets,
    /// Service goes on while a close request is pending.
    IgnoreCloseRequest,
    /// Paid requests are not remembered.
    ForgetOutcomes,
    /// The signer is whoever signed.
    TrustPayload,
    /// A missing RPC answer counts as failure.
    AbortOnSilence,
    /// Nobody looks at the operator of a new channel.
    OwnOperator,
    /// What ran before a crash is not ended at the start.
    OrphansKept,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::AnswerBeforeSync,
        Self::LoseLastFrame,
        Self::MarkBeforeImages,
        Self::ImageLeads,
        Self::CursorLeads,
        Self::CloseWholeVoucher,
        Self::SettleUnspent,
        Self::LowerPays,
        Self::PublicPays,
        Self::SplitStep,
        Self::ReopenResets,
        Self::IgnoreCloseRequest,
        Self::ForgetOutcomes,
        Self::TrustPayload,
        Self::AbortOnSilence,
        Self::OwnOperator,
        Self::OrphansKept,
    ];
}
