//! The PROXY protocol, versions 1 and 2: how a proxy in front of a listener tells whose connection
//! it passes on. Read from the first bytes of a connection, before anything else.
//!
//! It does not decide whether the proxy is to be believed, and it uses none of the TLVs of version 2.
//! The format is that of the specification of HAProxy (`proxy-protocol.txt`, §2.1, §2.2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// §2.1: the longest line of version 1, with its CR LF.
const V1_BYTES_MAX: usize = 107;
/// §2.2: what version 2 begins with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// §2.2: signature, two bytes of version and family, two of the length.
const V2_HEAD_BYTES: usize = 16;
/// The most that follows in version 2. Addresses take 36 bytes; TLVs of real proxies (TLS, ids)
/// some hundred.
const V2_REST_BYTES_MAX: usize = 4_096;

/// The most bytes of a header.
pub const HEADER_BYTES_MAX: usize = V2_HEAD_BYTES + V2_REST_BYTES_MAX;

/// A header that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// How many bytes it took; what follows belongs to the peer.
    pub bytes: usize,
    /// Who connected to the proxy; `None` if the proxy speaks for itself (a check of health), or
    /// does not know.
    pub source: Option<SocketAddr>,
}

/// The bytes are no such header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotProxy(pub &'static str);

impl fmt::Display for NotProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotProxy {}

/// Reads the header at the start of a connection; `None` while more bytes are needed.
///
/// # Errors
/// [`NotProxy`] when the bytes cannot become a header any more.
pub fn parse(input: &[u8]) -> Result<Option<Header>, NotProxy> {
    let begins = |with: &[u8]| {
        let shared = input.len().min(with.len());
        input[..shared] == with[..shared]
    };
    if begins(V2_SIGNATURE) {
        return version_2(input);
    }
    if begins(b"PROXY ") {
        return version_1(input);
    }
    Err(NotProxy(
        "the connection does not begin with a PROXY header",
    ))
}

/// §2.1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 25` and CR LF.
fn version_1(input: &[u8]) -> Result<Option<Header>, NotProxy> {
    let window = &input[..input.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|two| two == b"\r\n") else {
        return match input.len() {
            ..V1_BYTES_MAX => Ok(None),
            V1_BYTES_MAX.. => Err(NotProxy("the PROXY line is too long")),
        };
    };
    let malformed = NotProxy("the PROXY line is malformed");
    let text = std::str::from_utf8(&window[..end]).map_err(|_| malformed)?;
    let bytes = end + 2;
    let words: Vec<&str> = text.split(' ').collect();
    let (family, source, target, from, to) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => {
            return Ok(Some(Header {
                bytes,
                source: None,
            }));
        }
        ["PROXY", family, source, target, from, to] => (family, source, target, from, to),
        _ => return Err(malformed),
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    // §2.1: no leading zero, no sign.
    let port = |text: &str| {
        let plain = text == "0" || !text.starts_with(['0', '+']);
        text.parse::<u16>().ok().filter(|_| plain)
    };
    let (Some(source), Some(_), Some(from), Some(_)) =
        (address(source), address(target), port(from), port(to))
    else {
        return Err(malformed);
    };
    Ok(Some(Header {
        bytes,
        source: Some(SocketAddr::new(source.to_canonical(), from)),
    }))
}

/// §2.2.
fn version_2(input: &[u8]) -> Result<Option<Header>, NotProxy> {
    let Some(head) = input.first_chunk::<V2_HEAD_BYTES>() else {
        return Ok(None);
    };
    let rest_bytes = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if rest_bytes > V2_REST_BYTES_MAX {
        return Err(NotProxy("the PROXY header is too long"));
    }
    let is_local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(NotProxy("the PROXY header is of another version")),
    };
    let bytes = V2_HEAD_BYTES + rest_bytes;
    let Some(rest) = input.get(V2_HEAD_BYTES..bytes) else {
        return Ok(None);
    };
    let source = match head[13] {
        _ if is_local => None,
        0x11 => Some(inet(rest).ok_or(SHORT)?),
        0x21 => Some(inet6(rest).ok_or(SHORT)?),
        // Other families (Unix sockets, datagrams) have no address of use here.
        _ => None,
    };
    Ok(Some(Header { bytes, source }))
}

const SHORT: NotProxy = NotProxy("the PROXY header is too short for its addresses");

/// Source and target address, source and target port.
fn inet(rest: &[u8]) -> Option<SocketAddr> {
    let address = rest.first_chunk::<12>()?;
    let ip = Ipv4Addr::new(address[0], address[1], address[2], address[3]);
    let port = u16::from_be_bytes([address[8], address[9]]);
    Some(SocketAddr::new(ip.into(), port))
}

fn inet6(rest: &[u8]) -> Option<SocketAddr> {
    let address = rest.first_chunk::<36>()?;
    let ip = Ipv6Addr::from(*address.first_chunk::<16>()?);
    let port = u16::from_be_bytes([address[32], address[33]]);
    Some(SocketAddr::new(IpAddr::V6(ip).to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads with bytes of the peer behind, and finds every cut of the header to be unfinished.
    fn check(header: &[u8], source: Option<&str>) {
        let input = [header, b"EHLO x\r\n"].concat();
        let read = parse(&input).unwrap().unwrap();
        assert_eq!(read.bytes, header.len());
        assert_eq!(read.source.map(|at| at.to_string()).as_deref(), source);
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "cut at {cut}");
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_1() {
        check(
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\n",
            Some("192.0.2.1:56324"),
        );
        check(
            b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n",
            Some("[2001:db8::1]:1"),
        );
        check(
            b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 25\r\n",
            Some("192.0.2.1:1"),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN whatever\r\n", None);
    }

    #[test]
    fn version_2() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 25];
        check(&v2(0x21, 0x11, &four), Some("192.0.2.1:4660"));
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        six[33] = 7;
        check(&v2(0x21, 0x21, &six), Some("[2001:db8::]:7"));
        let with_tlv = [&four[..], &[4, 0, 1, 0]].concat();
        check(&v2(0x21, 0x11, &with_tlv), Some("192.0.2.1:4660"));
        check(&v2(0x20, 0x00, &[]), None);
        check(&v2(0x20, 0x11, &four), None);
        check(&v2(0x21, 0x31, &[0; 216]), None);
        check(&v2(0x21, 0x00, &[0; V2_REST_BYTES_MAX]), None);
    }

    #[test]
    fn what_is_no_header() {
        for bad in [
            &b"EHLO x\r\n"[..],
            b"proxy TCP4 192.0.2.1 192.0.2.2 56324 25\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 056 25\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +56 25\r\n",
            b"PROXY TCP4 ::1 ::1 56 25\r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 56 25\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 56 25\r\n",
            b"PROXY TCP4 \xff 192.0.2.2 56 25\r\n",
            b"\r\n\r\n\0\r\nQUIT\r\n",
        ] {
            assert!(parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(parse(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()).is_err());
        assert!(
            parse(&v2(0x11, 0x11, &[0; 12])).is_err(),
            "version 1 in binary"
        );
        assert!(
            parse(&v2(0x22, 0x11, &[0; 12])).is_err(),
            "an unknown command"
        );
        assert!(parse(&v2(0x21, 0x11, &[0; 11])).is_err());
        assert!(parse(&v2(0x21, 0x21, &[0; 35])).is_err());
        assert!(parse(&v2(0x21, 0x00, &[0; V2_REST_BYTES_MAX + 1])).is_err());
    }
}
