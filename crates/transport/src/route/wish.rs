//! What a letter's sender says about TLS, laid on a route (RFC 8689).
//!
//! Where the policy of a domain (MTA-STS, DANE) narrows a route, it does so before this: a letter
//! with REQUIRETLS asks for no less than it, and one with `TLS-Required: No` goes past it.

use std::sync::Arc;

use store::TlsWish;

use super::{Proof, Refusal, Route};
use crate::queue::settings::TlsPolicy;

/// The route for a letter with this wish.
pub(crate) fn for_wish(route: Arc<Route>, wish: TlsWish) -> Arc<Route> {
    let mut route = match wish {
        TlsWish::None => return route,
        // RFC 8689 §5: what the operator wants of a smarthost is no matter of the receiver's
        // policy, and stays.
        TlsWish::Optional if route.smarthost => return route,
        TlsWish::Required | TlsWish::Optional => Route::clone(&route),
    };
    if wish == TlsWish::Required {
        // RFC 8689 §4.2.1: a certificate that is valid for the server's name.
        route.tls = TlsPolicy::Verified;
    } else {
        route.tls = route.tls.min(TlsPolicy::Opportunistic);
    }
    for host in &mut route.hosts {
        host.proof = match (wish, std::mem::take(&mut host.proof)) {
            // RFC 8689 §4.2.1: somebody must vouch for the name, too.
            (TlsWish::Required, Proof::Nothing | Proof::StsTesting { named: false }) => {
                Proof::Refused(Refusal::Unnamed)
            }
            (TlsWish::Required, proof) => proof,
            (TlsWish::Optional | TlsWish::None, _) => Proof::Nothing,
        };
    }
    Arc::new(route)
}

#[cfg(test)]
mod tests {
    use super::super::Host;
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
                login: None,
                lmtp: false,
                destination: None,
            };
            assert_eq!(
                for_wish(Arc::new(route), wish).tls,
                expected,
                "{tls:?} {wish:?}"
            );
        }
    }

    fn proof_for(wish: TlsWish, proof: Proof) -> Proof {
        let host = Host {
            name: base::Domain::parse("mx.test").unwrap(),
            preference: 0,
            addresses: Vec::new(),
            proof,
        };
        let route = Route {
            hosts: vec![host],
            tls: TlsPolicy::Opportunistic,
            smarthost: false,
            login: None,
            lmtp: false,
            destination: None,
        };
        for_wish(Arc::new(route), wish).hosts[0].proof.clone()
    }

    #[test]
    fn a_letter_that_wants_tls_goes_only_to_servers_that_somebody_vouches_for() {
        let refused = Proof::Refused(Refusal::Unnamed);
        for (proof, expected) in [
            (Proof::Nothing, refused.clone()),
            (Proof::StsTesting { named: false }, refused),
            (
                Proof::StsTesting { named: true },
                Proof::StsTesting { named: true },
            ),
            (Proof::Named, Proof::Named),
            (Proof::Sts, Proof::Sts),
        ] {
            assert_eq!(proof_for(TlsWish::Required, proof.clone()), expected);
            assert_eq!(proof_for(TlsWish::Optional, proof.clone()), Proof::Nothing);
            assert_eq!(proof_for(TlsWish::None, proof.clone()), proof);
        }
    }
}
