//! RFC 3894: copies.

use crate::support::{check, errors};

#[test]
fn section_3_copies_leave_the_implicit_keep() {
    check(
        "require [\"copy\", \"fileinto\"]; fileinto :copy \"incoming\";",
        "fileinto \"incoming\"; implicit keep",
    );
    check(
        "require \"copy\"; redirect :copy \"x@y.test\";",
        "redirect x@y.test; implicit keep",
    );
    check(
        "require [\"copy\", \"fileinto\"]; fileinto :copy \"A\"; fileinto \"B\";",
        "fileinto \"A\"; fileinto \"B\"",
    );
    check(
        "require [\"copy\", \"fileinto\"]; fileinto :copy \"A\"; discard;",
        "fileinto \"A\"",
    );
    check(
        "require [\"copy\"]; redirect \"x@y.test\"; redirect :copy \"x@y.test\";",
        "redirect x@y.test",
    );
    assert_eq!(
        errors("require \"fileinto\"; fileinto :copy \"A\";"),
        "line 1, column 30: `:copy` needs `require \"copy\";` at the start of the script"
    );
}
