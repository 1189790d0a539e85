//! What a letter's sender says about TLS, laid on a route (RFC 8689).
//!
//! Where the policy of a domain (MTA-STS, DANE) narrows a route, it does so before this: a letter
//! with REQUIRETLS asks for no less than it, and one with `TLS-Required: No` goes past it.

use std::sync::Arc;

use store::TlsWish;

use super::Route;
use crate::queue::settings::TlsPolicy;

/// The route for a letter with this wish.
pub(crate) fn for_wish(route: Arc<Route>, wish: TlsWish) -> Arc<Route> {
    let tls = match wish {
        TlsWish::None => return route,
        // RFC 8689 §4.2.1: a certificate that is valid for the server's name.
        TlsWish::Required => TlsPolicy::Verified,
        // RFC 8689 §5: what the operator wants of a smarthost is no matter of the receiver's
        // policy, and stays.
        TlsWish::Optional if route.smarthost => return route,
        TlsWish::Optional => route.tls.min(TlsPolicy::Opportunistic),
    };
    if tls == route.tls {
        return route;
    }
    Arc::new(Route {
        tls,
        ..Route::clone(&route)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        use TlsPolicy::{Never, Opportunistic, Required, Verified};
        for (tls, wish, smarthost, expected) in [
            (Opportunistic, TlsWish::None, false, Opportunistic),
            (Opportunistic, TlsWish::Required, false, Verified),
            (Never, TlsWish::Required, true, Verified),
            (Verified, TlsWish::Optional, false, Opportunistic),
            (Never, TlsWish::Optional, false, Never),
            (Required, TlsWish::Optional, true, Required),
        ] {
            let route = Route {
                hosts: Vec::new(),
                tls,
                smarthost,
                lmtp: false,
            };
            assert_eq!(
                for_wish(Arc::new(route), wish).tls,
                expected,
                "{tls:?} {wish:?}"
            );
        }
    }
}
