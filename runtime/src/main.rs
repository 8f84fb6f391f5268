//! `alfred-edge`: scores tracked skeletons on the device. All of it is in the library; here is only what a binary alone can have.

use alfred_board::counting_allocator::CountingAllocator;
#[cfg(feature = "onnx")]
use alfred_models::arena::ArenaAllocator;
use std::process::ExitCode;

/// Counts allocations, and serves the ONNX engine from its arena.
#[cfg(feature = "onnx")]
#[global_allocator]
static ALLOCATOR: CountingAllocator<ArenaAllocator> = CountingAllocator(ArenaAllocator::new());

/// Counts allocations.
#[cfg(not(feature = "onnx"))]
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator(std::alloc::System);

fn main() -> ExitCode {
    alfred_runtime::cli::main()
}
