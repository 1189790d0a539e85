//! SASL EXTERNAL (RFC 4422 appendix A) with certificates made by OpenSSL: Python's smtplib and imaplib
//! log in without a password, over STARTTLS and implicit TLS, and one whose certificate is not trusted
//! goes on with its password.

use std::process::Command;
use std::time::Duration;

use interop::certificates::Certificate;
use interop::node::{self, Node, port};
use interop::place::Place;
use interop::process::{must_run, program};
use interop::world::RED;

const LIMIT: Duration = Duration::from_secs(60);

/// Logs in over all four listeners and prints what came of it; with a password where EXTERNAL is
/// not offered.
const LOG_IN: &str = r#"
import imaplib, smtplib, ssl, sys
host, submission, submissions, imap, imaps, chain, key, identity, user, password = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if chain:
    context.load_cert_chain(chain, key)

def by_smtp(client):
    client.ehlo()
    if "EXTERNAL" not in client.esmtp_features["auth"].split():
        client.login(user, password)
        return "password"
    try:
        client.auth("EXTERNAL", lambda challenge=None: identity, initial_response_ok=bool(identity))
    except smtplib.SMTPAuthenticationError as error:
        return str(error.smtp_code)
    assert client.mail(user)[0] == 250
    return "certificate"

def by_imap(client):
    if "AUTH=EXTERNAL" not in client.capability()[1][0].decode().split():
        client.login(user, password)
        return "password"
    try:
        client.authenticate("EXTERNAL", lambda challenge: identity.encode())
    except imaplib.IMAP4.error as error:
        return "AUTHENTICATIONFAILED" if "AUTHENTICATIONFAILED" in str(error) else str(error)
    assert client.select("INBOX")[0] == "OK"
    return "certificate"

client = smtplib.SMTP(host, int(submission))
client.starttls(context=context)
print(by_smtp(client))
print(by_smtp(smtplib.SMTP_SSL(host, int(submissions), context=context)))
client = imaplib.IMAP4(host, int(imap))
client.starttls(context)
print(by_imap(client))
print(by_imap(imaplib.IMAP4_SSL(host, int(imaps), ssl_context=context)))
"#;

struct World {
    red: Node,
    place: Place,
    authority: Certificate,
}

impl World {
    fn new() -> World {
        let place = Place::new();
        let authority = Certificate::authority(&place, "people");
        let setup = node::Setup {
            settings: format!("tls.client_ca = \"{}\"\n", authority.chain.display()),
            ..node::Setup::new(RED, "red.test")
        };
        let red = Node::start(&place, &setup, &["alice", "bob"]);
        World {
            red,
            place,
            authority,
        }
    }

    /// What came of a login as `identity`, over each of the listeners.
    fn log_in(&self, shown: Option<&Certificate>, identity: &str) -> Vec<String> {
        let host = self.red.at(port::SMTP).ip().to_string();
        let ports = [
            port::SUBMISSION_STARTTLS,
            port::SUBMISSION_TLS,
            port::IMAP_STARTTLS,
            port::IMAP_TLS,
        ];
        let mut command = Command::new(program("python3"));
        command.args(["-c", LOG_IN, &host]);
        command.args(ports.map(|port| port.to_string()));
        match shown {
            Some(shown) => command.arg(&shown.chain).arg(&shown.key),
            None => command.args(["", ""]),
        };
        command.args([identity, "alice@red.test", node::PASSWORD]);
        let said = must_run(&mut command, LIMIT);
        said.lines().map(str::to_owned).collect()
    }
}

#[test]
fn programs_log_in_by_their_certificate() {
    let world = World::new();
    let sign = |by: &Certificate, name, address, expired| {
        by.sign_person(&world.place, name, address, expired)
    };
    let alice = sign(&world.authority, "alice", "alice@red.test", false);
    assert_eq!(world.log_in(Some(&alice), ""), ["certificate"; 4]);
    assert_eq!(
        world.log_in(Some(&alice), "alice@red.test"),
        ["certificate"; 4]
    );
    // Another's account.
    let refused = ["535", "535", "AUTHENTICATIONFAILED", "AUTHENTICATIONFAILED"];
    assert_eq!(world.log_in(Some(&alice), "bob@red.test"), refused);
    // An alias of hers that leads to nobody else.
    let added = ["alias", "add", "countess@red.test", "alice@red.test"];
    let output = world.red.command(&added);
    assert!(output.status.success(), "{output:?}");
    let countess = sign(&world.authority, "countess", "countess@red.test", false);
    assert_eq!(world.log_in(Some(&countess), ""), ["certificate"; 4]);
    // No certificate, and two that are not trusted.
    let others = Certificate::authority(&world.place, "others");
    let foreign = sign(&others, "foreign", "alice@red.test", false);
    let expired = sign(&world.authority, "expired", "alice@red.test", true);
    for shown in [None, Some(&foreign), Some(&expired)] {
        assert_eq!(world.log_in(shown, ""), ["password"; 4]);
    }
    // A disabled account.
    let output = world.red.command(&["account", "disable", "alice@red.test"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.log_in(Some(&alice), ""), refused);
}
