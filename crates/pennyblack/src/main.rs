//! The program `pennyblack`.

fn main() {}
