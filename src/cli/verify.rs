//! `farebox verify`: vouchers as text in, one line of JSON each out.
//!
//! A valid voucher's line is `{"valid":true}`. Another's names the reason, and who signed if it was somebody else:
//! `{"valid":false,"reason":"wrong_signer","recoveredSigner":"0x…"}`.
//!
//! The input is a JSON array of vouchers, an object with a list named `vouchers`, or vouchers one after the
//! other (NDJSON). It is read as a stream: memory holds one batch, however long the input is. The rules
//! are those of `farebox_core::voucher`; nothing is decided here.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use farebox_core::voucher::record::{Reason, VoucherRecord, verify_records};
use farebox_core::voucher::{Verifier, VoucherError};
use farebox_engine::verifier::{SIGNER_TABLES_BYTES_MAX, verifier_from_environment};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{End, end_with};

/// Vouchers that are verified together, and held in memory.
const BATCH_VOUCHERS_MAX: usize = 1_024;
/// The most bytes of one voucher in the input, white space around it included.
const VOUCHER_BYTES_MAX: u64 = 64 * 1024;
/// The most bytes of a part of the input that is skipped: what stands beside `vouchers` in an object.
const SKIPPED_BYTES_MAX: u64 = 1 << 30;
/// The fields of a voucher: what else stands in one is not kept.
const FIELDS: [&str; 7] =
    ["protocol", "chainId", "escrow", "channelId", "cumulativeAmount", "signature", "expectedSigner"];

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Vouchers that hold.
    pub valid: u64,
    /// Vouchers that do not.
    pub invalid: u64,
}

/// The input cannot be used, or the output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is empty.
    #[error("the input is empty, expected vouchers: a JSON array, an object with \"vouchers\", or NDJSON")]
    Empty,
    /// It is no JSON, or no voucher where one is expected.
    #[error("the input cannot be used after {} vouchers: {cause}", read.valid + read.invalid)]
    Unusable {
        /// What was answered before.
        read: Summary,
        /// Where and what.
        cause: serde_json::Error,
    },
    /// The answers cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Verifies a file, or stdin, and prints the answers.
pub fn run(file: Option<&Path>) -> End {
    let input: Box<dyn Read> = match file {
        None => Box::new(io::stdin().lock()),
        Some(path) => match File::open(path) {
            Ok(file) => Box::new(file),
            Err(error) => {
                eprintln!("farebox: {}: cannot be read: {error}", path.display());
                return End::Unusable;
            }
        },
    };
    let verifier = match verifier_from_environment(SIGNER_TABLES_BYTES_MAX) {
        Ok(verifier) => verifier,
        Err(error) => return end_with(End::Refused, &error),
    };
    match verify(verifier, input, io::stdout().lock()) {
        Ok(Summary { invalid: 0, .. }) => End::Done,
        Ok(_) => End::Failed,
        Err(error) => end_with(End::Unusable, &error),
    }
}

/// Verifies everything in `input`, and writes one line a voucher to `output`, in order.
pub fn verify(verifier: Verifier, input: impl Read, output: impl Write) -> Result<Summary, VerifyError> {
    let allowance = Cell::new(VOUCHER_BYTES_MAX);
    let input = Metered { input: BufReader::new(input), allowance: &allowance };
    let mut json = serde_json::Deserializer::from_reader(input);
    let mut sink = Sink {
        verifier,
        batch: Vec::with_capacity(BATCH_VOUCHERS_MAX),
        output: BufWriter::new(output),
        summary: Summary::default(),
        allowance: &allowance,
        failed: None,
    };
    let mut values = 0_u64;
    let outcome = loop {
        match json.end() {
            Ok(()) => break Ok(()),
            // Something follows: that is all this error says.
            Err(error) if error.is_syntax() => {}
            Err(error) => break Err(error),
        }
        values += 1;
        if let Err(error) = Top(&mut sink).deserialize(&mut json) {
            break Err(error);
        }
    };
    // What was read before a fault is answered, fault or not.
    let flushed = sink.flush().and_then(|()| sink.output.flush());
    if let Some(error) = sink.failed.take() {
        return Err(error.into());
    }
    flushed?;
    match outcome {
        Err(cause) => Err(VerifyError::Unusable { read: sink.summary, cause }),
        Ok(()) if values == 0 => Err(VerifyError::Empty),
        Ok(()) => Ok(sink.summary),
    }
}

/// A reader that stops when a voucher is too long. It counts what the parser takes, which takes single bytes.
struct Metered<'a, R> {
    input: R,
    allowance: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let left = self.allowance.get().checked_sub(count as u64);
        self.allowance.set(left.ok_or_else(|| {
            io::Error::other(format!("a voucher is longer than {VOUCHER_BYTES_MAX} bytes"))
        })?);
        Ok(count)
    }
}

/// Takes records, verifies them in batches, writes the answers.
struct Sink<'a, W: Write> {
    verifier: Verifier,
    batch: Vec<VoucherRecord>,
    output: BufWriter<W>,
    summary: Summary,
    allowance: &'a Cell<u64>,
    /// Why the output cannot be written; the reader is told with another error.
    failed: Option<io::Error>,
}

impl<W: Write> Sink<'_, W> {
    fn take<E: serde::de::Error>(&mut self, record: VoucherRecord) -> Result<(), E> {
        self.allowance.set(VOUCHER_BYTES_MAX);
        self.batch.push(record);
        if self.batch.len() < BATCH_VOUCHERS_MAX {
            return Ok(());
        }
        self.flush().map_err(|error| {
            self.failed = Some(error);
            E::custom("the output cannot be written")
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        for (record, answer) in self.batch.iter().zip(verify_records(&self.verifier, &self.batch)) {
            match answer {
                Ok(()) => {
                    self.summary.valid += 1;
                    writeln!(self.output, r#"{{"valid":true}}"#)?;
                }
                Err(reason) => {
                    self.summary.invalid += 1;
                    refuse(&mut self.output, record, &reason)?;
                }
            }
        }
        self.batch.clear();
        Ok(())
    }
}

/// Writes why a voucher is refused. The verifier does not say who signed instead, so that is asked here.
fn refuse(output: &mut impl Write, record: &VoucherRecord, reason: &Reason) -> io::Result<()> {
    let found = match reason {
        Reason::Voucher(VoucherError::WrongSigner { .. }) => record.recover_signer(),
        _ => Err(reason.clone()),
    };
    match found {
        Ok(signer) => writeln!(
            output,
            r#"{{"valid":false,"reason":"{}","recoveredSigner":"{signer:#x}"}}"#,
            reason.code()
        ),
        Err(reason) => writeln!(output, r#"{{"valid":false,"reason":"{}"}}"#, reason.code()),
    }
}

/// One value of the input: a list of vouchers, an object that holds one, or a voucher.
struct Top<'a, 'b, W: Write>(&'a mut Sink<'b, W>);

impl<'de, W: Write> DeserializeSeed<'de> for Top<'_, '_, W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, W: Write> Visitor<'de> for Top<'_, '_, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a voucher, a list of vouchers, or an object with \"vouchers\"")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        List(self.0).visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields = serde_json::Map::new();
        let mut listed = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "vouchers" {
                listed = true;
                map.next_value_seed(List(self.0))?;
            } else if FIELDS.contains(&name.as_str()) {
                fields.insert(name, map.next_value()?);
            } else {
                let before = self.0.allowance.replace(SKIPPED_BYTES_MAX);
                map.next_value::<IgnoredAny>()?;
                self.0.allowance.set(before);
            }
        }
        if listed {
            return Ok(());
        }
        let record = VoucherRecord::deserialize(Value::Object(fields)).map_err(A::Error::custom)?;
        self.0.take(record)
    }
}

/// A list of vouchers.
struct List<'a, 'b, W: Write>(&'a mut Sink<'b, W>);

impl<'de, W: Write> DeserializeSeed<'de> for List<'_, '_, W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, W: Write> Visitor<'de> for List<'_, '_, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of vouchers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.allowance.set(VOUCHER_BYTES_MAX);
        while let Some(record) = list.next_element::<VoucherRecord>()? {
            self.0.take(record)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
