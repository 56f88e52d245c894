//! Tables in lanes, against k256.

use farebox_crypto::backend::Lanes;
use farebox_crypto::table::{Build, Shape};
use k256::Scalar;
use k256::elliptic_curve::Field;

use super::field::on_all_backends;
use super::input::Input;
use crate::kernel::packed;
use crate::signer::{edges, multiple_of_generator, random};

/// Entries that are looked at, of each table.
const LOOKED_AT: usize = 4;

pub fn build(input: &mut Input) {
    on_all_backends!(input, build_on);
}

fn build_on<L: Lanes>(lanes: L, input: &mut Input) {
    let shape = Shape::SIGNERS[input.below(Shape::SIGNERS.len())];
    let secrets: Vec<_> = (0..1 + input.below(L::LANES + 2))
        .map(|_| match input.byte() % 4 {
            0 => edges()[input.below(edges().len())],
            1 => Scalar::from(u64::from(input.byte()) + 1),
            2 => -Scalar::from(u64::from(input.byte()) + 1),
            _ => random(input),
        })
        .collect();
    let keys: Vec<_> = secrets.iter().map(|secret| packed(&multiple_of_generator(*secret))).collect();
    let tables = lanes.run(Build { keys: &keys, shape });
    assert_eq!(tables.len(), keys.len());
    let windows: Vec<_> = shape.windows().collect();
    for (table, secret) in tables.iter().zip(secrets) {
        assert_eq!((table.shape(), table.points().len()), (shape, shape.points()));
        for _ in 0..LOOKED_AT {
            let window = windows[input.below(windows.len())];
            let index = input.below(1 << (window.bits - 1));
            let power = Scalar::from(2_u64).pow_vartime([u64::from(window.offset)]);
            let expected =
                packed(&multiple_of_generator(secret * power * Scalar::from(2 * index as u64 + 1)));
            assert_eq!(table.points()[usize::from(window.first) + index], expected, "{window:?}, {index}");
        }
    }
}
