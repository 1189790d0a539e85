//! What goes wrong between the store and a PostgreSQL server: each with a real server, and what the
//! operator is told.

#![expect(clippy::unwrap_used, reason = "a test")]

#[expect(dead_code, reason = "the contract suite uses the rest")]
#[path = "../contract/house.rs"]
mod house;

mod faults;
mod tls;
mod unknown;

use base::error::Classified;
use pennyblack_store::{Store, StoreError};

use house::House;

/// The error of opening a store at a URL.
async fn refusal(url: &str) -> StoreError {
    let opened = Store::open(House::at(url).options()).await;
    opened.err().unwrap()
}

/// Checks that an error names its cause and the way out, and is of the class that is tried again.
fn names(error: &StoreError, expected: &[&str]) {
    let text = error.to_string();
    for words in expected {
        assert!(text.contains(words), "{words} is missing: {text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
}

fn is_transient(error: &StoreError) -> bool {
    error.class() == base::Class::Transient
}
