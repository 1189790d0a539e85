//! The real outside world behind `base::ports`: the clock, randomness, DNS, connections and TLS.
//!
//! Nothing else in the house opens a socket to another machine or asks the time; listeners are in
//! [`crate::node`].

mod client_certificate;
pub mod clock;
pub mod connect;
mod der;
mod dnssec;
mod end_point;
mod fetch;
mod remembered;
pub mod resolver;
pub mod sntp;
pub mod tls;

pub use clock::{OsEntropy, SystemClock};
pub use connect::TcpConnector;
pub use dnssec::TrustAd;
pub use fetch::WebClient;
pub use resolver::HickoryResolver;
pub use tls::{CertificateSource, RustlsAcceptor, TlsError};
