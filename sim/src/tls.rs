//! TLS in the world: a marker in each direction, and nothing is encrypted. That TLS was asked for
//! and agreed on is what sessions see of it.

use std::io;

use base::Domain;
use base::ports::{BoxFuture, BoxStream, ChannelBinding, TlsAcceptor, TlsInfo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HELLO: &[u8; 12] = b"*tls hello*\n";
const AGREED: &[u8; 12] = b"*tls agreed*";

fn info() -> TlsInfo {
    TlsInfo {
        version: "TLSv1.3",
        cipher: "TLS_SIMULATED".to_owned(),
        verified: false,
        binding: ChannelBinding::default(),
        client_addresses: Vec::new(),
    }
}

async fn expect(stream: &mut BoxStream, marker: &[u8; 12]) -> io::Result<()> {
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).await?;
    if bytes == *marker {
        Ok(())
    } else {
        Err(io::Error::other("no TLS handshake"))
    }
}

/// The client's handshake.
///
/// # Errors
/// Those of the stream, and a certificate that should be valid: there are none.
pub async fn connect(
    mut stream: BoxStream,
    _name: &Domain,
    require_valid: bool,
) -> io::Result<(BoxStream, TlsInfo)> {
    if require_valid {
        return Err(io::Error::other("unknown certificate authority"));
    }
    stream.write_all(HELLO).await?;
    expect(&mut stream, AGREED).await?;
    Ok((stream, info()))
}

/// The server's handshake.
#[derive(Clone, Copy, Debug)]
pub struct MarkerTls;

impl TlsAcceptor for MarkerTls {
    fn accept(&self, mut stream: BoxStream) -> BoxFuture<'_, io::Result<(BoxStream, TlsInfo)>> {
        Box::pin(async move {
            expect(&mut stream, HELLO).await?;
            stream.write_all(AGREED).await?;
            Ok((stream, info()))
        })
    }
}
