//! Certificates of clients, for SASL EXTERNAL: asked for, never demanded, and judged after the
//! handshake, so that one of an unknown authority counts as none and the connection goes on.
//!
//! That the client has the key is proved in the handshake (RFC 8446 §4.4.3). Whose account an address
//! is belongs to the store. Revocation lists are not read.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base::EmailAddress;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::der::{OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, elements, value};
use super::tls::TlsError;

/// Addresses of one certificate that are looked at: nobody has more of his own, and each is looked
/// up.
const ADDRESSES_MAX: usize = 16;

/// RFC 5280 §4.2.1.6: 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];
/// RFC 5280 §4.1: `extensions [3] EXPLICIT`.
const EXTENSIONS: u8 = 0xa3;
/// RFC 5280 §4.2.1.6: `rfc822Name [1] IA5String`.
const RFC822_NAME: u8 = 0x81;

/// Asks for a certificate and takes any whose key the client has; [`Self::addresses`] judges it.
#[derive(Debug)]
pub(super) struct AnyClient(Arc<dyn ClientCertVerifier>);

impl AnyClient {
    /// With the authorities in a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate that can be used.
    pub(super) fn new(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let wrong = |why: String| TlsError::File(file.to_owned(), why);
        let pem = fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| wrong(error.to_string()))?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map(Self)
            .map_err(|error| wrong(format!("no certificate authority in PEM: {error}")))
    }

    /// The mail addresses in a certificate that is valid now; none in one that is not.
    pub(super) fn addresses(&self, chain: &[CertificateDer<'_>]) -> Vec<EmailAddress> {
        let Some((end, intermediates)) = chain.split_first() else {
            return Vec::new();
        };
        match self
            .0
            .verify_client_cert(end, intermediates, UnixTime::now())
        {
            Ok(_) => addresses(end),
            Err(error) => {
                tracing::debug!(%error, "a client's certificate is not trusted");
                Vec::new()
            }
        }
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The `rfc822Name`s of the subject; what is no address is passed over.
fn addresses(certificate: &[u8]) -> Vec<EmailAddress> {
    let Some(names) = alternative_names(certificate) else {
        return Vec::new();
    };
    elements(names)
        .filter(|(tag, _)| *tag == RFC822_NAME)
        .filter_map(|(_, name)| EmailAddress::parse(std::str::from_utf8(name).ok()?).ok())
        .take(ADDRESSES_MAX)
        .collect()
}

/// RFC 5280 §4.1, §4.2.1.6: the content of `GeneralNames`.
fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (to_be_signed, _) = value(certificate, SEQUENCE)?;
    let (_, explicit) = elements(to_be_signed).find(|(tag, _)| *tag == EXTENSIONS)?;
    let (extensions, _) = value(explicit, SEQUENCE)?;
    elements(extensions).find_map(|(_, extension)| {
        let (identifier, _) = value(extension, OBJECT_IDENTIFIER)?;
        if identifier != SUBJECT_ALTERNATIVE_NAME {
            return None;
        }
        // `critical` may stand in between.
        let (_, content) = elements(extension).find(|(tag, _)| *tag == OCTET_STRING)?;
        value(content, SEQUENCE).map(|(names, _)| names)
    })
}
