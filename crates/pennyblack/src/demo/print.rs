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
    let mut lines = vec![
        "Send a letter from Alice to Bob:".to_owned(),
        send(alice, bob)?,
    ];
    lines.push(String::new());
    lines.push("Read it as Bob: the newest letter whole, a line for each, or in mutt:".to_owned());
    lines.extend(read(bob)?);
    lines.push(String::new());
    lines.push("Look into the nodes:".to_owned());
    let program = std::env::current_exe().unwrap_or_else(|_| "pennyblack".into());
    let program = program.display();
    lines.push(format!(
        "  {program} --config {} queue list",
        alice.config.display()
    ));
    lines.push(format!(
        "  {program} --config {} account list",
        bob.config.display()
    ));
    lines.push(format!(
        "  curl http://{}/metrics",
        bob.listener(Protocol::Http, TlsMode::None)?
    ));
    lines.push(String::new());
    Ok(lines)
}

fn send(alice: &Side, bob: &Side) -> Result<String, DemoError> {
    let submission = alice.listener(Protocol::Submission, TlsMode::StartTls)?;
    let (from, to) = (alice.person.address(), bob.person.address());
    Ok(format!(
        "  swaks --server {submission} --tls --auth PLAIN --auth-user {from} \
         --auth-password {} --from {from} --to {to} --header 'Subject: Hello Bob'",
        alice.password
    ))
}

fn read(bob: &Side) -> Result<Vec<String>, DemoError> {
    let imaps = bob.listener(Protocol::Imap, TlsMode::Implicit)?;
    let (user, password) = (bob.person.address(), &bob.password);
    let curl = format!("  curl --insecure --user {user}:{password}");
    let certificate = bob.node.certificate_file().unwrap_or_default();
    let certificate = certificate.display();
    Ok(vec![
        format!("{curl} 'imaps://{imaps}/INBOX;MAILINDEX=*'"),
        format!("{curl} 'imaps://{imaps}/INBOX' --request 'FETCH 1:* (ENVELOPE)'"),
        format!(
            "  mutt -e 'set ssl_verify_host=no certificate_file=\"{certificate}\" \
             imap_user=\"{user}\" imap_pass=\"{password}\"' -f imaps://{imaps}/INBOX"
        ),
    ])
}
