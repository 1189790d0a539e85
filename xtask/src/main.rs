//! `cargo run -p xtask -- tidy`: prints every broken house rule and fails when there is one.
#![expect(
    clippy::print_stdout,
    reason = "a command line program prints its findings"
)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["tidy"] {
        println!("usage: cargo run -p xtask -- tidy");
        return ExitCode::from(2);
    }
    match xtask::tidy(xtask::root()) {
        Ok(findings) if findings.is_empty() => ExitCode::SUCCESS,
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            println!("{} house rules are broken", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("tidy: cannot read the repository: {error}");
            ExitCode::FAILURE
        }
    }
}
