//! The device's data path on bare metal: pose messages in, windows, STG-NF, verdict head, decisions, events, messages out.
//!
//! `board/reach.sh` builds it for a 64-bit and for a microcontroller's target, prints how much flash and memory it takes, and runs it in an
//! emulator of the processor: the bits of the exact lane must be those of every other machine. Nothing emulated is called a speed.
//!
//! JUSTIFICATION of `unsafe` in this package: memory without a heap is a `static`, a program without an operating system begins at an
//! exported symbol, and an emulator is talked to by an instruction. Nothing of it is shipped.
#![no_std]
#![cfg_attr(target_os = "none", no_main)]

mod data_path;

mod exact_lane;

#[cfg(target_os = "none")]
mod semihosting;

#[cfg(target_os = "none")]
mod stack;

/// For `cargo check` and editors on an ordinary machine: there is nothing to see there.
#[cfg(not(target_os = "none"))]
compile_error!("this program is for targets without an operating system: use board/reach.sh");

/// The program's beginning. The emulator has set a stack; a board's start-up code would, too.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    stack::paint();
    let bits = exact_lane::bits();
    semihosting::print("exact lane's bits ");
    semihosting::print_hexadecimal(bits);
    let outcome = data_path::run();
    semihosting::print(", windows scored ");
    semihosting::print_hexadecimal(outcome.windows_scored);
    semihosting::print(", events ");
    semihosting::print_hexadecimal(outcome.events);
    semihosting::print(", bytes out ");
    semihosting::print_hexadecimal(outcome.bytes_out);
    semihosting::print(", stack bytes ");
    semihosting::print_hexadecimal(stack::bytes_used() as u64);
    semihosting::print("\n");
    semihosting::exit(bits == exact_lane::EXPECTED && outcome.is_as_expected())
}

#[cfg(target_os = "none")]
#[panic_handler]
fn stop(_: &core::panic::PanicInfo<'_>) -> ! {
    semihosting::print("panic\n");
    semihosting::exit(false)
}
