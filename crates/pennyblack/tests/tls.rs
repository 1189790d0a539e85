//! Which versions of TLS and which key exchanges the server takes, asked by OpenSSL and by rustls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use base::Domain;
use base::ports::TlsAcceptor as _;
use pennyblack::outside::tls::{CertificateSource, RustlsAcceptor};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme};

fn acceptor(folder: &tempfile::TempDir) -> RustlsAcceptor {
    let name = Domain::parse("mx.red.test").unwrap();
    let source = CertificateSource::choose(None, &name, folder.path()).unwrap();
    RustlsAcceptor::new(source).unwrap()
}

/// Shakes hands with OpenSSL's client under the options.
async fn openssl(options: &[&str]) -> (Output, Result<&'static str, std::io::Error>) {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(&folder);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Command::new("openssl")
        .args(["s_client", "-brief", "-connect", &address])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let seen = acceptor.accept(Box::new(stream)).await;
    let seen = seen.map(|(_, info)| info.version);
    let output = tokio::task::spawn_blocking(|| client.wait_with_output().unwrap());
    (output.await.unwrap(), seen)
}

/// RFC 8997 §2 and RFC 9325 §3.1.1: no TLS 1.0 and 1.1, though the client would take any cipher.
/// The client is told by an alert (RFC 8446 §6.2).
#[tokio::test]
async fn old_versions_are_refused() {
    for version in ["-tls1", "-tls1_1"] {
        let (output, seen) = openssl(&[version, "-cipher", "ALL:@SECLEVEL=0"]).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(seen.is_err(), "{version}: {seen:?}");
        assert!(told.contains(" alert "), "{version}: {told}");
    }
}

/// RFC 9325 §3.1.1 and RFC 8314 §4.1: TLS 1.2 and 1.3; of 1.2 only ciphers with forward secrecy
/// (RFC 9325 §4.1).
#[tokio::test]
async fn new_versions_are_taken() {
    for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (output, seen) = openssl(&[option]).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(seen.unwrap(), version, "{told}");
        assert!(
            told.contains(&format!("Protocol version: {version}")),
            "{told}"
        );
    }
    let (_, seen) = openssl(&["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"]).await;
    assert!(seen.is_err(), "{seen:?}");
}

/// Takes any certificate: who the server is, is not asked here.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A client that offers the groups, in this order, and the group that was agreed on.
async fn agreed(groups: &[&'static dyn rustls::crypto::SupportedKxGroup]) -> Option<NamedGroup> {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(&folder);
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: groups.to_vec(),
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    let (left, right) = tokio::io::duplex(16 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("mx.red.test").unwrap();
    let (server, client) = tokio::join!(
        acceptor.accept(Box::new(left)),
        connector.connect(name, right)
    );
    server.ok()?;
    let (_, connection) = client.ok()?.into_inner();
    connection
        .negotiated_key_exchange_group()
        .map(|group| group.name())
}

/// The hybrid of X25519 and ML-KEM-768 is taken where the client has it, and does not stand in the
/// way of one that has not.
#[tokio::test]
async fn the_hybrid_key_exchange() {
    let hybrid: &[&'static dyn rustls::crypto::SupportedKxGroup] = &[kx_group::X25519MLKEM768];
    assert_eq!(agreed(hybrid).await, Some(NamedGroup::X25519MLKEM768));
    let both: &[&'static dyn rustls::crypto::SupportedKxGroup] =
        &[kx_group::X25519MLKEM768, kx_group::X25519];
    assert_eq!(agreed(both).await, Some(NamedGroup::X25519MLKEM768));
    let plain: &[&'static dyn rustls::crypto::SupportedKxGroup] = &[kx_group::X25519];
    assert_eq!(agreed(plain).await, Some(NamedGroup::X25519));
}
