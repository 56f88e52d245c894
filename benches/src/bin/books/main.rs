//! What durable books cost: vouchers a second that are verified, charged, on disk and only then answered.
//!
//! `make bench-books` runs it.
//!
//! ```text
//! books [--quick] [--channels N,N] [--signers N,N] [--threads N,N] [--vouchers N] [FILTER]
//!   --quick      fewer channels, signers and vouchers
//!   --channels   sizes of the books to measure (10,10000,1000000)
//!   --signers    how many signers share the channels (10000,1000000)
//!   --threads    shards (1,2)
//!   --vouchers   vouchers of a measurement (2000000)
//!   FILTER       measures only the cases whose name, case/channels/signers/threads, contains it
//! ```
//!
//! The result is also written to `bench/books.json` in the target folder. After each case the books are read back from
//! disk and must hold every charge that was acknowledged.
//!
//! | module | what it does |
//! |---|---|
//! | [`crowd`] | signs millions of vouchers beforehand |
//! | [`books`] | an engine on a RocksDB of its own |
//! | [`load`] | callers, one by one and in batches, as fast as it goes or at a pace |
//! | [`cases`] | what is measured |
//! | [`peers`] | one sync a voucher on RocksDB and on SQLite; the stores of the Rust SDK |
//! | [`reopen`] | the time to open the books of a server that was killed |
//! | [`sweep`] | `books sweep`: what each option of RocksDB does; it has arguments of its own |
//! | [`meter`], [`report`], [`docs`], [`options`] | clocks, the table, the JSON, the page, the arguments |

mod books;
mod cases;
mod crowd;
mod docs;
mod load;
mod meter;
mod options;
mod peers;
mod reopen;
mod report;
mod sweep;

use std::process::ExitCode;

use options::Options;
use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let run = || Options::parse(arguments.iter().cloned()).and_then(|options| run(&options));
    let asked =
        reopen::child(&arguments).or_else(|| sweep::child(&arguments)).or_else(|| sweep::run(&arguments));
    match asked.unwrap_or_else(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-books: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let mut report = Report::default();
    Report::begin();
    peers::run(options, &mut report)?;
    cases::run(options, &mut report)?;
    for &channels in options.reopened.iter().filter(|channels| options.wants_reopened(**channels)) {
        reopen::run(channels, options.vouchers, &mut report)?;
    }
    // With a slowed disk the result has a name of its own.
    let is_slow = std::env::var_os("FAREBOX_SYNC_US").is_some();
    let name = if is_slow { "books-slow" } else { "books" };
    let file = report.write_json(name).map_err(|error| format!("cannot write the result: {error}"))?;
    println!("\nwritten to {}", file.display());
    if options.docs {
        docs::write(&report, if is_slow { "figures of a slow disk" } else { "figures" })?;
    }
    Ok(())
}
