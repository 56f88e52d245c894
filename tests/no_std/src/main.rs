//! The proof that the functional core needs no standard library.
//!
//! This program has its own panic handler and its own allocator. If any crate below it linked `std`, there
//! would be two panic handlers, and the compiler refuses that. It also runs: it verifies a voucher that
//! another library signed, and exits with 0 if the answer is right. `scripts/check-no-std.sh` builds it.
#![no_std]
#![no_main]

extern crate alloc;

#[cfg(feature = "sneak-std")]
extern crate std;

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

use farebox_core::units::{Address, Amount, ChainId, ChannelId};
use farebox_core::voucher::{Domain, SignedVoucher, V1, Voucher, Verifier};
// Linked for its own sake.
use farebox_settlement_plan as _;

// The C start-up code and the memory functions that compilers call.
#[link(name = "c")]
unsafe extern "C" {
    fn abort() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: `abort` takes nothing and does not return.
    unsafe { abort() }
}

/// Precompiled `core` names these two, and nothing calls them in a program that aborts on panic.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// See [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}

/// The memory of the whole run.
const HEAP_BYTES: usize = 1 << 20;

/// Hands out memory and takes none back: the run is short.
struct Bump;

#[global_allocator]
static ALLOCATOR: Bump = Bump;

static NEXT: AtomicUsize = AtomicUsize::new(0);

#[repr(align(64))]
struct Heap(core::cell::UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: every byte is handed out once, to one owner.
unsafe impl Sync for Heap {}

static HEAP: Heap = Heap(core::cell::UnsafeCell::new([0; HEAP_BYTES]));

// SAFETY: `alloc` returns aligned, disjoint ranges of `HEAP`, or null when it is used up.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // With the worst padding included, the range that is reserved holds an aligned one.
        let reserved = layout.size() + layout.align();
        let start = NEXT.fetch_add(reserved, Ordering::Relaxed);
        if start.checked_add(reserved).is_none_or(|end| end > HEAP_BYTES) {
            return core::ptr::null_mut();
        }
        let base = HEAP.0.get().cast::<u8>();
        // SAFETY: `start + padding + size` is within the heap, as checked above.
        unsafe { base.add(start + base.add(start).align_offset(layout.align())) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// The first voucher of `engine/core/tests/vectors`: signed by viem, v1, 65 bytes.
const SIGNATURE: &str = "5082661a0bb138ff3dbab9632a2dea82e42d143bf1b3520a1c35ce2c725e2d69\
                         3ddff65fbe229ff20f096f1092cb63297fe9cf9e54818105394ef8454f3690dd1c";
const CHANNEL: &str = "ac1c0b6b5bb516a104d5d8669ebc1d8a7ecf6b72763f4ea542c5101b4f2d2260";
const ESCROW: &str = "51bd6194a25ac6ebe692e622350e1d85440cf132";
const SIGNER: &str = "02d60b5259ee279855d5b036a1273a147cac4e3c";

/// 0: the voucher is valid and its neighbour is not. 1: a wrong answer.
#[unsafe(no_mangle)]
pub extern "C" fn main(_: c_int, _: *const *const u8) -> c_int {
    let (Ok(channel), Ok(escrow), Ok(signer)) = (CHANNEL.parse(), ESCROW.parse::<Address>(), SIGNER.parse())
    else {
        return 1;
    };
    let signature = bytes::<65>(SIGNATURE);
    let domain = Domain::<V1>::new(ChainId(4217), escrow);
    let verifier = Verifier::new();
    let valid = |amount| {
        let voucher = Voucher { channel_id: ChannelId(channel), cumulative_amount: Amount::new(amount) };
        SignedVoucher::parse(voucher, &signature)
            .is_ok_and(|signed| verifier.verify_one(&domain, &signed, signer).is_ok())
    };
    c_int::from(!valid(0) || valid(1))
}

/// Reads hex digits; anything else counts as zero, and then no signature is valid.
fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    let mut digits = hex.chars().map(|digit| digit.to_digit(16).unwrap_or(0) as u8);
    core::array::from_fn(|_| digits.next().unwrap_or(0) << 4 | digits.next().unwrap_or(0))
}
