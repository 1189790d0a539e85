//! Independent judges of mail authentication, from Debian's Python: pyspf, dkimpy (which also signs)
//! and authres. Each asks the DNS server of the test.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{must_run, run_with_input, said};

/// Python as Debian has it: its modules are packages of Debian, which another Python does not see.
const PYTHON: &str = "/usr/bin/python3";
const LIMIT: Duration = Duration::from_secs(60);

const SIGN: &str = r#"
import dkim, sys
selector, domain, key, algorithm = sys.argv[1:]
letter = sys.stdin.buffer.read()
signature = dkim.sign(letter, selector.encode(), domain.encode(), open(key, "rb").read(),
                      canonicalize=(b"relaxed", b"relaxed"),
                      signature_algorithm=algorithm.encode(),
                      include_headers=[b"from", b"to", b"subject"])
sys.stdout.buffer.write(signature + letter)
"#;

/// Prints `who.method=result`: what the letter's first Authentication-Results field says in the eyes
/// of authres, and what pyspf and dkimpy find themselves.
const JUDGE: &str = r#"
import email, sys
import authres, dkim, dns.resolver, spf
server, port, address, sender, helo = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [server], int(port)
dns.resolver.default_resolver = resolver
letter = sys.stdin.buffer.read()
field = email.message_from_bytes(letter)["Authentication-Results"]
header = authres.AuthenticationResultsHeader.parse("Authentication-Results: " + field)
print("field.server=" + header.authserv_id)
for result in header.results:
    name = result.method
    if any(p.type == "smtp" and p.name == "helo" for p in result.properties):
        name += ".helo"
    print("field.%s=%s" % (name, result.result))
    for p in result.properties:
        print("field.%s.%s.%s=%s" % (name, p.type, p.name, p.value))
print("pyspf.spf=" + spf.check2(i=address, s=sender, h=helo)[0])

def text(name, timeout=5):
    answer = dns.resolver.resolve(name.decode().rstrip("."), "TXT")
    return b"".join(list(answer)[0].strings)

signed = b"\nDKIM-Signature:" in letter
print("dkimpy.dkim=" + ("none" if not signed else
                        "pass" if dkim.verify(letter, dnsfunc=text) else "fail"))
"#;

/// A key to sign with.
#[derive(Debug)]
pub struct Key {
    file: std::path::PathBuf,
    algorithm: &'static str,
    /// What stands in the DNS, as the strings of a TXT record in a zone file.
    pub record: String,
}

impl Key {
    /// Makes a key, `rsa` or `ed25519`.
    ///
    /// # Panics
    /// When dkimpy is missing or fails.
    #[must_use]
    pub fn new(place: &Place, kind: &str) -> Key {
        Key::within(place.dir(), kind)
    }

    /// The same in a directory, which then holds one key of each kind.
    ///
    /// # Panics
    /// When dkimpy is missing or fails.
    #[must_use]
    pub fn within(dir: &Path, kind: &str) -> Key {
        let name = dir.join(format!("{kind}-key"));
        let mut command = Command::new("/usr/bin/dknewkey");
        must_run(command.args(["--ktype", kind]).arg(&name), LIMIT);
        let text = std::fs::read_to_string(name.with_extension("dns"));
        let text = text.expect("dknewkey writes the record");
        // A string of a TXT record holds 255 bytes (RFC 1035 §3.3.14).
        let strings = text.trim().as_bytes().chunks(200);
        let strings = strings.map(|part| format!("\"{}\"", String::from_utf8_lossy(part)));
        Key {
            file: name.with_extension("key"),
            algorithm: match kind {
                "rsa" => "rsa-sha256",
                _ => "ed25519-sha256",
            },
            record: strings.collect::<Vec<_>>().join(" "),
        }
    }

    /// The letter with a signature of dkimpy before it.
    ///
    /// # Panics
    /// When dkimpy fails.
    #[must_use]
    pub fn sign(&self, selector: &str, domain: &str, letter: &[u8]) -> Vec<u8> {
        let mut command = Command::new(PYTHON);
        command.args(["-c", SIGN, selector, domain]);
        command.arg(&self.file).arg(self.algorithm);
        let output = run_with_input(&mut command, letter, LIMIT);
        assert!(output.status.success(), "dkimpy: {}", said(&output));
        output.stdout
    }
}

/// What the judges find about a stored letter that came from this address, sender and HELO name.
///
/// # Panics
/// When one of them is missing or fails.
#[must_use]
pub fn judge(
    letter: &[u8],
    dns: SocketAddr,
    address: IpAddr,
    sender: &str,
    helo: &str,
) -> BTreeMap<String, String> {
    let mut command = Command::new(PYTHON);
    command.args(["-c", JUDGE, &dns.ip().to_string(), &dns.port().to_string()]);
    command.args([&address.to_string(), sender, helo]);
    let output = run_with_input(&mut command, letter, LIMIT);
    assert!(output.status.success(), "the judges: {}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
