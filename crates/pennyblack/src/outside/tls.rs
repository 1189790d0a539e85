//! TLS as a server: TLS 1.2 and 1.3 by rustls, with the certificate of the settings or a
//! self-signed one for names that are only for tests.
//!
//! The certificate can be exchanged while connections are open ([`RustlsAcceptor::reload`]).
//! Nothing is fetched from a certificate authority here.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::client_certificate::AnyClient;
use super::end_point;
use base::Domain;
use base::ports::{BoxFuture, BoxStream, ChannelBinding, TlsAcceptor, TlsInfo};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig, SupportedCipherSuite};

/// Files in the data folder that hold the self-signed certificate, so that it survives restarts.
const SELF_SIGNED_CERTIFICATE: &str = "self-signed.crt.pem";
const SELF_SIGNED_KEY: &str = "self-signed.key.pem";

/// Why there is no certificate to serve with.
#[derive(Debug)]
pub enum TlsError {
    /// None is configured and the name is a real one.
    NotConfigured(Domain),
    /// A file cannot be read or written.
    File(PathBuf, String),
    /// Certificate and key do not fit each other, or rustls cannot use them.
    Unusable(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured(name) => write!(
                f,
                "there is no certificate for {name}: set `tls.certificate` and `tls.key` to PEM \
                 files (only localhost and names ending in .test or .localhost get a self-signed \
                 one)"
            ),
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Unusable(why) => write!(f, "the certificate cannot be used: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// PEM files of the operator: chain and key.
    Files(PathBuf, PathBuf),
    /// A self-signed one for this name, kept in this folder.
    SelfSigned(Domain, PathBuf),
}

impl CertificateSource {
    /// Chooses by the settings.
    ///
    /// # Errors
    /// [`TlsError::NotConfigured`] when there are no files and the name is not one for tests.
    pub fn choose(
        files: Option<(PathBuf, PathBuf)>,
        hostname: &Domain,
        data_dir: &Path,
    ) -> Result<Self, TlsError> {
        match files {
            Some((certificate, key)) => Ok(Self::Files(certificate, key)),
            None if is_for_tests(hostname) => {
                Ok(Self::SelfSigned(hostname.clone(), data_dir.to_owned()))
            }
            None => Err(TlsError::NotConfigured(hostname.clone())),
        }
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        match self {
            Self::Files(certificate, key) => {
                warn_of_readers(key);
                read_pair(certificate, key, provider)
            }
            Self::SelfSigned(name, folder) => {
                let certificate = folder.join(SELF_SIGNED_CERTIFICATE);
                let key = folder.join(SELF_SIGNED_KEY);
                if !certificate.exists() || !key.exists() {
                    make_self_signed(name, &certificate, &key)?;
                }
                read_pair(&certificate, &key, provider)
            }
        }
    }

    fn certificate_file(&self) -> PathBuf {
        match self {
            Self::Files(certificate, _) => certificate.clone(),
            Self::SelfSigned(_, folder) => folder.join(SELF_SIGNED_CERTIFICATE),
        }
    }
}

/// RFC 6761 §6.2 and §6.3: names that no certificate authority vouches for.
fn is_for_tests(name: &Domain) -> bool {
    let name = name.as_str();
    name == "localhost" || name.ends_with(".test") || name.ends_with(".localhost")
}

/// Accepts TLS connections.
pub struct RustlsAcceptor {
    acceptor: tokio_rustls::TlsAcceptor,
    current: Arc<CurrentCertificate>,
    source: CertificateSource,
    /// The file of the authorities, and what was made of it.
    clients: Option<(PathBuf, RwLock<Clients>)>,
}

/// What is used where clients are asked for a certificate.
#[derive(Clone)]
struct Clients {
    acceptor: tokio_rustls::TlsAcceptor,
    judge: Arc<AnyClient>,
}

impl RustlsAcceptor {
    /// Reads (or makes) the certificate.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn new(source: CertificateSource) -> Result<Self, TlsError> {
        let provider = provider();
        let current = Arc::new(CurrentCertificate(RwLock::new(Arc::new(
            source.read(&provider)?,
        ))));
        Ok(Self {
            acceptor: acceptor(provider, WebPkiClientVerifier::no_client_auth(), &current)?,
            current,
            source,
            clients: None,
        })
    }

    /// Also asks clients for a certificate of the authorities in this PEM file, where that is wanted
    /// ([`TlsAcceptor::accept_with_certificate`]).
    ///
    /// # Errors
    /// When the file holds none that can be used.
    pub fn asking_clients(mut self, authorities: Option<PathBuf>) -> Result<Self, TlsError> {
        self.clients = match authorities {
            Some(file) => {
                let clients = Clients::read(&file, &self.current)?;
                Some((file, RwLock::new(clients)))
            }
            None => None,
        };
        Ok(self)
    }

    /// The file of the certificate.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.source.certificate_file()
    }

    /// The certificate that is shown now, as DER; empty if there is none.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        let current = self
            .current
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let first = current.cert.first().map(|certificate| certificate.to_vec());
        first.unwrap_or_default()
    }

    /// Reads the certificate and the authorities of clients again; on an error the old ones stay.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(self.source.read(&provider())?);
        if let Some((file, clients)) = &self.clients {
            let read = Clients::read(file, &self.current)?;
            *clients.write().unwrap_or_else(PoisonError::into_inner) = read;
        }
        *self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl TlsAcceptor for RustlsAcceptor {
    fn accept(&self, stream: BoxStream) -> BoxFuture<'_, io::Result<(BoxStream, TlsInfo)>> {
        Box::pin(async move {
            let server_end_point = self.current.end_point();
            let stream = self.acceptor.accept(stream).await?;
            let info = accepted(stream.get_ref().1, server_end_point)?;
            Ok((Box::new(stream) as BoxStream, info))
        })
    }

    fn accept_with_certificate(
        &self,
        stream: BoxStream,
    ) -> BoxFuture<'_, io::Result<(BoxStream, TlsInfo)>> {
        let Some((_, clients)) = &self.clients else {
            return self.accept(stream);
        };
        let clients = clients
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Box::pin(async move {
            let server_end_point = self.current.end_point();
            let stream = clients.acceptor.accept(stream).await?;
            let connection = stream.get_ref().1;
            let mut info = accepted(connection, server_end_point)?;
            // Also after a session was resumed: the authorities and the time may be others.
            let chain = connection.peer_certificates().unwrap_or_default();
            info.client_addresses = clients.judge.addresses(chain);
            Ok((Box::new(stream) as BoxStream, info))
        })
    }
}

impl Clients {
    fn read(file: &Path, current: &Arc<CurrentCertificate>) -> Result<Self, TlsError> {
        let provider = provider();
        let judge = Arc::new(AnyClient::new(file, &provider)?);
        Ok(Self {
            acceptor: acceptor(provider, judge.clone(), current)?,
            judge,
        })
    }
}

fn acceptor(
    provider: Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    current: &Arc<CurrentCertificate>,
) -> Result<tokio_rustls::TlsAcceptor, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(current.clone());
    // Sessions are resumed by tickets: nothing of a client is kept here.
    config.ticketer = Ticketer::new().map_err(unusable)?;
    Ok(Arc::new(config).into())
}

fn accepted(
    connection: &rustls::ServerConnection,
    server_end_point: Option<Vec<u8>>,
) -> io::Result<TlsInfo> {
    let info = info(
        connection.protocol_version(),
        connection.negotiated_cipher_suite(),
    )?;
    let binding = ChannelBinding {
        exporter: exporter(connection),
        server_end_point,
    };
    Ok(TlsInfo { binding, ..info })
}

/// The certificate in use, exchanged as a whole.
#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl CurrentCertificate {
    fn end_point(&self) -> Option<Vec<u8>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        end_point::of_certificate(current.cert.first()?)
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

/// The cryptography that all of TLS here uses.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a finished handshake agreed on; `verified` is for the caller to fill.
pub(super) fn info(
    version: Option<ProtocolVersion>,
    suite: Option<SupportedCipherSuite>,
) -> io::Result<TlsInfo> {
    let version = match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => return Err(io::Error::other("the handshake agreed on no version")),
    };
    let suite = suite.ok_or_else(|| io::Error::other("the handshake agreed on no cipher"))?;
    let cipher = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    Ok(TlsInfo {
        version,
        cipher,
        verified: false,
        binding: ChannelBinding::default(),
        client_addresses: Vec::new(),
    })
}

/// What a connection is bound to by `tls-exporter` (RFC 9266 §4.2): in TLS 1.2 only with an extension
/// that rustls does not tell of.
pub(super) fn exporter<Side>(connection: &rustls::ConnectionCommon<Side>) -> Option<[u8; 32]> {
    let is_new = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let exported =
        || connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
    is_new.then(exported)?.ok()
}

fn read_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let wrong = |path: &Path, why: String| TlsError::File(path.to_owned(), why);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, format!("no certificate in PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "holds no certificate in PEM".to_owned()));
    }
    let key_der = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong(key, format!("no private key in PEM: {error}")))?;
    CertifiedKey::from_der(chain, key_der, provider)
        .map_err(|error| TlsError::Unusable(error.to_string()))
}

/// A private key that everybody on this machine can read is most likely a mistake.
fn warn_of_readers(key: &Path) {
    let mode = fs::metadata(key).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o004 != 0) {
        tracing::warn!(key = %key.display(), "everybody on this machine can read the private key");
    }
}

fn make_self_signed(name: &Domain, certificate: &Path, key: &Path) -> Result<(), TlsError> {
    let names = vec![name.to_string(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| TlsError::Unusable(error.to_string()))?;
    write_private(key, &made.signing_key.serialize_pem())?;
    write_private(certificate, &made.cert.pem())
}

/// Writes a file that only we can read: first beside it, so that it is never there by half.
fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let write = || -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| TlsError::File(path.to_owned(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use base::ports::Connector as _;
    use rustls::RootCertStore;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::connect::TcpConnector;
    use super::*;

    fn acceptor(folder: &Path) -> RustlsAcceptor {
        let name = Domain::parse("mx.red.test").unwrap();
        RustlsAcceptor::new(CertificateSource::choose(None, &name, folder).unwrap()).unwrap()
    }

    /// Shakes hands in memory, sends a word each way.
    async fn round_trip(
        acceptor: &RustlsAcceptor,
        connector: &TcpConnector,
        name: &str,
        require_valid: bool,
    ) -> io::Result<TlsInfo> {
        let (left, right) = tokio::io::duplex(16 * 1024);
        let name = Domain::parse(name).unwrap();
        let server = async {
            let (mut stream, info) = acceptor.accept(Box::new(left)).await?;
            let binding = info.binding;
            assert!(
                binding
                    .data("tls-exporter")
                    .is_some_and(|data| data != [0; 32])
            );
            // The certificate is signed with ECDSA and SHA-256.
            assert_eq!(
                binding.data("tls-server-end-point").map(<[u8]>::len),
                Some(32)
            );
            let mut word = [0; 4];
            stream.read_exact(&mut word).await?;
            stream.write_all(&word).await?;
            stream.flush().await?;
            io::Result::Ok(binding.exporter)
        };
        let client = async {
            let (mut stream, info) = connector
                .start_tls(Box::new(right), &name, require_valid)
                .await?;
            stream.write_all(b"word").await?;
            stream.flush().await?;
            let mut word = [0; 4];
            stream.read_exact(&mut word).await?;
            assert_eq!(&word, b"word");
            Ok(info)
        };
        let (bound, info) = tokio::join!(server, client);
        if let (Ok(bound), Ok(info)) = (bound, &info) {
            assert_eq!(info.binding.exporter, bound, "both ends have the same");
        }
        info
    }

    #[tokio::test]
    async fn opportunistic_tls_takes_a_stranger_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let acceptor = acceptor(folder.path());
        let connector = TcpConnector::with_roots(RootCertStore::empty());
        let info = round_trip(&acceptor, &connector, "mx.red.test", false)
            .await
            .unwrap();
        assert_eq!(info.version, "TLSv1.3");
        assert!(info.cipher.starts_with("TLS_AES"), "{}", info.cipher);
        assert!(!info.verified);
        assert!(
            round_trip(&acceptor, &connector, "mx.red.test", true)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn required_tls_takes_only_a_valid_certificate_for_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let acceptor = acceptor(folder.path());
        let mut roots = RootCertStore::empty();
        let file = folder.path().join(SELF_SIGNED_CERTIFICATE);
        roots
            .add(CertificateDer::from_pem_file(file).unwrap())
            .unwrap();
        let connector = TcpConnector::with_roots(roots);
        let info = round_trip(&acceptor, &connector, "mx.red.test", false)
            .await
            .unwrap();
        assert!(info.verified);
        assert!(
            round_trip(&acceptor, &connector, "mx.red.test", true)
                .await
                .unwrap()
                .verified
        );
        assert!(
            round_trip(&acceptor, &connector, "mx.black.test", true)
                .await
                .is_err()
        );
        let other = round_trip(&acceptor, &connector, "mx.black.test", false)
            .await
            .unwrap();
        assert!(!other.verified);
    }

    #[test]
    fn a_self_signed_certificate_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        drop(acceptor(folder.path()));
        let before = fs::read(folder.path().join(SELF_SIGNED_CERTIFICATE)).unwrap();
        acceptor(folder.path()).reload().unwrap();
        assert_eq!(
            fs::read(folder.path().join(SELF_SIGNED_CERTIFICATE)).unwrap(),
            before
        );
    }

    #[test]
    fn a_real_name_without_a_certificate_says_what_to_set() {
        let name = Domain::parse("mx.example.org").unwrap();
        let error = CertificateSource::choose(None, &name, Path::new("/nowhere")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("set `tls.certificate` and `tls.key`")
        );
    }
}
