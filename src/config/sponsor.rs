//! `[sponsor]`: whether this server pays the fees of clients' opens and top-ups, and how much of them.

use std::path::{Path, PathBuf};

use farebox_core::units::Address;
use farebox_engine::sponsor::{BudgetLimits, Policy};

use super::expected::expected;
use super::problem::{Problems, quoted};
use super::{file, parse, raw};

/// The least that a v2 open on a fresh chain needs, with room.
const GAS_LEAST: u64 = 100_000;
/// The gas cap of one Tempo transaction (TIP-1010).
const GAS_MOST: u64 = 30_000_000;
/// Expiring nonces live for less; more only lets clocks differ.
const VALID_FOR_S_MOST: u64 = 3_600;

/// Who pays fees, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sponsor {
    /// The key of the account that pays.
    pub key_file: PathBuf,
    /// What it pays for; whose account that is, the key says.
    pub policy: Policy,
    /// What it spends in an hour.
    pub budget: BudgetLimits,
}

/// The sponsor of the file; `None` inside when there is none.
pub(super) fn sponsor(
    raw: &raw::Sponsor,
    token: Option<Address>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<Option<Sponsor>> {
    let key_file = match &raw.key_file {
        Some(path) => file("sponsor.key_file", path, directory, problems).map(Some),
        None => Some(None),
    };
    let mut amount = |key: &str, value: &str| problems.check(key, value, expected(key), parse::price);
    let fee_max = amount("sponsor.fee_max", &raw.fee_max);
    let payer = amount("sponsor.budget_per_payer_per_hour", &raw.budget_per_payer_per_hour);
    let all = amount("sponsor.budget_per_hour", &raw.budget_per_hour);
    let fee_token = match &raw.fee_token {
        Some(token) => {
            let key = "sponsor.fee_token";
            problems.check(key, token, expected(key), parse::address)
        }
        None => token,
    };
    let mut within = |key: &str, value: u64, least: u64, most: u64| {
        let inside = (least..=most).contains(&value);
        if !inside {
            problems.add(key, value.to_string(), expected(key));
        }
        inside.then_some(value)
    };
    let gas_max = within("sponsor.gas_max", raw.gas_max, GAS_LEAST, GAS_MOST);
    let gas_price_max = within("sponsor.gas_price_max", raw.gas_price_max, 1, u64::MAX);
    let valid_for = within("sponsor.valid_for_s_max", raw.valid_for_s_max, 1, VALID_FOR_S_MOST);
    // A limit below what one transaction may cost would refuse what the policy allows, every time.
    let rising =
        [("sponsor.budget_per_payer_per_hour", fee_max, payer), ("sponsor.budget_per_hour", payer, all)];
    let mut is_rising = true;
    for (key, least, found) in rising {
        if let (Some(least), Some(found)) = (least, found)
            && found < least
        {
            problems.add(
                key,
                quoted(&found.to_string()),
                &format!("at least {least}: what it must hold of one"),
            );
            is_rising = false;
        }
    }
    let policy = Policy {
        sponsor: Address::ZERO,
        fee_token: fee_token?,
        gas_max: gas_max?,
        gas_price_max: gas_price_max?.into(),
        fee_max: fee_max?,
        valid_for_s_max: valid_for?,
    };
    let budget = BudgetLimits { payer: payer?, all: all? };
    let sponsor = |key_file| Sponsor { key_file, policy, budget };
    is_rising.then_some(key_file?.map(sponsor))
}

#[cfg(test)]
mod tests {
    use farebox_core::units::Amount;

    use super::*;

    const TOKEN: Address = Address::repeat_byte(2);

    fn read(raw: &raw::Sponsor) -> Result<Option<Sponsor>, Vec<String>> {
        let mut problems = Problems::new(Default::default());
        let sponsor = sponsor(raw, Some(TOKEN), Path::new("/etc"), &mut problems);
        let found: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        sponsor.filter(|_| found.is_empty()).ok_or(found)
    }

    fn on() -> raw::Sponsor {
        raw::Sponsor { key_file: Some("sponsor.key".into()), ..raw::Sponsor::default() }
    }

    #[test]
    fn without_a_key_nobody_pays() {
        assert_eq!(read(&raw::Sponsor::default()), Ok(None));
        let sponsor = read(&on()).unwrap().unwrap();
        assert_eq!(sponsor.key_file, Path::new("/etc/sponsor.key"));
        assert_eq!(
            sponsor.policy,
            Policy { fee_token: TOKEN, ..Policy::default() },
            "the policy's own defaults"
        );
        assert!(sponsor.policy.gas_max >= 1_000_000, "what clients ask for an open");
        assert!(sponsor.budget.payer >= sponsor.policy.fee_max);
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        let cases = [
            (raw::Sponsor { gas_max: 99_999, ..on() }, "sponsor.gas_max: found 99999"),
            (raw::Sponsor { gas_price_max: 0, ..on() }, "sponsor.gas_price_max: found 0"),
            (raw::Sponsor { valid_for_s_max: 3_601, ..on() }, "sponsor.valid_for_s_max: found 3601"),
            (raw::Sponsor { fee_max: "0".into(), ..on() }, "sponsor.fee_max: found \"0\""),
            (raw::Sponsor { fee_token: Some("x".into()), ..on() }, "sponsor.fee_token: found \"x\""),
            (raw::Sponsor { key_file: Some(String::new()), ..on() }, "sponsor.key_file: found \"\""),
            (
                raw::Sponsor { budget_per_payer_per_hour: "99999".into(), ..on() },
                "sponsor.budget_per_payer_per_hour: found \"99999\", expected at least 100000",
            ),
            (
                raw::Sponsor { budget_per_hour: "499999".into(), ..on() },
                "sponsor.budget_per_hour: found \"499999\", expected at least 500000",
            ),
        ];
        for (raw, found) in cases {
            let problems = read(&raw).unwrap_err();
            assert!(problems.iter().any(|problem| problem.starts_with(found)), "{found}: {problems:?}");
        }
    }

    #[test]
    fn fees_may_be_paid_in_another_token() {
        let other = Address::repeat_byte(7);
        let raw = raw::Sponsor { fee_token: Some(format!("{other:#x}")), ..on() };
        assert_eq!(read(&raw).unwrap().unwrap().policy.fee_token, other);
        assert_eq!(read(&on()).unwrap().unwrap().policy.fee_max, Amount::new(100_000));
    }
}
