//! RFC 5703: parts of the letter.

use message::Message;
use pennyblack_sieve::edited;

use crate::support::{Scene, errors};

const PARTS: &str = "From: a@x.test\nTo: bob@black.test\nSubject: parts\nMIME-Version: 1.0\n\
    Content-Type: multipart/mixed; boundary=\"outer\"\n\nprologue\n--outer\nContent-Type: multipart/alternative; boundary=inner\n\n\
    --inner\nContent-Type: text/plain; charset=utf-8; format=flowed\n\nPlain text here\n--inner\nContent-Type: text/html\n\n<b>bold</b>\n--inner--\n\
    --outer\nContent-Type: application/pdf; name=\"doc.pdf\"\nContent-Disposition: attachment; filename=\"virus.exe\"\nX-Part: last\n\nJVBE\n--outer--\n";

fn is(test: &str) -> bool {
    Scene::letter(PARTS).is("mime", test)
}

fn run(script: &str) -> String {
    let names = "\"foreverypart\", \"mime\", \"variables\", \"extracttext\", \"fileinto\", \"replace\", \"enclose\", \"editheader\", \"body\"";
    Scene::letter(PARTS).run(&format!("require [{names}];\n{script}"))
}

#[test]
fn section_3_foreverypart_and_break() {
    let count = |block: &str| {
        run(&format!(
            "set \"n\" \"\"; foreverypart {{ set \"n\" \"${{n}}.\"; {block} }} fileinto \"${{n}}\";"
        ))
    };
    assert_eq!(
        count(""),
        "fileinto \".....\"",
        "the letter, the inner multipart, and three leaves"
    );
    assert_eq!(
        count("if header :mime :subtype \"content-type\" \"plain\" { break; }"),
        "fileinto \"...\""
    );
    let nested = "set \"n\" \"\"; foreverypart :name \"a\" { if header :mime :subtype \"content-type\" \"alternative\" { \
        foreverypart { set \"n\" \"${n}.\"; } break :name \"a\"; } } fileinto \"${n}\";";
    assert_eq!(
        run(nested),
        "fileinto \"..\"",
        "the parts inside of the multipart"
    );
    assert_eq!(run("foreverypart { discard; stop; }"), "discard");
    assert_eq!(
        errors("require \"foreverypart\"; break;"),
        "line 1, column 25: `break` must stand inside of `foreverypart`"
    );
    assert_eq!(
        errors("require \"foreverypart\"; foreverypart { break :name \"x\"; }"),
        "line 1, column 46: `break` stands in no loop of the name \"x\""
    );
}

#[test]
fn section_4_1_header_mime() {
    assert!(is("header :mime :type \"Content-Type\" \"multipart\""));
    assert!(!is("header :mime :type \"Content-Type\" \"text\""));
    assert!(is(
        "header :mime :anychild :subtype \"Content-Type\" \"html\""
    ));
    assert!(is(
        "header :mime :anychild :contenttype \"Content-Type\" \"application/pdf\""
    ));
    assert!(is(
        "header :mime :anychild :param \"filename\" :matches [\"Content-Type\", \"Content-Disposition\"] [\"*.exe\", \"*.com\"]"
    ));
    assert!(is(
        "header :mime :anychild :param [\"format\", \"x\"] \"content-type\" \"flowed\""
    ));
    assert!(is(
        "header :mime :anychild :type \"Content-Disposition\" \"attachment\""
    ));
    assert!(is("header :mime :anychild \"X-Part\" \"last\""));
    assert!(!is("header \"X-Part\" \"last\""));
    assert_eq!(
        errors("require \"mime\"; if header :anychild \"a\" \"b\" {}"),
        "line 1, column 27: `:anychild` needs `:mime`"
    );
}

#[test]
fn section_4_2_and_4_3_address_and_exists() {
    assert!(is("address :mime :anychild \"from\" \"a@x.test\""));
    assert!(is("exists :mime :anychild \"X-Part\""));
    assert!(!is("exists :mime \"X-Part\""));
}

#[test]
fn section_4_the_example() {
    let script = "foreverypart { if header :mime :param \"filename\" :matches [\"Content-Type\", \"Content-Disposition\"] \
        [\"*.com\", \"*.exe\", \"*.vbs\"] { fileinto \"INBOX.security\"; break; } }";
    assert_eq!(run(script), "fileinto \"INBOX.security\"");
}

#[test]
fn section_7_extracttext() {
    let first = |arguments: &str| {
        run(&format!(
            "foreverypart {{ if header :mime :contenttype \"content-type\" \"text/plain\" {{ extracttext {arguments} \"t\"; break; }} }} fileinto \"=${{t}}\";"
        ))
    };
    assert_eq!(first(""), "fileinto \"=Plain text here\"");
    assert_eq!(first(":first 5"), "fileinto \"=Plain\"");
    assert_eq!(first(":upper :first 5"), "fileinto \"=PLAIN\"");
    assert_eq!(first(":length"), "fileinto \"=15\"");
    assert_eq!(
        run("foreverypart { extracttext \"t\"; break; } fileinto \"=${t}\";"),
        "fileinto \"=\"",
        "no text"
    );
    assert_eq!(
        errors("require [\"extracttext\", \"variables\"]; extracttext \"t\";"),
        "line 1, column 39: `extracttext` must stand inside of `foreverypart`"
    );
}

/// The letter that is kept.
fn letter(script: &str) -> String {
    let scene = Scene::letter(PARTS);
    let outcome = scene.outcome(&format!("require [\"foreverypart\", \"mime\", \"replace\", \"enclose\", \"editheader\"];\n{script}")).0;
    assert_eq!(outcome.error, None);
    let bytes = edited(&scene.letter, &outcome.edits[..outcome.actions[0].edits]);
    String::from_utf8(bytes.into_owned()).unwrap()
}

#[test]
fn section_5_replace_a_part() {
    let text = letter(
        "foreverypart { if header :mime :param \"filename\" :matches \"content-disposition\" \"*.exe\" { replace \"Removed: é\"; } }",
    );
    let message = Message::parse(text.as_bytes());
    let leaves = message.leaves();
    let texts: Vec<String> = leaves.iter().map(|part| message.text(part)).collect();
    assert_eq!(texts, ["Plain text here", "<b>bold</b>", "Removed: é"]);
    assert!(!text.contains("virus.exe"));
    assert!(text.contains("prologue"));
}

#[test]
fn section_5_replace_the_letter() {
    let text =
        letter("replace :subject \"New\" :mime text:\nContent-Type: text/html\n\n<p>new</p>\n.\n;");
    let expected = "From: a@x.test\r\nTo: bob@black.test\r\nOriginal-Subject: parts\r\nSubject: New\r\n\
        MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<p>new</p>\r\n";
    assert_eq!(text, expected);
}

#[test]
fn section_6_enclose() {
    let text = letter(
        "addheader \"X-Seen\" \"yes\"; enclose :subject \"Warning\" \"This letter is odd.\"; addheader \"X-Out\" \"1\";",
    );
    let message = Message::parse(text.as_bytes());
    assert_eq!(
        message.envelope().decoded_subject().as_deref(),
        Some("Warning")
    );
    assert!(message.has_field("X-Out") && !message.has_field("X-Seen"));
    let leaves = message.leaves();
    assert_eq!(leaves.len(), 2);
    assert_eq!(message.text(leaves[0]), "This letter is odd.\r\n");
    assert!(leaves[1].is("message", "rfc822"));
    let inner = message.bytes(leaves[1].body);
    assert!(inner.starts_with(b"X-Seen: yes\r\nFrom: a@x.test"));
    assert!(inner.ends_with(b"--outer--\r\n"));
    assert_eq!(
        run("enclose \"a\"; replace \"b\";"),
        "implicit keep; error: line 2: `replace` cannot follow `enclose`"
    );
}
