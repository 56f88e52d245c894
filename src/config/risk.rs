//! `[risk]`: what the operator risks at most, and who may pay.

use farebox_core::challenge::rfc3339;
use farebox_core::channel::{Access, AccessList, Limits, RATE_MAX, Rate, Subject, UnsettledBasis, Until};
use farebox_core::units::{Amount, B256, ChannelId, UnixSeconds};

use super::expected::expected;
use super::problem::Problems;
use super::{parse, raw};

/// The most entries of one list.
pub const ACCESS_ENTRIES_MAX: usize = 100_000;
/// The longest age that makes sense, in seconds: a hundred years.
const AGE_S_MAX: u64 = 100 * 365 * 86_400;

/// The limits of the file.
pub(super) fn risk(raw: &raw::Risk, problems: &mut Problems) -> Option<Limits> {
    let mut amount = |key: &str, value: &str| problems.check(key, value, expected(key), parse::amount);
    let deposit_min = amount("risk.deposit_min", &raw.deposit_min);
    let payer_max = amount("risk.unsettled_payer_max", &raw.unsettled_payer_max);
    let total_max = amount("risk.unsettled_total_max", &raw.unsettled_total_max);
    let key = "risk.unsettled_basis";
    let basis = problems.check(key, &raw.unsettled_basis, expected(key), |text| match text {
        "spent" => Some(UnsettledBasis::Spent),
        "accepted" => Some(UnsettledBasis::Accepted),
        _ => None,
    });
    let mut within = |key: &str, value: u64, least: u64, most: u64| {
        let inside = (least..=most).contains(&value);
        if !inside {
            problems.add(key, value.to_string(), expected(key));
        }
        inside.then_some(value)
    };
    let key = "risk.vouchers_per_second_max";
    let per_second = within(key, raw.vouchers_per_second_max, 0, RATE_MAX.into());
    let burst = within("risk.voucher_burst_max", raw.voucher_burst_max, 1, RATE_MAX.into());
    let age = within("risk.unsettled_age_s_max", raw.unsettled_age_s_max, 0, AGE_S_MAX);
    let deny = list("risk.deny", &raw.deny, problems);
    let allow = list("risk.allow", &raw.allow, problems);
    Some(Limits {
        deposit_min: deposit_min?,
        // `None` for zero, which is off; both fit, as was checked.
        rate: Rate::new(u32::try_from(per_second?).ok()?, u32::try_from(burst?).ok()?),
        basis: basis?,
        unsettled_payer_max: payer_max.map(on)?,
        unsettled_total_max: total_max.map(on)?,
        unsettled_age_s_max: age.map(|age| (age > 0).then_some(age))?,
        access: Access { deny: deny?, allow: allow.map(|list| (!raw.allow.is_empty()).then_some(list))? },
    })
}

/// Zero turns a limit off.
fn on(amount: Amount) -> Option<Amount> {
    (!amount.is_zero()).then_some(amount)
}

fn list(key: &str, entries: &[raw::AccessEntry], problems: &mut Problems) -> Option<AccessList> {
    if entries.len() > ACCESS_ENTRIES_MAX {
        problems.add(key, format!("{} entries", entries.len()), expected(key));
        return None;
    }
    let mut list = AccessList::new();
    let mut is_whole = true;
    for (index, entry) in entries.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match read(&key, entry, problems) {
            Some((subject, until)) => {
                if list.insert(subject, until).is_some() {
                    problems.add(&key, format!("a {} that is listed before", subject.kind()), "each once");
                    is_whole = false;
                }
            }
            None => is_whole = false,
        }
    }
    is_whole.then_some(list)
}

fn read(key: &str, entry: &raw::AccessEntry, problems: &mut Problems) -> Option<(Subject, Until)> {
    let raw::AccessEntry { payer, signer, channel, until } = entry;
    let named = [("payer", payer), ("signer", signer), ("channel", channel)];
    let mut given = named.into_iter().filter_map(|(name, value)| value.as_deref().map(|value| (name, value)));
    let (Some((name, value)), None) = (given.next(), given.next()) else {
        let count = named.iter().filter(|(_, value)| value.is_some()).count();
        problems.add(key, format!("{count} of payer, signer and channel"), expected(key));
        return None;
    };
    let path = format!("{key}.{name}");
    let subject = problems.check(&path, value, expected(&path), |text| {
        Some(match name {
            "payer" => Subject::Payer(parse::address(text)?),
            "signer" => Subject::Signer(parse::address(text)?),
            _ => Subject::Channel(channel_id(text)?),
        })
    });
    let until = match until {
        None => Some(None),
        Some(until) => {
            let path = format!("{key}.until");
            problems.check(&path, until, expected(&path), time).map(Some)
        }
    };
    Some((subject?, until?))
}

fn channel_id(text: &str) -> Option<ChannelId> {
    let digits = text.strip_prefix("0x")?;
    (digits.len() == 64).then(|| digits.parse::<B256>().ok()).flatten().map(ChannelId)
}

/// A time, rounded up to a second: an entry does not end early.
fn time(text: &str) -> Option<UnixSeconds> {
    rfc3339::parse(text).map(|time| UnixSeconds(time.0.div_ceil(1_000)))
}
