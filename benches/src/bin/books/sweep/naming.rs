//! What a row is called: the one line in which its options differ from the shipped ones, so that no name is written twice.

use farebox_engine::ledger::rocksdb::tuning::Tuning;

/// The row without a change.
pub const BASE: &str = "base";

/// Numbers from here on are told in MiB.
const MIB: u64 = 1 << 20;

/// An option with two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `journal.write_buffer_size`
    pub option: String,
    /// What is shipped.
    pub shipped: String,
    /// What is tried.
    pub tried: String,
}

impl Difference {
    /// How a child is told which row it measures.
    pub fn name(&self) -> String {
        format!("{}={}", self.option, self.tried)
    }
}

/// Every option that differs from the shipped one.
pub fn differences(tuning: &Tuning) -> Vec<Difference> {
    let (shipped, tried) = (format!("{:#?}", Tuning::default()), format!("{tuning:#?}"));
    let (mut part, mut found) = (String::new(), Vec::new());
    for (shipped, tried) in shipped.lines().zip(tried.lines()) {
        match shipped.strip_suffix(" {").and_then(|line| line.trim().split_once(':')) {
            Some((name, _)) => part = format!("{name}."),
            None if shipped.trim() == "}," => part.clear(),
            None if shipped != tried => {
                let option = shipped.split(':').next().unwrap_or_default().trim();
                let value = |line: &str| said(line.split(": ").nth(1).unwrap_or_default());
                let option = format!("{part}{option}");
                found.push(Difference { option, shipped: value(shipped), tried: value(tried) });
            }
            None => {}
        }
    }
    found
}

/// A value as people read it.
fn said(value: &str) -> String {
    let value = value.trim_end_matches(',');
    match value.parse::<u64>() {
        Ok(u64::MAX) => "never".into(),
        Ok(number) if number >= MIB && number % MIB == 0 => format!("{} MiB", number / MIB),
        Ok(number) if number >= 2_048 && number % 1_024 == 0 => format!("{} KiB", number / 1_024),
        _ => match value {
            "true" => "on".into(),
            "false" => "off".into(),
            _ => value.to_lowercase(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_by_its_part_and_read_easily() {
        assert_eq!(differences(&Tuning::default()), []);
        let mut tuning = Tuning::default();
        tuning.database.bytes_per_sync = 3 << 20;
        tuning.journal.block_size = 8_192;
        tuning.images.lz4 = false;
        tuning.images_file_min = usize::MAX;
        let expected = [
            ("database.bytes_per_sync", "128 KiB", "3 MiB"),
            ("journal.block_size", "4 KiB", "8 KiB"),
            ("images.lz4", "on", "off"),
            ("images_file_min", "1024", "never"),
        ];
        let found = differences(&tuning);
        let found: Vec<_> = found.iter().map(|one| (&*one.option, &*one.shipped, &*one.tried)).collect();
        // With fail points, images go into files sooner.
        assert_eq!(found[..3], expected[..3]);
        assert_eq!((found[3].0, found[3].2), (expected[3].0, expected[3].2));
    }
}
