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
use interop::postgres::Postgres;
use interop::proxy::Proxy;
use pennyblack_store::{Store, StoreError};

use house::House;

/// A server behind a proxy, and the place for a store on it.
fn behind_proxy(server: &Postgres) -> (Proxy, House) {
    let url = server.database_of_user("mail", "s3cret");
    let proxy = Proxy::start(server.address);
    let house = House::at(&url.replace(&server.address.to_string(), &proxy.address.to_string()));
    (proxy, house)
}

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
