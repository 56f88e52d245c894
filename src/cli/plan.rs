//! `farebox plan`: what would be claimed now, in which transactions, and why; and why the rest is left alone. Reads
//! the books beside a running server or without one, asks the chain for prices if it answers, and changes nothing.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::core::units::{Address, ChannelId};
use farebox_engine::ledger::recover;
use farebox_engine::{Channel, LedgerError, RocksLedger};
use farebox_settlement::plan::{Account, Batch, Decision, DueIndex, GasPrice, Market, Plan, plan};
use farebox_settlement::{BooksAtRest, Config as Settings};
use serde_json::json;

use super::pages::pages;
use super::{End, end_with, load_config};
use crate::config::{Config, Ledger};
use crate::keys;
use crate::serve::settlement::{client, settings};

/// The most decisions that are printed one by one; the others are counted by their reason.
const SHOWN_MAX: usize = 1_000;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error(
        "ledger.kind: found \"memory\", expected \"rocksdb\": books in memory are only in the server that holds them"
    )]
    Volatile,
    #[error("what the running or last server was about to send cannot be read: {0}")]
    Intents(#[from] farebox_settlement::BooksAtRestError),
}

/// Prints the plan.
pub fn run(config: &Path, as_json: bool) -> End {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(error) => return end_with(End::Refused, &error),
    };
    let sender = match keys::payee_key(&config) {
        Ok(key) => key.address(),
        Err(error) => return end_with(End::Refused, &error),
    };
    let settings = settings(&config);
    let planned = accounts(&config, &settings, sender).map(|accounts| {
        let work = settings.work;
        let market = market(&config, &settings);
        let exposed = exposed(&accounts, &settings);
        (plan(&accounts, &work.policy, &work.limits, &market, &exposed), market)
    });
    let mut output = BufWriter::new(io::stdout().lock());
    let printed = planned.and_then(|(plan, market)| {
        if as_json { print_json(&plan, &market, &mut output) } else { print(&plan, &market, &mut output) }
    });
    match printed.and_then(|()| Ok(output.flush()?)) {
        Ok(()) => End::Done,
        Err(error) => end_with(End::CannotStart, &error),
    }
}

/// Every channel of the books, as planning sees it.
fn accounts(config: &Config, settings: &Settings, sender: Address) -> Result<Vec<Account>, PlanError> {
    let Ledger::RocksDb(path) = &config.ledger else { return Err(PlanError::Volatile) };
    let view = RocksLedger::open_read_only(path)?;
    let books = recover(&view)?;
    let rest = BooksAtRest::read(&view)?;
    let mut accounts = Vec::new();
    for page in pages(&view, &books) {
        accounts.extend(page?.iter().map(|stored| rest.account(settings, sender, &Channel::from(stored))));
    }
    Ok(accounts)
}

/// Those that have to go because too much waits in all together.
fn exposed(accounts: &[Account], settings: &Settings) -> Vec<ChannelId> {
    let mut index = DueIndex::new();
    accounts.iter().for_each(|account| index.put(account.channel, None, account.settle_gain()));
    index.exposed(settings.work.policy.exposure_max, usize::MAX)
}

/// The prices of now; without an answer of the chain everything counts as free, which is said.
fn market(config: &Config, settings: &Settings) -> Market {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let head = runtime.ok().and_then(|runtime| {
        let client = client(config).ok()?;
        runtime.block_on(client.head()).ok()
    });
    if head.is_none() {
        eprintln!("farebox: no RPC endpoint answers; the plan takes gas as free");
    }
    let price = head.map_or(0, |head| head.base_fee.saturating_add(settings.close.priority_fee_per_gas));
    Market { now: SystemClock.now(), gas_price: GasPrice(price), call_gas: settings.work.call_gas }
}

fn print(plan: &Plan, market: &Market, output: &mut impl Write) -> Result<(), PlanError> {
    writeln!(output, "at Unix time {}, a unit of gas for {}", market.now.0, market.gas_price)?;
    for (number, batch) in plan.batches.iter().enumerate() {
        let Batch { sender, calls, gas, round, lane, .. } = batch;
        let fee = gas.fee(market.gas_price);
        writeln!(
            output,
            "transaction {}: {} claims, about {gas} gas ({fee} in fees), {lane:?} lane, block +{round}, from {sender:#x}",
            number + 1,
            calls.len()
        )?;
        for call in calls {
            writeln!(output, "  {}  {}: {} (brings {})", call.channel, call.action, call.why, call.gain)?;
        }
    }
    let mut shown = 0;
    let mut others: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (channel, decision) in &plan.decisions {
        let Decision::Leave { why, look_at } = decision else { continue };
        if shown < SHOWN_MAX {
            shown += 1;
            let again = look_at.map_or(String::new(), |at| format!("; looked at again at {}", at.0));
            writeln!(output, "left: {channel}: {why}{again}")?;
        } else {
            *others.entry(why.name()).or_default() += 1;
        }
    }
    for (why, count) in others {
        writeln!(output, "and {count} more are left: {why}")?;
    }
    let claims: usize = plan.batches.iter().map(|batch| batch.calls.len()).sum();
    let (transactions, channels) = (plan.batches.len(), plan.decisions.len());
    writeln!(output, "{claims} claims in {transactions} transactions; {channels} channels")?;
    Ok(())
}

fn print_json(plan: &Plan, market: &Market, output: &mut impl Write) -> Result<(), PlanError> {
    let batches = plan.batches.iter().map(|batch| {
        let calls = batch.calls.iter().map(|call| {
            json!({
                "channelId": call.channel.to_string(),
                "action": call.action.to_string(),
                "why": call.why.to_string(),
                "gain": call.gain.to_string(),
            })
        });
        json!({
            "sender": format!("{:#x}", batch.sender),
            "feeToken": format!("{:#x}", batch.fee_token),
            "gas": batch.gas.0,
            "fee": batch.gas.fee(market.gas_price).to_string(),
            "block": batch.round,
            "claims": calls.collect::<Vec<_>>(),
        })
    });
    let left = plan.decisions.iter().filter_map(|(channel, decision)| {
        let Decision::Leave { why, look_at } = decision else { return None };
        let at = look_at.map(|at| at.0);
        Some(json!({
            "channelId": channel.to_string(), "reason": why.name(), "why": why.to_string(), "lookAt": at,
        }))
    });
    let document = json!({
        "now": market.now.0,
        "gasPrice": market.gas_price.to_string(),
        "transactions": batches.collect::<Vec<_>>(),
        "left": left.collect::<Vec<_>>(),
    });
    serde_json::to_writer(&mut *output, &document).map_err(io::Error::from)?;
    writeln!(output)?;
    Ok(())
}
