//! `tls-server-end-point` (RFC 5929 §4.1): the hash of a certificate by the hash function of its own
//! signature. Of the certificate only the name of that algorithm is read.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};

use super::der::{OBJECT_IDENTIFIER, SEQUENCE, value};

/// The binding of a certificate in DER; `None` where RFC 5929 defines none (Ed25519, RSA-PSS).
pub(super) fn of_certificate(der: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match signature_algorithm(der)? {
        // RFC 5929 §4.1: MD5 and SHA-1 are replaced by SHA-256.
        MD5_RSA | SHA1_RSA | SHA256_RSA | SHA1_ECDSA | SHA256_ECDSA => &SHA256,
        SHA384_RSA | SHA384_ECDSA => &SHA384,
        SHA512_RSA | SHA512_ECDSA => &SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, der).as_ref().to_vec())
}

// RFC 8017 appendix A.2.4: 1.2.840.113549.1.1.n.
const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const SHA384_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const SHA512_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
// RFC 5758 §3.2: 1.2.840.10045.4.3.n, and 4.1 for SHA-1.
const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SHA384_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];

/// RFC 5280 §4.1: `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, … }`.
fn signature_algorithm(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = value(der, SEQUENCE)?;
    let (_, behind) = value(certificate, SEQUENCE)?;
    let (algorithm, _) = value(behind, SEQUENCE)?;
    let (identifier, _) = value(algorithm, OBJECT_IDENTIFIER)?;
    Some(identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (algorithm, bytes) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let names = vec!["mx.red.test".to_owned()];
            let params = rcgen::CertificateParams::new(names).unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let binding = of_certificate(certificate.der());
            assert_eq!(binding.map(|data| data.len()), bytes);
        }
    }

    #[test]
    fn what_is_no_certificate() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x85, 1],
            &[0x30, 5, 0x30],
            &[2, 1, 0],
        ] {
            assert_eq!(of_certificate(bad), None);
        }
    }
}
