//! Reports of others from the command line.

use crate::support::Folder;

/// RFC 8460 and RFC 9990: files alone and in letters, and what is none.
#[test]
fn reports_of_others_are_read() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let json = r#"{"organization-name": "Other", "report-id": "r2",
        "date-range": {"start-datetime": "2026-11-24T00:00:00Z",
                       "end-datetime": "2026-11-24T23:59:59Z"},
        "policies": [{"policy": {"policy-type": "tlsa", "policy-domain": "me.test"},
            "summary": {"total-successful-session-count": 7,
                        "total-failure-session-count": 0}}]}"#;
    let tls = write("tls.json", json);
    let dmarc = write(
        "letter.eml",
        "Subject: report\r\nContent-Type: text/xml\r\n\r\n\
         <feedback><report_metadata><org_name>Other</org_name><report_id>r1</report_id>\
         </report_metadata><policy_published><domain>me.test</domain></policy_published>\
         <record><row><source_ip>192.0.2.1</source_ip><count>4</count></row></record></feedback>",
    );
    let rows = folder.json(&["reports", "read", &tls, &dmarc, "--json"]);
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["good"]),
        (&"tls".into(), &7.into())
    );
    assert_eq!(
        (&rows[1]["kind"], &rows[1]["bad"]),
        (&"dmarc".into(), &4.into())
    );
    assert_eq!(rows[1]["rows"][0]["source"], "192.0.2.1");
    let told = folder.ok(&["reports", "read", &tls]);
    assert!(told.contains("organisation Other"), "{told}");
    let other = write("other.txt", "hello");
    folder.fails(1, &["reports", "read", &other], "no report");
    folder.fails(1, &["reports", "read", "/nowhere"], "No such file");
    folder.fails(2, &["reports", "read"], "Usage");
}
