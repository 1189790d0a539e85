//! Certificates of a test, made by OpenSSL: an authority of its own, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::place::Place;
use crate::process::{must_run, program};

const LIMIT: Duration = Duration::from_secs(60);

/// An authority, or a server's certificate with its chain.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, and after it that of the authority, in PEM.
    pub chain: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes an authority.
    ///
    /// # Panics
    /// When OpenSSL fails.
    #[must_use]
    pub fn authority(place: &Place, name: &str) -> Certificate {
        let made = Certificate::at(place, name);
        let mut command = openssl(&["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
        command
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
            .args(["-subj", &format!("/CN={name}")])
            .args(["-addext", "keyUsage=critical,keyCertSign"]);
        must_run(made.named_in(&mut command), LIMIT);
        made
    }

    /// Signs a server's certificate for names; the time it is valid begins and ends so many days
    /// from now.
    ///
    /// # Panics
    /// When OpenSSL fails.
    #[must_use]
    pub fn sign(&self, place: &Place, name: &str, names: &[&str], expired: bool) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let extensions = format!(
            "subjectAltName={}\nextendedKeyUsage=serverAuth\n",
            names.join(",")
        );
        self.sign_with(place, name, extensions, expired)
    }

    /// Signs a person's certificate for a mail address.
    ///
    /// # Panics
    /// When OpenSSL fails.
    #[must_use]
    pub fn sign_person(
        &self,
        place: &Place,
        name: &str,
        address: &str,
        expired: bool,
    ) -> Certificate {
        let extensions = format!("subjectAltName=email:{address}\nextendedKeyUsage=clientAuth\n");
        self.sign_with(place, name, extensions, expired)
    }

    fn sign_with(
        &self,
        place: &Place,
        name: &str,
        extensions: String,
        expired: bool,
    ) -> Certificate {
        let made = Certificate::at(place, name);
        let request = place.path(&format!("certificates/{name}.csr"));
        let mut command = openssl(&["req", "-new", "-newkey", "ec", "-pkeyopt"]);
        command.args(["ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x"]);
        command
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&request);
        must_run(&mut command, LIMIT);
        let extensions = place.write(&format!("certificates/{name}.ext"), extensions);
        let mut command = openssl(&["x509", "-req", "-set_serial", "7", "-days"]);
        // A certificate of minus one day ended yesterday.
        command.arg(if expired { "-1" } else { "30" });
        command.arg("-in").arg(&request).arg("-CA").arg(&self.chain);
        command
            .arg("-CAkey")
            .arg(&self.key)
            .arg("-extfile")
            .arg(extensions);
        command.arg("-out").arg(&made.chain);
        must_run(&mut command, LIMIT);
        let mut chain = fs::read(&made.chain).expect("OpenSSL wrote it");
        chain.extend(fs::read(&self.chain).expect("the authority is there"));
        fs::write(&made.chain, chain).expect("a file of ours can be written");
        made
    }

    /// The data of a TLSA record `x 1 1`: SHA-256 of the public key, in hexadecimal digits.
    ///
    /// # Panics
    /// When OpenSSL fails.
    #[must_use]
    pub fn key_digest(&self, place: &Place) -> String {
        let mut command = openssl(&["x509", "-noout", "-pubkey", "-in"]);
        let pem = must_run(command.arg(&self.chain), LIMIT);
        let pem = place.write("certificates/public.pem", pem);
        let der = place.path("certificates/public.der");
        let mut command = openssl(&["pkey", "-pubin", "-outform", "der", "-in"]);
        must_run(command.arg(pem).arg("-out").arg(&der), LIMIT);
        let mut command = openssl(&["dgst", "-sha256", "-r"]);
        let line = must_run(command.arg(der), LIMIT);
        line.split_whitespace().next().unwrap_or("").to_owned()
    }

    fn at(place: &Place, name: &str) -> Certificate {
        let chain = place.write(&format!("certificates/{name}.crt"), "");
        let key = chain.with_extension("key");
        Certificate { chain, key }
    }

    fn named_in<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .arg("-keyout")
            .arg(&self.key)
            .arg("-out")
            .arg(&self.chain)
    }

    /// The lines of `main.cf` with which Postfix serves it.
    #[must_use]
    pub fn for_postfix(&self) -> String {
        let show = |path: &Path| path.display().to_string();
        format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
            show(&self.chain),
            show(&self.key)
        )
    }
}

fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("openssl"));
    command.args(arguments);
    command
}
