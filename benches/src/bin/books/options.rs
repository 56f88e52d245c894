//! The arguments.

use crate::report::Label;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Sizes of the books.
    pub channels: Vec<usize>,
    /// How many signers share the channels.
    pub signers: Vec<usize>,
    /// Sizes of the books that are opened after a kill.
    pub reopened: Vec<usize>,
    /// Shards.
    pub threads: Vec<usize>,
    /// Vouchers of a measurement.
    pub vouchers: usize,
    /// How long an overload lasts, in seconds.
    pub overload_s: usize,
    /// Whether the page with the figures is written.
    pub docs: bool,
    filter: String,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            channels: vec![10, 10_000, 1_000_000],
            signers: vec![10_000, 1_000_000],
            reopened: vec![1_000_000, 10_000_000],
            threads: vec![1, 2],
            vouchers: 2_000_000,
            overload_s: 10,
            docs: false,
            filter: String::new(),
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => {
                    (options.channels, options.signers) = (vec![10, 10_000], vec![10_000]);
                    options.reopened = vec![100_000];
                    (options.vouchers, options.overload_s) = (400_000, 2);
                }
                "--docs" => options.docs = true,
                "--channels" => options.channels = numbers(&argument, arguments.next())?,
                "--signers" => options.signers = numbers(&argument, arguments.next())?,
                "--reopened" => options.reopened = numbers(&argument, arguments.next())?,
                "--threads" => options.threads = numbers(&argument, arguments.next())?,
                "--vouchers" => options.vouchers = number(&argument, &arguments.next().unwrap_or_default())?,
                "--overload-s" => {
                    options.overload_s = number(&argument, &arguments.next().unwrap_or_default())?;
                }
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "there is no option {flag}, expected --quick, --docs, --channels, --signers, --reopened, --threads, --vouchers, --overload-s or a filter"
                    ));
                }
                _ if options.filter.is_empty() => options.filter = argument,
                _ => return Err(format!("there is a filter already, found another one: {argument}")),
            }
        }
        Ok(options)
    }

    /// Whether the filter asks for the books that are opened after a kill.
    pub fn wants_reopened(&self, channels: usize) -> bool {
        format!("reopen/{channels}").contains(&self.filter)
    }

    /// Whether the filter asks for this case.
    pub fn wants(&self, label: &Label) -> bool {
        label.to_string().contains(&self.filter)
    }
}

fn numbers(option: &str, found: Option<String>) -> Result<Vec<usize>, String> {
    found.unwrap_or_default().split(',').map(|text| number(option, text)).collect()
}

/// The number that an option was given.
pub fn number(option: &str, text: &str) -> Result<usize, String> {
    let found = text.parse().ok().filter(|number| *number > 0);
    found.ok_or_else(|| format!("{option} is {text:?}, expected numbers from 1 on, with commas between"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn sizes_and_a_filter_are_read() {
        let options = parse("--channels 5,70 --vouchers 9 batch/70").unwrap();
        assert_eq!((options.channels.as_slice(), options.vouchers), ([5, 70].as_slice(), 9));
        let label =
            |case: &str, channels| Label { case: case.into(), channels, signers: 1, threads: 1, batch: 1 };
        assert!(options.wants(&label("batch", 70)));
        assert!(!options.wants(&label("batch", 5)) && !options.wants(&label("single", 70)));
    }

    #[test]
    fn nonsense_is_named() {
        for (line, expected) in [
            ("--fast", "--fast"),
            ("--channels", "--channels"),
            ("--signers 5,x", "\"x\""),
            ("--threads 0", "\"0\""),
            ("one two", "two"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
