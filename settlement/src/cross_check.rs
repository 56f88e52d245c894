//! Holds open channels against their escrow, whatever the events said.
//!
//! Events can be missed: a node that leaves one out, an event that a replaced block took with it, a mistake of ours. So
//! the open channels of the reserve are read in turn, a page at a time (`getChannelStatesBatch`, one question for 256),
//! and compared with the books. Channels of the legacy escrow, which answers for one channel at a time, are read when
//! there is a reason: the chain replaced blocks that spoke of them.
//!
//! The books may be a few blocks behind, so only what differs in the same way again and again counts. That is an alarm,
//! and the books are told what they missed. Where the chain says less than the books, nothing can be told: amounts only
//! grow. Then a human has to look, with `farebox reconcile`.

use std::sync::Arc;
use std::time::Duration;

use farebox_core::channel::{ChainPosition, Phase};
use farebox_core::units::ChannelId;
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::{Channel, Engine, EngineError, Verdict};
use tokio::sync::watch;

use crate::client::{ChannelOnChain, Client, ClientError};
use crate::config::Config;
use crate::differences::{Difference, differences};
use crate::feed::Feed;
use crate::missed::{Living, missed};

/// Why a page was not compared. It is begun again.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Compares, for ever.
pub(crate) struct CrossCheck {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
    pub(crate) feed: Arc<Feed>,
}

impl CrossCheck {
    /// Compares until told to stop. It may be dropped at any point: it only repeats what the chain says.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let pause = Duration::from_millis(self.config.check.every_ms);
        let mut after = None;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.feed.suspected() => {}
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.round(&mut after) => {}
            }
        }
    }

    /// The suspects, or the next page when there are none.
    async fn round(&self, after: &mut Option<ChannelId>) {
        let suspects = self.feed.take_suspects(self.config.check.page_channels);
        let checked = if suspects.is_empty() { self.page(after).await } else { self.check(&suspects).await };
        if let Err(error) = checked {
            tracing::warn!(%error, "open channels cannot be held against the chain at this moment");
            self.feed.suspect(suspects.into_iter());
        }
    }

    /// The next page of the books; behind the last one the first.
    async fn page(&self, after: &mut Option<ChannelId>) -> Result<(), CheckError> {
        let count = self.config.check.page_channels;
        let page = self.engine.channels_page(*after, count).await?;
        let next = if page.len() < count { None } else { page.last().map(|channel| channel.id) };
        let reserved = page.iter().filter(|channel| channel.identity.protocol() == ProtocolVersion::V2);
        let channels: Vec<ChannelId> = reserved.filter(|channel| lives(channel)).map(|one| one.id).collect();
        self.check(&channels).await?;
        *after = next;
        Ok(())
    }

    /// Compares channels; tells and reports those that differ every time.
    async fn check(&self, channels: &[ChannelId]) -> Result<(), CheckError> {
        let (mut suspects, until) = self.differences(channels).await?;
        metrics::counter!("farebox_cross_check_channels_total").increment(channels.len() as u64);
        let mut looks = 1;
        while !suspects.is_empty() && looks < self.config.check.looks_max {
            tokio::time::sleep(Duration::from_millis(self.config.check.look_ms)).await;
            // The books cannot know what the watcher has not read: later, then.
            if self.engine.cursor().is_some_and(|cursor| cursor.next_block.0 <= until) {
                self.feed.suspect(suspects.into_iter().map(|(channel, _)| channel));
                return Ok(());
            }
            looks += 1;
            let mut ids: Vec<ChannelId> = suspects.iter().map(|(channel, _)| *channel).collect();
            ids.dedup();
            let (again, _) = self.differences(&ids).await?;
            suspects.retain(|suspect| again.contains(suspect));
        }
        for (channel, difference) in &suspects {
            metrics::counter!("farebox_cross_check_differences_total", "what" => difference.name())
                .increment(1);
            tracing::error!(%channel, %difference, "ALARM: the books differ from the chain");
        }
        let mut ids: Vec<ChannelId> = suspects.iter().map(|(channel, _)| *channel).collect();
        ids.dedup();
        for channel in ids {
            self.tell(channel).await?;
        }
        Ok(())
    }

    /// Where the books of these channels differ, by channel, and the block of the chain's word.
    async fn differences(
        &self,
        channels: &[ChannelId],
    ) -> Result<(Vec<(ChannelId, Difference)>, u64), CheckError> {
        let mut found = Vec::with_capacity(channels.len());
        for channel in channels {
            found.extend(self.engine.read(*channel).await?.filter(lives));
        }
        if found.is_empty() {
            return Ok((Vec::new(), 0));
        }
        Ok(differences(&self.config, &self.client, &found).await?)
    }

    /// Tells the books what the escrow has more.
    async fn tell(&self, channel: ChannelId) -> Result<(), CheckError> {
        let Some(books) = self.engine.read(channel).await?.filter(lives) else { return Ok(()) };
        let identity = &books.identity;
        let not_before = self.client.newest_block();
        let read = self.client.channel(identity.protocol(), identity.escrow, channel, not_before).await?;
        let (ChannelOnChain::Open { deposit, settled, close_requested_at }, block) = read else {
            return Ok(());
        };
        // The state after the whole block: no event up to it is newer.
        let position = ChainPosition { block, log_index: u32::MAX };
        let living = Living { deposit, settled, close_requested_at };
        for (correction, step) in missed(&books.snapshot, living, position) {
            tracing::warn!(%channel, ?correction, block, "the books are told what no event told them");
            if let Verdict::Rejected(refusal) = self.engine.apply(channel, step).await? {
                tracing::error!(%channel, ?correction, %refusal, "ALARM: the books refuse what the chain says");
            }
        }
        self.feed.fact(channel);
        Ok(())
    }
}

/// A closed channel keeps what it is, whatever a late word says.
fn lives(channel: &Channel) -> bool {
    !matches!(channel.snapshot.phase, Phase::Closed(_))
}
