//! RFC 5183: the environment.

use crate::support::is;

#[test]
fn section_4_items() {
    let is = |test: &str| is("environment relational", test);
    assert!(is("environment \"domain\" \"Black.test\""));
    assert!(is("environment :matches \"DOMAIN\" \"*.test\""));
    assert!(is("environment :is \"location\" \"MDA\""));
    assert!(
        !is("environment :contains \"remote-host\" \"\""),
        "an item that is not known matches nothing"
    );
    assert!(is("environment :count \"eq\" \"remote-ip\" \"1\""));
    assert!(is("environment :count \"eq\" \"x-none\" \"0\""));
}
