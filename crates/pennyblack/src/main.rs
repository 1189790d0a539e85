//! The program `pennyblack`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pennyblack::cli::main()
}
