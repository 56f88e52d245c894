//! Planted mistakes are found: by the comparison with the model, and by the rules on their own.

use farebox_simulation::bug::Bug;
use farebox_simulation::rules::Rule;
use farebox_simulation::run::{Failure, play};
use farebox_simulation::world::Options;

/// Seeds within which a planted mistake must show.
const SEEDS_MAX: u64 = 2_000;

/// The first history that a mistake breaks.
fn find(bug: Bug, model: bool) -> Box<Failure> {
    let options = |seed| Options { bug: Some(bug), model, ..Options::of(seed) };
    let failed = (0..SEEDS_MAX).find_map(|seed| play(options(seed)).err());
    failed.unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS_MAX} histories (model: {model})"))
}

#[test]
fn the_model_and_the_rules_find_every_planted_mistake() {
    for bug in Bug::ALL {
        let failure = find(bug, true);
        assert_ne!(failure.broken.rule, Rule::Panic, "{bug:?} must be found, not crash the play: {failure}");
    }
}

/// The eleven rules see it from where the payer and the chain stand, without a model to compare with.
#[test]
fn the_rules_alone_find_every_planted_mistake() {
    let expected = |bug: Bug| match bug {
        Bug::AnswerBeforeSync | Bug::LoseLastFrame => vec![Rule::Money(1), Rule::Recovery],
        Bug::MarkBeforeImages | Bug::ImageLeads => vec![Rule::Recovery, Rule::Money(1), Rule::Money(6)],
        Bug::CursorLeads => vec![Rule::Money(10)],
        Bug::CloseWholeVoucher | Bug::SettleUnspent => vec![Rule::Money(2)],
        Bug::LowerPays => vec![Rule::Money(3), Rule::Money(5)],
        Bug::PublicPays => vec![Rule::Money(4)],
        // Books from before the batch also hide a close request that came in it.
        Bug::SplitStep => {
            vec![Rule::Money(2), Rule::Money(5), Rule::Money(7), Rule::Money(8), Rule::Promise]
        }
        Bug::ReopenResets => vec![Rule::Money(2), Rule::Money(3), Rule::Money(6)],
        Bug::IgnoreCloseRequest => vec![Rule::Money(7)],
        Bug::ForgetOutcomes => vec![Rule::Money(8), Rule::Promise],
        // A stranger's voucher is taken, or refused with amounts that he must not hear.
        Bug::TrustPayload => vec![Rule::Money(9), Rule::Money(3)],
        Bug::AbortOnSilence => vec![Rule::Money(10)],
        Bug::OwnOperator => vec![Rule::Money(11)],
        Bug::OrphansKept => vec![Rule::Money(8)],
    };
    for bug in Bug::ALL {
        let failure = find(bug, false);
        assert!(
            expected(bug).contains(&failure.broken.rule),
            "{bug:?} is found for another reason: {failure}"
        );
    }
}
