//! Certificates of clients (RFC 4422 appendix A): whom the server sees after real handshakes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use base::Domain;
use base::ports::TlsAcceptor as _;
use pennyblack::outside::tls::{CertificateSource, RustlsAcceptor, TlsError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncReadExt as _;

type Authority = CertifiedIssuer<'static, KeyPair>;

struct World {
    folder: tempfile::TempDir,
    authority: Authority,
    acceptor: RustlsAcceptor,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn acceptor(folder: &tempfile::TempDir, clients: PathBuf) -> Result<RustlsAcceptor, TlsError> {
    let name = Domain::parse("mx.red.test").unwrap();
    let source = CertificateSource::choose(None, &name, folder.path()).unwrap();
    RustlsAcceptor::new(source)?.asking_clients(Some(clients))
}

/// What a client shows: a certificate for these names, and how it differs from a good one.
type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn certificate(by: &Authority, names: &[SanType], change: fn(&mut CertificateParams)) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names.to_vec();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let signed = params.signed_by(&key, by).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (signed.der().clone(), key)
}

fn mail(address: &str) -> SanType {
    SanType::Rfc822Name(address.try_into().unwrap())
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority();
        let file = folder.path().join("clients.pem");
        fs::write(&file, authority.pem()).unwrap();
        let acceptor = acceptor(&folder, file).unwrap();
        Self {
            folder,
            authority,
            acceptor,
        }
    }

    fn client(
        &self,
        shown: Option<Shown>,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let own = self.folder.path().join("self-signed.crt.pem");
        roots
            .add(CertificateDer::from_pem_file(own).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        match shown {
            Some((certificate, key)) => builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap(),
            None => builder.with_no_client_auth(),
        }
    }

    /// The addresses that the server sees, once both ends have finished the handshake.
    async fn seen(&self, client: Arc<ClientConfig>, asks: bool) -> Vec<String> {
        let (left, right) = tokio::io::duplex(16 * 1024);
        let connector = tokio_rustls::TlsConnector::from(client);
        let name = ServerName::try_from("mx.red.test").unwrap();
        let server = async {
            let accepting = match asks {
                true => self.acceptor.accept_with_certificate(Box::new(left)),
                false => self.acceptor.accept(Box::new(left)),
            };
            let (mut stream, info) = accepting.await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut stream)
                .await
                .unwrap();
            info.client_addresses
        };
        let client = async {
            let mut stream = connector.connect(name, right).await.unwrap();
            // Also reads the tickets, by which the next session is resumed.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let (addresses, ()) = tokio::join!(server, client);
        addresses.iter().map(ToString::to_string).collect()
    }

    async fn both(&self, shown: Option<Shown>) -> Vec<String> {
        let copy = |shown: &Option<Shown>| {
            let shown = shown.as_ref();
            shown.map(|(certificate, key)| (certificate.clone(), key.clone_key()))
        };
        let new = Arc::new(self.client(copy(&shown), &rustls::version::TLS13));
        let addresses = self.seen(Arc::clone(&new), true).await;
        assert_eq!(self.seen(new, true).await, addresses, "resumed");
        let old = Arc::new(self.client(copy(&shown), &rustls::version::TLS12));
        assert_eq!(self.seen(old, true).await, addresses, "TLS 1.2");
        addresses
    }
}

/// RFC 5280 §4.2.1.6 `rfc822Name`; other names and what is no address are passed over.
#[tokio::test]
async fn the_addresses_of_a_trusted_certificate() {
    let world = World::new();
    let dns = SanType::DnsName("bob.red.test".try_into().unwrap());
    let names = [
        dns.clone(),
        mail("bob@red.test"),
        mail("nobody"),
        mail("b@red.test"),
    ];
    let shown = certificate(&world.authority, &names, |_| {});
    assert_eq!(
        world.both(Some(shown)).await,
        ["bob@red.test", "b@red.test"]
    );
    let shown = certificate(&world.authority, &[dns], |_| {});
    assert!(world.both(Some(shown)).await.is_empty());
}

/// The connection goes on as if nothing had been shown.
#[tokio::test]
async fn what_is_not_trusted_counts_as_none() {
    let world = World::new();
    assert!(world.both(None).await.is_empty());
    let bob = [mail("bob@red.test")];
    let foreign = certificate(&authority(), &bob, |_| {});
    let expired = certificate(&world.authority, &bob, |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let for_servers = certificate(&world.authority, &bob, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for shown in [foreign, expired, for_servers] {
        assert!(world.both(Some(shown)).await.is_empty());
    }
}

/// Where nobody logs in, nothing is asked for.
#[tokio::test]
async fn only_asked_for_where_it_is_wanted() {
    let world = World::new();
    let shown = certificate(&world.authority, &[mail("bob@red.test")], |_| {});
    let client = Arc::new(world.client(Some(shown), &rustls::version::TLS13));
    assert!(world.seen(Arc::clone(&client), false).await.is_empty());
    assert_eq!(world.seen(client, true).await, ["bob@red.test"]);
}

/// Other authorities count from the reload on, also for sessions that are resumed; a file that
/// cannot be used changes nothing.
#[tokio::test]
async fn the_authorities_are_read_again() {
    let world = World::new();
    let file = world.folder.path().join("clients.pem");
    let shown = certificate(&world.authority, &[mail("bob@red.test")], |_| {});
    let client = Arc::new(world.client(Some(shown), &rustls::version::TLS13));
    assert_eq!(
        world.seen(Arc::clone(&client), true).await,
        ["bob@red.test"]
    );
    for broken in ["", "nothing"] {
        fs::write(&file, broken).unwrap();
        assert!(world.acceptor.reload().is_err());
        assert!(acceptor(&world.folder, file.clone()).is_err());
    }
    assert_eq!(
        world.seen(Arc::clone(&client), true).await,
        ["bob@red.test"]
    );
    fs::write(&file, authority().pem()).unwrap();
    world.acceptor.reload().unwrap();
    assert!(world.seen(client, true).await.is_empty());
}
