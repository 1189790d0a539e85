//! The brake on failed logins, as an operator sees it. It lives in the running node, so that there is
//! nothing to see or lift without one.

use std::net::IpAddr;

use base::Timestamp;
use base::throttle::{Counted, LoginThrottle};
use serde_json::{Value, json};

use super::operate::Answer;
use super::{Failure, Request};

/// Does what is asked of a node's brake; `None` for another request.
pub(super) fn operate(
    throttle: &LoginThrottle,
    request: &Request,
    now: Timestamp,
) -> Option<Result<Answer, Failure>> {
    Some(match request {
        Request::BrakeList => Ok(Answer::list(
            throttle.counted(now).iter().map(row).collect(),
        )),
        Request::BrakeLift { who } => lift(throttle, who),
        _ => return None,
    })
}

fn lift(throttle: &LoginThrottle, who: &str) -> Result<Answer, Failure> {
    let count = match who.parse::<IpAddr>() {
        Ok(address) => throttle.lift(Some(address), None),
        Err(_) => throttle.lift(None, Some(who)),
    };
    match count {
        0 => Err(Failure::not_found(format!(
            "there are no failed logins of {who} on this node"
        ))),
        _ => Ok(Answer::done(format!(
            "the failed logins of {who} are forgotten"
        ))),
    }
}

fn row(one: &Counted) -> Value {
    json!({
        "address": one.address.map(|address| address.to_string()),
        "login": one.login,
        "failures": one.failures,
        "most": one.most,
        "kept_out": one.is_kept_out(),
        "until": one.until.to_string(),
    })
}
