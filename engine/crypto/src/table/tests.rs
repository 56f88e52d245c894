//! Tables against k256's scalar multiplication.

use super::*;
use crate::backend::Backend;
use crate::field::portable::Portable;
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::sec1::ToSec1Point;
use k256::{ProjectivePoint, Scalar};

fn words(bytes: &[u8]) -> Words {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().rev().zip(bytes.chunks(8)) {
        *word = u64::from_be_bytes(bytes.try_into().unwrap());
    }
    words
}

fn packed(point: ProjectivePoint) -> PackedPoint {
    let encoded = point.to_affine().to_sec1_point(false);
    let bytes = encoded.as_bytes();
    PackedPoint { x: words(&bytes[1..33]), y: words(&bytes[33..]) }
}

/// Every point of a small table, and a sample of a large one.
fn check(table: &Table, key: ProjectivePoint) {
    assert_eq!(table.points().len(), table.shape().points());
    for window in table.shape().windows() {
        let base = (0..window.offset).fold(key, |point, _| point.double());
        let count = 1_u64 << (window.bits - 1);
        let stride = (count / 32).max(1);
        for i in (0..count).step_by(stride as usize).chain([count - 1]) {
            let expected = packed(base * Scalar::from(2 * i + 1));
            assert_eq!(table.points()[usize::from(window.first) + i as usize], expected, "{window:?}, {i}");
        }
    }
}

#[test]
fn shapes_cover_a_half_and_have_the_documented_sizes() {
    let sizes = Shape::ALL.map(|shape| shape.points() * size_of::<PackedPoint>());
    assert_eq!(sizes, [16_896, 26_112, 41_984, 139_264, 2_490_368]);
    for shape in Shape::ALL {
        let (mut offset, mut first) = (0, 0);
        for window in shape.windows() {
            assert_eq!((window.offset, usize::from(window.first)), (offset, first));
            offset += window.bits;
            first += 1 << (window.bits - 1);
        }
        assert_eq!(offset, HALF_BITS);
    }
}

#[test]
fn tables_hold_odd_multiples() {
    let lambda = Scalar::from_repr(
        [
            0x53, 0x63, 0xad, 0x4c, 0xc0, 0x5c, 0x30, 0xe0, 0xa5, 0x26, 0x1c, 0x02, 0x88, 0x12, 0x64, 0x5a,
            0x12, 0x2e, 0x22, 0xea, 0x20, 0x81, 0x66, 0x78, 0xdf, 0x02, 0x96, 0x7c, 0x1b, 0x23, 0xbd, 0x72,
        ]
        .into(),
    )
    .unwrap();
    let scalars = [
        Scalar::ONE,
        -Scalar::ONE,
        lambda,
        -lambda,
        Scalar::from(7_u64),
        Scalar::from(u64::MAX),
        lambda + lambda,
    ];
    let keys: Vec<_> = scalars.iter().map(|scalar| ProjectivePoint::GENERATOR * scalar).collect();
    let packed_keys: Vec<_> = keys.iter().map(|key| packed(*key)).collect();
    assert_eq!(packed_keys[0], GENERATOR_POINT);
    for shape in [Shape::SIGNER_16_KB, Shape::SIGNER_25_KB, Shape::SIGNER_41_KB, Shape::SIGNER_136_KB] {
        // One key, and more keys than lanes.
        for count in [1, keys.len()] {
            let keys = packed_keys.iter().cycle().take(count + 2).copied().collect::<Vec<_>>();
            let tables = Portable.run(Build { keys: &keys, shape });
            assert_eq!(tables.len(), keys.len());
            if let Backend::Avx512(token) = Backend::detect() {
                assert_eq!(token.run(Build { keys: &keys, shape }), tables);
            }
        }
        let tables = Portable.run(Build { keys: &packed_keys, shape });
        for (table, key) in tables.iter().zip(&keys) {
            check(table, *key);
        }
    }
}

#[test]
fn the_generators_table() {
    let table = &Portable.run(Build { keys: &[GENERATOR_POINT], shape: Shape::GENERATOR })[0];
    check(table, ProjectivePoint::GENERATOR);
}
