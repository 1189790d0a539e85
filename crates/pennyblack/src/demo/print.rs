//! What the demo prints: where everything is, and commands that can be pasted as they are.

use super::{Demo, DemoError, Side};
use crate::settings::{Protocol, TlsMode};

/// The whole text.
///
/// # Errors
/// When a listener is missing, which is a bug.
pub fn text(demo: &Demo) -> Result<String, DemoError> {
    let mut lines = vec![
        "Two nodes are running, with a private DNS between them.".to_owned(),
        String::new(),
    ];
    for side in [&demo.red, &demo.black] {
        lines.extend(node(side));
    }
    lines.push(format!("DNS      {} (UDP and TCP)", demo.dns));
    lines.push(format!("state    {}", demo.folder.display()));
    lines.push(String::new());
    lines.extend(commands(demo)?);
    lines.push("Stop with Ctrl-C. The letters stay in the folder.".to_owned());
    Ok(lines.join("\n") + "\n")
}

fn node(side: &Side) -> Vec<String> {
    let person = &side.person;
    let mut lines = vec![format!(
        "{:<8} {}  password {}",
        person.node,
        person.address(),
        side.password
    )];
    for listen in side.node.ready() {
        let tls = match listen.tls {
            TlsMode::None => "",
            TlsMode::StartTls => " STARTTLS",
            TlsMode::Implicit => " TLS",
        };
        lines.push(format!(
            "         {:<10} {}{tls}",
            listen.protocol.as_str(),
            listen.address
        ));
    }
    for (usual, instead) in &side.places.replaced {
        lines.push(format!(
            "         port {usual} is taken, {instead} is used instead"
        ));
    }
    lines.push(String::new());
    lines
}

fn commands(demo: &Demo) -> Result<Vec<String>, DemoError> {
    let (alice, bob) = (&demo.red, &demo.black);
    let submission = alice.listener(Protocol::Submission, TlsMode::StartTls)?;
    let imaps = bob.listener(Protocol::Imap, TlsMode::Implicit)?;
    let (from, to) = (alice.person.address(), bob.person.address());
    Ok(vec![
        "Send a letter from Alice to Bob:".to_owned(),
        format!(
            "  swaks --server {submission} --tls --auth PLAIN --auth-user {from} \
             --auth-password {} --from {from} --to {to} --header 'Subject: Hello Bob'",
            alice.password
        ),
        String::new(),
        "Read it as Bob (the newest letter, then all subjects):".to_owned(),
        format!(
            "  curl --insecure --user {to}:{} 'imaps://{imaps}/INBOX;MAILINDEX=*'",
            bob.password
        ),
        format!(
            "  curl --insecure --user {to}:{} 'imaps://{imaps}/INBOX' \
             --request 'FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])'",
            bob.password
        ),
        format!(
            "  mutt -e 'set ssl_verify_host=no imap_user=\"{to}\" imap_pass=\"{}\"' \
             -f imaps://{imaps}/INBOX",
            bob.password
        ),
        String::new(),
        "Look into the nodes:".to_owned(),
        format!(
            "  pennyblack --config {} queue list",
            alice.config.display()
        ),
        format!(
            "  pennyblack --config {} account list",
            bob.config.display()
        ),
        format!(
            "  curl http://{}/metrics",
            bob.listener(Protocol::Http, TlsMode::None)?
        ),
        String::new(),
    ])
}
