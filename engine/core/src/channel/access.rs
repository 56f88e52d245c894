//! Who may pay: deny and allow lists of payers, signers and channels, each entry with an end.
//!
//! The operator writes the lists; [`super::Limits`] asks them before a step that buys something. They never
//! touch what was bought before: captures of a promised reservation, closes and settlements go on.

use alloc::collections::BTreeMap;
use core::fmt;

use super::rejection::Rejection;
use crate::units::{Address, ChannelId, UnixSeconds};

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// All channels of a payer.
    Payer(Address),
    /// All channels whose vouchers somebody signs.
    Signer(Address),
    /// One channel.
    Channel(ChannelId),
}

/// What kind of a subject a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    /// A payer.
    Payer,
    /// A signer.
    Signer,
    /// A channel.
    Channel,
}

impl Subject {
    /// Its kind.
    pub const fn kind(&self) -> SubjectKind {
        match self {
            Self::Payer(_) => SubjectKind::Payer,
            Self::Signer(_) => SubjectKind::Signer,
            Self::Channel(_) => SubjectKind::Channel,
        }
    }
}

impl fmt::Display for SubjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payer => "payer",
            Self::Signer => "signer",
            Self::Channel => "channel",
        })
    }
}

/// Who stands behind a voucher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// Who locked the deposit; `None` when it is not known yet (a v1 channel before it is opened).
    pub payer: Option<Address>,
    /// Who signs the vouchers.
    pub signer: Address,
    /// The channel.
    pub channel: ChannelId,
}

impl Party {
    /// Whom the lists are asked about: the most general first.
    fn subjects(self) -> impl Iterator<Item = Subject> {
        let known = [Some(Subject::Signer(self.signer)), Some(Subject::Channel(self.channel))];
        core::iter::once(self.payer.map(Subject::Payer)).chain(known).flatten()
    }
}

/// Until when an entry holds; it is over at that second. `None` holds for ever.
pub type Until = Option<UnixSeconds>;

/// A list, each subject once.
pub type AccessList = BTreeMap<Subject, Until>;

/// The operator's lists. A denial wins over a permission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Who may not pay.
    pub deny: AccessList,
    /// Who alone may pay; `None` lets everybody. A list that is empty, or whose entries are all over, lets
    /// nobody.
    pub allow: Option<AccessList>,
}

impl Access {
    /// Whether nobody is listed.
    pub fn is_open(&self) -> bool {
        self.deny.is_empty() && self.allow.is_none()
    }

    /// Refuses who is denied, or not allowed.
    ///
    /// # Errors
    ///
    /// [`Rejection::Denied`] and [`Rejection::NotAllowed`].
    pub fn check(&self, party: Party, now: UnixSeconds) -> Result<(), Rejection> {
        if let Some(rejection) = self.denial(party, now) {
            return Err(rejection);
        }
        let Some(allow) = &self.allow else { return Ok(()) };
        let is_listed = |subject| allow.get(&subject).is_some_and(|until| holds(*until, now));
        // A payer who is not known yet may be the one who is listed; the terms say so before anything is bought.
        if party.payer.is_none() || party.subjects().any(is_listed) {
            return Ok(());
        }
        Err(Rejection::NotAllowed)
    }

    /// The denial that holds for longest.
    fn denial(&self, party: Party, now: UnixSeconds) -> Option<Rejection> {
        let found = |subject| {
            let until = *self.deny.get(&subject)?;
            holds(until, now).then_some((subject.kind(), until))
        };
        let longest = |(_, until): &(SubjectKind, Until)| until.map_or(u64::MAX, |until| until.0);
        let (who, until) = party.subjects().filter_map(found).max_by_key(longest)?;
        let ends_in_s = until.map(|until| until.0.saturating_sub(now.0));
        Some(Rejection::Denied { who, ends_in_s })
    }
}

fn holds(until: Until, now: UnixSeconds) -> bool {
    until.is_none_or(|until| now < until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::B256;

    const NOW: UnixSeconds = UnixSeconds(1_000);
    const PARTY: Party = Party {
        payer: Some(Address::repeat_byte(1)),
        signer: Address::repeat_byte(2),
        channel: ChannelId(B256::repeat_byte(3)),
    };

    /// The subjects that a refusal of [`PARTY`] may name, and the same of somebody else.
    fn subjects() -> [(Subject, Subject); 3] {
        [
            (Subject::Payer(Address::repeat_byte(1)), Subject::Payer(Address::repeat_byte(2))),
            (Subject::Signer(Address::repeat_byte(2)), Subject::Signer(Address::repeat_byte(1))),
            (Subject::Channel(PARTY.channel), Subject::Channel(ChannelId(B256::repeat_byte(1)))),
        ]
    }

    fn list(entries: &[(Subject, Until)]) -> AccessList {
        entries.iter().copied().collect()
    }

    #[test]
    fn a_denial_holds_until_its_end_and_for_its_subject_only() {
        for (subject, other) in subjects() {
            let access = Access { deny: list(&[(subject, Some(NOW))]), allow: None };
            assert_eq!(access.check(PARTY, NOW), Ok(()), "it is over");
            let before = UnixSeconds(NOW.0 - 1);
            let denied = Rejection::Denied { who: subject.kind(), ends_in_s: Some(1) };
            assert_eq!(access.check(PARTY, before), Err(denied));
            let access = Access { deny: list(&[(other, None)]), allow: None };
            assert_eq!(access.check(PARTY, NOW), Ok(()));
            let access = Access { deny: list(&[(subject, None)]), allow: None };
            let forever = UnixSeconds(u64::MAX);
            assert_eq!(
                access.check(PARTY, forever),
                Err(Rejection::Denied { who: subject.kind(), ends_in_s: None })
            );
        }
    }

    #[test]
    fn an_allow_list_lets_its_subjects_in_and_nobody_else() {
        for (subject, other) in subjects() {
            let only =
                |entries: &[(Subject, Until)]| Access { allow: Some(list(entries)), ..Access::default() };
            assert_eq!(only(&[(subject, None)]).check(PARTY, NOW), Ok(()));
            assert_eq!(only(&[(other, None)]).check(PARTY, NOW), Err(Rejection::NotAllowed));
            assert_eq!(only(&[(subject, Some(NOW))]).check(PARTY, NOW), Err(Rejection::NotAllowed), "over");
        }
        let nobody = Access { allow: Some(AccessList::new()), ..Access::default() };
        assert_eq!(nobody.check(PARTY, NOW), Err(Rejection::NotAllowed));
    }

    #[test]
    fn a_denial_wins_over_a_permission_and_the_longest_one_is_told() {
        let [(payer, _), (signer, _), (channel, _)] = subjects();
        let end = |seconds| Some(UnixSeconds(seconds));
        let deny = list(&[(payer, end(2_000)), (signer, end(3_000)), (channel, end(1_500))]);
        let access = Access { deny, allow: Some(list(&[(payer, None)])) };
        let longest = Rejection::Denied { who: SubjectKind::Signer, ends_in_s: Some(2_000) };
        assert_eq!(access.check(PARTY, NOW), Err(longest));
        assert_eq!(access.check(PARTY, UnixSeconds(3_000)), Ok(()));
    }

    #[test]
    fn an_unknown_payer_is_not_refused_for_missing_on_the_allow_list_but_a_denied_signer_is() {
        let [(payer, _), (signer, _), _] = subjects();
        let unknown = Party { payer: None, ..PARTY };
        let access = Access { allow: Some(list(&[(payer, None)])), ..Access::default() };
        assert_eq!(access.check(unknown, NOW), Ok(()));
        let access = Access { deny: list(&[(signer, None)]), ..access };
        let denied = Rejection::Denied { who: SubjectKind::Signer, ends_in_s: None };
        assert_eq!(access.check(unknown, NOW), Err(denied));
    }
}
