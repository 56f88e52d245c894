//! `farebox channels`: the books, read beside a running server or without one. Changes nothing.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use farebox_engine::ledger::{CHANNELS_PAGE_MAX, LedgerRead, RocksView, StoredChannel, recover};
use farebox_engine::{Channel, LedgerError, RocksLedger};

use super::pages::{Pages, pages};
use super::{End, end_with, load_config};
use crate::config::Ledger;
use crate::view::ChannelView;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error(
        "ledger.kind: found \"memory\", expected \"rocksdb\": books in memory are only in the server that holds them"
    )]
    Volatile,
}

/// Prints all channels, closed ones too.
pub fn run(config: &Path, as_json: bool) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    match list(&config.ledger, as_json, io::stdout().lock()) {
        Ok(()) => End::Done,
        Err(error) => end_with(End::CannotStart, &error),
    }
}

fn list(ledger: &Ledger, as_json: bool, output: impl Write) -> Result<(), ListError> {
    let Ledger::RocksDb(path) = ledger else { return Err(ListError::Volatile) };
    let view = RocksLedger::open_read_only(path)?;
    let books = recover(&view)?;
    let pages = pages(&view, &books);
    let mut output = BufWriter::new(output);
    if as_json {
        print_json(pages, &mut output)?
    } else {
        print_table(pages, &mut output)?
    }
    if !as_json {
        let retired = count_retired(&view)?;
        if retired > 0 {
            writeln!(output, "{retired} more are retired: of them a tombstone is left")?;
        }
    }
    output.flush()?;
    Ok(())
}

fn count_retired(view: &RocksView) -> Result<u64, LedgerError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let page = view.tombstones(after, CHANNELS_PAGE_MAX)?;
        count += page.len() as u64;
        after = page.last().map(|tombstone| tombstone.channel_id);
        if page.len() < CHANNELS_PAGE_MAX {
            return Ok(count);
        }
    }
}

/// As the admin API shows them.
fn shown(page: &[StoredChannel]) -> impl Iterator<Item = ChannelView> {
    page.iter().map(|stored| ChannelView::from(&Channel::from(stored)))
}

/// `{"channels":[…]}`, the shape of the admin API.
fn print_json(pages: Pages<'_>, output: &mut impl Write) -> Result<(), ListError> {
    write!(output, "{{\"channels\":[")?;
    let mut first = true;
    for page in pages {
        for channel in shown(&page?) {
            output.write_all(if first { b"\n" } else { b",\n" })?;
            first = false;
            serde_json::to_writer(&mut *output, &channel).map_err(io::Error::from)?;
        }
    }
    writeln!(output, "\n]}}")?;
    Ok(())
}

fn print_table(pages: Pages<'_>, output: &mut impl Write) -> Result<(), ListError> {
    let row = |output: &mut dyn Write, cells: [&str; 9]| {
        let [id, protocol, phase, deposit, accepted, spent, reserved, settled, units] = cells;
        writeln!(
            output,
            "{id:<66}  {protocol:<2}  {phase:<7}  {deposit:>15}  {accepted:>15}  {spent:>15}  {reserved:>10}  {settled:>15}  {units:>10}"
        )
    };
    let head = ["channel", "", "phase", "deposit", "accepted", "spent", "reserved", "settled", "units"];
    row(output, head)?;
    let mut count = 0_u64;
    for page in pages {
        for channel in shown(&page?) {
            let units = channel.units.to_string();
            let ChannelView {
                channel_id, protocol, phase, deposit, accepted, spent, reserved, settled, ..
            } = &channel;
            row(output, [channel_id, protocol, phase, deposit, accepted, spent, reserved, settled, &units])?;
            count += 1;
        }
    }
    writeln!(output, "{count} channels; amounts in base units")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use farebox_engine::core::channel::{ChainPosition, Identity, Terms};
    use farebox_engine::core::units::{Address, Amount, B256, ChainId};
    use farebox_engine::core::voucher::v2::Descriptor;
    use farebox_engine::{Engine, SystemClock};
    use serde_json::Value;

    use super::*;

    fn identity(salt: u8) -> Identity {
        let terms = Descriptor {
            payer: Address::repeat_byte(1),
            payee: Address::repeat_byte(2),
            operator: Address::ZERO,
            token: Address::repeat_byte(3),
            salt: B256::repeat_byte(salt),
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        };
        Identity { chain_id: ChainId(7), escrow: Address::repeat_byte(5), terms: Terms::V2(terms) }
    }

    fn printed(path: &Path, as_json: bool) -> String {
        let mut output = Vec::new();
        list(&Ledger::RocksDb(path.into()), as_json, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[tokio::test]
    async fn the_list_is_what_the_engine_holds_while_it_runs_and_after() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = RocksLedger::open(folder.path()).unwrap();
        let engine = Engine::start(farebox_engine::Config::default(), ledger, SystemClock).unwrap();
        for salt in 1..=3 {
            let deposit = Amount::new(1_000 + u128::from(salt));
            let opened = engine.open(identity(salt), deposit, Amount::ZERO, ChainPosition::default());
            opened.await.unwrap().accepted().unwrap();
        }
        let held: Vec<ChannelView> = engine.channels().await.unwrap().iter().map(ChannelView::from).collect();
        let held = serde_json::to_value(held).unwrap();
        assert_eq!(held.as_array().map(Vec::len), Some(3));

        let beside: Value = serde_json::from_str(&printed(folder.path(), true)).unwrap();
        assert_eq!(beside["channels"], held);
        engine.shutdown().await.unwrap();
        let after: Value = serde_json::from_str(&printed(folder.path(), true)).unwrap();
        assert_eq!(after["channels"], held);
        let table = printed(folder.path(), false);
        assert!(table.contains("1003") && table.ends_with("3 channels; amounts in base units\n"), "{table}");
        assert_eq!(table.lines().count(), 5);
    }

    #[test]
    fn books_in_memory_cannot_be_listed() {
        let error = list(&Ledger::Memory, true, io::sink()).unwrap_err().to_string();
        assert!(error.starts_with("ledger.kind: found \"memory\", expected \"rocksdb\""), "{error}");
    }
}
