//! What the fuzz targets run: one function a target, from any bytes to numbers of the kind that its subject takes, and from
//! both backends' results to big integers, or to libsecp256k1.
//!
//! `make fuzz` lets libFuzzer choose the bytes, guided by coverage (the folder `fuzz` in the root of the repository). The
//! ordinary tests feed every target random bytes, and some that are all alike.

mod field;
mod hash;
mod input;
mod scalar;
mod signatures;
mod table;

use input::Input;

/// A target by its name.
type Target = (&'static str, fn(&mut Input));

/// Every target: each function of the contracts `field` and `scalar`, and what is built from them.
pub const TARGETS: [Target; 25] = [
    ("field_load", field::load),
    ("field_gather", field::gather),
    ("field_factor", field::factor),
    ("field_mul", field::mul),
    ("field_square", field::square),
    ("field_sub", field::sub),
    ("field_mul_sub", field::mul_sub),
    ("field_square_sub2", field::square_sub2),
    ("field_store", field::store),
    ("field_is_zero", field::is_zero),
    ("field_select", field::select),
    ("field_invert", field::invert),
    ("modinv_field", field::modinv),
    ("scalar_load", scalar::load),
    ("scalar_mul", scalar::mul),
    ("scalar_split", scalar::split),
    ("scalar_window", scalar::window),
    ("scalar_invert", scalar::invert),
    ("modinv_scalar", scalar::modinv),
    ("keccak_many", hash::keccak_many),
    ("signature_parse", signatures::parse),
    ("table_build", table::build),
    ("kernel_decide", signatures::kernel_decide),
    ("cold_decide", signatures::cold_decide),
    ("verify_batch", signatures::verify_batch),
];

/// Runs a target. It panics if the code under test is wrong.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(found, _)| *found == name).expect("a target of this name");
    target(&mut Input::new(bytes));
}
