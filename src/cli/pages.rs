//! The channels of a store, a page at a time, for commands that look at all of them.

use farebox_engine::LedgerError;
use farebox_engine::core::units::ChannelId;
use farebox_engine::ledger::{Books, CHANNELS_PAGE_MAX, RocksView, StoredChannel};

/// Pages by rising channel. It ends behind the last one, or behind an error.
pub(super) struct Pages<'a> {
    view: &'a RocksView,
    books: &'a Books,
    after: Option<ChannelId>,
    ended: bool,
}

/// All channels that the images hold, with what the journal says since.
pub(super) fn pages<'a>(view: &'a RocksView, books: &'a Books) -> Pages<'a> {
    Pages { view, books, after: None, ended: false }
}

impl Iterator for Pages<'_> {
    type Item = Result<Vec<StoredChannel>, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let page = self.books.page(self.view, self.after, CHANNELS_PAGE_MAX);
        let last =
            page.as_ref().ok().filter(|page| page.len() == CHANNELS_PAGE_MAX).and_then(|page| page.last());
        self.after = last.map(|stored| stored.channel);
        self.ended = self.after.is_none();
        Some(page)
    }
}
