//! Connections to other servers: TCP, and TLS as a client.
//!
//! Opportunistic TLS (RFC 7435) takes any certificate, because the other choice is no encryption
//! at all; whether the certificate was valid is told to the caller. Required TLS takes only one
//! that the system's certificate authorities vouch for.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use base::Domain;
use base::ports::{
    BoxFuture, BoxStream, CertificateFault, ChannelBinding, Connector, Shown, TlsInfo,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::tls::{exporter, info, provider};

/// Real connections. Cheap to share: the TLS configuration is made once, at the first use.
pub struct TcpConnector {
    provider: Arc<CryptoProvider>,
    roots: Roots,
    configs: OnceLock<Result<Configs, String>>,
}

/// Which certificate authorities are trusted.
enum Roots {
    /// Those of the system.
    System,
    /// These only.
    Given(Arc<RootCertStore>),
}

#[derive(Clone)]
struct Configs {
    opportunistic: TlsConnector,
    required: Option<TlsConnector>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self::new(Roots::System)
    }
}

impl TcpConnector {
    fn new(roots: Roots) -> Self {
        Self {
            provider: provider(),
            roots,
            configs: OnceLock::new(),
        }
    }

    /// A connector that trusts these authorities instead of the system's.
    #[must_use]
    pub fn with_roots(roots: RootCertStore) -> Self {
        Self::new(Roots::Given(Arc::new(roots)))
    }

    fn configs(&self) -> io::Result<&Configs> {
        self.configs
            .get_or_init(|| Configs::new(&self.provider, &self.roots))
            .as_ref()
            .map_err(|why| io::Error::other(why.clone()))
    }

    async fn secure(
        &self,
        stream: BoxStream,
        name: &Domain,
        require_valid: bool,
    ) -> io::Result<(BoxStream, TlsInfo)> {
        let configs = self.configs()?;
        let connector = match (&configs.required, require_valid) {
            (Some(required), true) => required,
            (None, true) => {
                return Err(io::Error::other(
                    "the system has no certificate authorities",
                ));
            }
            (_, false) => &configs.opportunistic,
        };
        let (stream, info, _) = shake_hands(configs, connector, stream, name).await?;
        Ok((stream, info))
    }

    async fn show(
        &self,
        stream: BoxStream,
        name: &Domain,
    ) -> io::Result<(BoxStream, TlsInfo, Shown)> {
        let configs = self.configs()?;
        shake_hands(configs, &configs.opportunistic, stream, name).await
    }
}

async fn shake_hands(
    configs: &Configs,
    connector: &TlsConnector,
    stream: BoxStream,
    name: &Domain,
) -> io::Result<(BoxStream, TlsInfo, Shown)> {
    let server_name = server_name(name)?;
    let stream = connector.connect(server_name.clone(), stream).await?;
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    let fault = configs.fault(chain, &server_name);
    let agreed = info(
        connection.protocol_version(),
        connection.negotiated_cipher_suite(),
    )?;
    let info = TlsInfo {
        verified: fault.is_none(),
        binding: ChannelBinding {
            exporter: exporter(connection),
            server_end_point: None,
        },
        ..agreed
    };
    let shown = Shown {
        certificates: chain.iter().map(|one| one.to_vec()).collect(),
        fault,
    };
    Ok((Box::new(stream), info, shown))
}

impl Configs {
    fn new(provider: &Arc<CryptoProvider>, roots: &Roots) -> Result<Self, String> {
        let roots = match roots {
            Roots::System => Arc::new(system_roots()),
            Roots::Given(roots) => roots.clone(),
        };
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())
        };
        let any = Arc::new(AnyCertificate {
            provider: provider.clone(),
        });
        let opportunistic = builder()?
            .dangerous()
            .with_custom_certificate_verifier(any)
            .with_no_client_auth();
        let verifier = if roots.is_empty() {
            None
        } else {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                    .build();
            Some(verifier.map_err(|error| error.to_string())?)
        };
        let required = match verifier {
            Some(_) => Some(
                builder()?
                    .with_root_certificates(roots)
                    .with_no_client_auth(),
            ),
            None => None,
        };
        Ok(Self {
            opportunistic: Arc::new(opportunistic).into(),
            required: required.map(|config| Arc::new(config).into()),
            verifier,
        })
    }

    /// Why the chain is not valid for the name, if it is not.
    fn fault(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Option<CertificateFault> {
        let Some((end, intermediates)) = chain.split_first() else {
            let why = "the server showed no certificate";
            return Some(CertificateFault::Other(why.to_owned()));
        };
        // The system has no certificate authorities.
        let Some(verifier) = &self.verifier else {
            return Some(CertificateFault::Untrusted);
        };
        let checked = verifier.verify_server_cert(end, intermediates, name, &[], UnixTime::now());
        checked.err().map(|error| fault_of(&error))
    }
}

/// What is wrong with a certificate, if that is what the error says.
pub(super) fn fault_of(error: &rustls::Error) -> CertificateFault {
    let rustls::Error::InvalidCertificate(wrong) = error else {
        return CertificateFault::Other(error.to_string());
    };
    match wrong {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::OtherName
        }
        CertificateError::UnknownIssuer => CertificateFault::Untrusted,
        other => CertificateFault::Other(other.to_string()),
    }
}

impl Connector for TcpConnector {
    fn connect(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(source) = source.filter(|ip| ip.is_ipv4() == address.is_ipv4()) {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(address).await?;
            // Small commands must not wait for an acknowledgement (Nagle).
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn start_tls<'a>(
        &'a self,
        stream: BoxStream,
        name: &'a Domain,
        require_valid: bool,
    ) -> BoxFuture<'a, io::Result<(BoxStream, TlsInfo)>> {
        Box::pin(self.secure(stream, name, require_valid))
    }

    fn show_tls<'a>(
        &'a self,
        stream: BoxStream,
        name: &'a Domain,
    ) -> BoxFuture<'a, io::Result<(BoxStream, TlsInfo, Shown)>> {
        Box::pin(self.show(stream, name))
    }
}

/// Connects to a host by name or address, as the system finds it; tries its addresses in turn. For
/// commands of the operator: a node asks its own resolver.
///
/// # Errors
/// Those of the last address.
pub async fn to_host(host: &str, port: u16) -> io::Result<(BoxStream, SocketAddr)> {
    let connector = TcpConnector::default();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match connector.connect(address, None).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn server_name(name: &Domain) -> io::Result<ServerName<'static>> {
    match name.literal() {
        Some(address) => Ok(ServerName::from(address)),
        None => ServerName::try_from(name.as_str().to_owned()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name} cannot be asked for"),
            )
        }),
    }
}

/// The certificate authorities of the system; those that cannot be read are left out.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some certificate authorities of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Takes any certificate, but still checks that the peer holds its key.
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for AnyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyCertificate")
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
