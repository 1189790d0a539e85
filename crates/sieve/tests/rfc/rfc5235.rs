//! RFC 5235: what filters said.

use pennyblack_sieve::Scores;

use crate::support::{Scene, errors};

fn with(spam_percent: Option<u8>, virus: Option<u8>) -> Scene {
    Scene {
        scores: Scores {
            spam_percent,
            virus,
        },
        ..Scene::default()
    }
}

const NEEDS: &str = "spamtest spamtestplus virustest relational comparator-i;ascii-numeric";

#[test]
fn section_3_2_spamtest() {
    let spam = |percent: Option<u8>, value: &str| {
        let test = format!("spamtest :value \"eq\" :comparator \"i;ascii-numeric\" \"{value}\"");
        with(percent, None).is(NEEDS, &test)
    };
    assert!(spam(None, "0"), "not tested");
    assert!(spam(Some(0), "1"));
    assert!(spam(Some(5), "1"));
    assert!(spam(Some(50), "6"));
    assert!(spam(Some(94), "9"));
    assert!(spam(Some(100), "10"));
    assert!(spam(Some(255), "10"));
}

#[test]
fn section_3_2_1_percent_and_count() {
    let percent = |percent: Option<u8>, test: &str| {
        with(percent, None).is(
            NEEDS,
            &format!("spamtest :comparator \"i;ascii-numeric\" {test}"),
        )
    };
    assert!(percent(Some(37), ":percent :value \"gt\" \"35\""));
    assert!(!percent(Some(35), ":percent :value \"gt\" \"35\""));
    assert!(percent(None, ":percent :value \"eq\" \"0\""));
    assert!(percent(None, ":percent :count \"eq\" \"0\""));
    assert!(percent(Some(0), ":percent :count \"eq\" \"1\""));
    assert_eq!(
        errors("require \"spamtest\"; if spamtest :percent \"0\" {}"),
        "line 1, column 33: `:percent` needs `require \"spamtestplus\";` at the start of the script"
    );
}

#[test]
fn section_3_3_virustest() {
    let virus = |value: Option<u8>, test: &str| {
        with(None, value).is(
            NEEDS,
            &format!("virustest :comparator \"i;ascii-numeric\" {test}"),
        )
    };
    assert!(virus(None, ":value \"eq\" \"0\""));
    assert!(virus(Some(1), "\"1\""));
    assert!(virus(Some(4), ":value \"gt\" \"3\""));
    assert!(virus(Some(9), "\"5\""));
}
