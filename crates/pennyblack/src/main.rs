//! The program `pennyblack`.

use std::process::ExitCode;

/// Gives freed memory back soon, where the system's allocator keeps the large blocks that password
/// checks need.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pennyblack::cli::main()
}
