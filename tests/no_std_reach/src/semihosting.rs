//! What a program says to the emulator (or debugger) around it: Arm's semihosting, operations SYS_WRITE0 and SYS_EXIT. With the feature
//! `linux_calls` Linux's `write` and `exit` on 32-bit ARM instead.
//!
//! JUSTIFICATION of `unsafe`: an emulator is talked to by an instruction that no function of Rust's makes.

use core::arch::asm;

/// Prints a text of at most 63 bytes.
pub fn print(text: &str) {
    let mut bytes = [0; 64];
    let length = text.len().min(bytes.len() - 1);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    write(&bytes[..=length]);
}

/// Prints 16 hexadecimal digits.
pub fn print_hexadecimal(number: u64) {
    let mut text = [0; 17];
    for (place, digit) in text[..16].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15];
    }
    write(&text);
}

#[cfg(not(feature = "linux_calls"))]
mod calls {
    use super::asm;

    const SYS_WRITE0: usize = 0x04;
    const SYS_EXIT: usize = 0x18;
    /// "The program has ended": success, the only reason that emulators turn into exit code 0.
    const APPLICATION_EXIT: usize = 0x2_0026;
    /// "Something went wrong": exit code 1.
    const RUN_TIME_ERROR: usize = 0x2_0023;

    fn call(operation: usize, argument: usize) {
        // SAFETY: the emulator reads what `argument` points to, which the callers below keep alive, and changes the first register only.
        unsafe {
            #[cfg(target_arch = "aarch64")]
            asm!("hlt #0xf000", inout("x0") operation => _, in("x1") argument, options(nostack));
            #[cfg(target_arch = "arm")]
            asm!("bkpt #0xab", inout("r0") operation => _, in("r1") argument, options(nostack));
        }
    }

    /// Prints a text that ends in a zero.
    pub fn write(text: &[u8]) {
        call(SYS_WRITE0, text.as_ptr() as usize);
    }

    /// Ends the program.
    pub fn exit(is_well: bool) -> ! {
        let reason = if is_well { APPLICATION_EXIT } else { RUN_TIME_ERROR };
        // On 64 bits the argument is a block of reason and exit code.
        #[cfg(target_arch = "aarch64")]
        call(SYS_EXIT, [reason, usize::from(!is_well)].as_ptr() as usize);
        #[cfg(target_arch = "arm")]
        call(SYS_EXIT, reason);
        loop {}
    }
}

#[cfg(feature = "linux_calls")]
mod calls {
    use super::asm;

    const EXIT: usize = 1;
    const WRITE: usize = 4;

    fn call(number: usize, one: usize, two: usize, three: usize) {
        // SAFETY: Linux reads the text that `two` points to, which the caller keeps alive, and changes the first register only. r7 may
        // not be named as an operand, since it may be the frame pointer, so it is kept aside.
        unsafe {
            asm!("mov {kept}, r7", "mov r7, {number}", "svc 0", "mov r7, {kept}", number = in(reg) number, kept = out(reg) _,
                inout("r0") one => _, in("r1") two, in("r2") three, options(nostack));
        }
    }

    /// Prints a text that ends in a zero.
    pub fn write(text: &[u8]) {
        call(WRITE, 1, text.as_ptr() as usize, text.len() - 1);
    }

    /// Ends the program.
    pub fn exit(is_well: bool) -> ! {
        call(EXIT, usize::from(!is_well), 0, 0);
        loop {}
    }
}

pub use calls::exit;
use calls::write;
