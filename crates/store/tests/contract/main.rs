//! The contract of the store: what every engine must do, written as functions over a factory of
//! stores, so that each engine is one instance of the suite.

mod delivering;
mod house;

use house::House;

/// One test per contract function and engine.
macro_rules! contract {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(&super::House::sqlite()).await;
            })*
        }
    };
}

contract! {
    delivering::a_letter_travels,
}
