//! `alfred-edge`: scores tracked skeletons on the device. All of it is in the library; here is only what a binary alone can have.

use alfred_board::counting_allocator::CountingAllocator;
use alfred_models::arena::ArenaAllocator;
use std::process::ExitCode;

/// Counts allocations, and serves the ONNX engine from its arena.
#[global_allocator]
static ALLOCATOR: CountingAllocator<ArenaAllocator> = CountingAllocator(ArenaAllocator::new());

fn main() -> ExitCode {
    alfred_runtime::cli::main()
}
