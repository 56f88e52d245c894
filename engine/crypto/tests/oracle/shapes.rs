//! The kernel itself, with tables of every shape: the verifier only uses two of them.

use std::collections::HashMap;

use farebox_crypto::backend::Lanes;
use farebox_crypto::kernel::Decision;
use farebox_crypto::table::{Build, Shape, Table};
use farebox_crypto::{Job, Outcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::judge::{agree, verdict};
use crate::kernel::{Kernel, OnLanes, on_all_backends, packed};
use crate::signer::{Signer, damage};
use crate::{seed, signatures};

/// The largest batch.
const BATCH_MAX: usize = 200;

/// Signers in a set, and how many of the signatures they get, as a divisor: tables of thousands take memory and time.
const SETS: [(usize, usize); 3] = [(1, 4), (70, 1), (5_000, 1)];

/// From so many signatures a shape on, thousands of tables are worth their building.
const MANY_WORTH: usize = 20_000;

/// Random signatures hardly ever meet an exceptional addition; those at the edges and one kind of damage do. More than one in
/// so many would mean that the kernel leaves its work to others.
const UNDECIDED_AT_MOST_ONE_IN: usize = 20;

/// The table of the signer that a job names.
struct Named<'a>(Job, &'a Table);

impl core::fmt::Debug for Named<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl Clone for Named<'_> {
    fn clone(&self) -> Self {
        Self(self.0, self.1)
    }
}

struct RandomAndDamaged {
    shape: Shape,
    signers: usize,
    count: usize,
}

impl OnLanes for RandomAndDamaged {
    fn run<L: Lanes>(&self, lanes: L) {
        let circumstances = (self.shape, self.signers, L::LANES, format!("seed {}", seed()));
        let mut rng = StdRng::seed_from_u64(seed() ^ self.signers as u64);
        let signers = Signer::many(&mut rng, self.signers);
        let keys: Vec<_> = signers.iter().map(|signer| packed(&signer.key)).collect();
        let tables = lanes.run(Build { keys: &keys, shape: self.shape });
        let named: HashMap<_, _> = signers.iter().map(|signer| signer.address).zip(&tables).collect();
        let mut kernel = Kernel::new(lanes);
        let (mut done, mut undecided) = (0, 0);
        while done < self.count {
            let size = rng.random_range(1..=BATCH_MAX);
            let mut jobs: Vec<_> =
                (0..size).map(|_| signers[rng.random_range(0..signers.len())].sign_any(&mut rng)).collect();
            for i in 0..size {
                if rng.random_range(0..3) == 0 {
                    damage(&mut rng, &mut jobs, i, &signers);
                }
            }
            // The kernel knows tables, not addresses: a job that names nobody here is not for it.
            let batch: Vec<_> =
                jobs.iter().filter_map(|job| Some(Named(*job, named.get(&job.signer)?))).collect();
            let mut decide = |batch: &[Named]| {
                let jobs: Vec<_> = batch.iter().map(|named| (named.0, named.1)).collect();
                let decisions = kernel.decide(self.shape, &jobs);
                undecided += decisions.iter().filter(|decision| **decision == Decision::Undecided).count();
                // A case that the kernel leaves to others is right by definition.
                let outcomes = decisions.iter().zip(batch).map(|(decision, named)| match decision {
                    Decision::Match => Outcome::Valid,
                    Decision::Mismatch => Outcome::Invalid,
                    Decision::Undecided => verdict(&named.0),
                });
                outcomes.collect()
            };
            done += agree(&batch, |named| verdict(&named.0), &mut decide, &circumstances);
        }
        assert!(undecided < 2 + done / UNDECIDED_AT_MOST_ONE_IN, "{undecided} of {done} are undecided");
    }
}

#[test]
fn tables_of_every_shape() {
    let per_shape = signatures() / Shape::SIGNERS.len() / 3;
    for shape in Shape::SIGNERS {
        for (signers, divisor) in SETS {
            // With few signatures to try, thousands of tables would be all that is tried.
            let signers = if per_shape < MANY_WORTH { signers.min(200) } else { signers };
            on_all_backends(&RandomAndDamaged { shape, signers, count: per_shape / divisor });
        }
    }
    println!(
        "shapes: {per_shape} signatures for each of 2 sets of signers a shape and backend, seed {}",
        seed()
    );
}
