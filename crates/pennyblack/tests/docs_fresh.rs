//! `docs/settings.md` is the same as the tables in the code.

use std::path::Path;

#[test]
fn the_page_of_settings_is_fresh() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let wanted = pennyblack::settings::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/settings.md is not fresh; write it anew with\n\
         UPDATE_DOCS=1 cargo test -p pennyblack --test docs_fresh"
    );
}
