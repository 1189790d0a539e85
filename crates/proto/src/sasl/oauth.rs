//! The messages that carry an access token: OAUTHBEARER (RFC 7628 §3.1) and XOAUTH2.

use base::Secret;

use super::scram;

/// `gs2-header kvsep *kvpair kvsep`: the login, if one is named, and the token.
pub(super) fn bearer(message: &str) -> Option<(Option<String>, Secret)> {
    let (header, pairs) = message.split_once('\u{1}')?;
    let mut parts = header.split(',');
    // RFC 7628 §3.1: channel binding is not used with it.
    let (flag, identity, end) = (parts.next()?, parts.next()?, parts.next()?);
    if !matches!(flag, "n" | "y") || !end.is_empty() || parts.next().is_some() {
        return None;
    }
    let login = match identity {
        "" => None,
        given => Some(scram::decode_name(scram::attribute(given, 'a')?)?),
    };
    Some((login, token(pairs.strip_suffix('\u{1}')?)?))
}

/// `"user=" login ^A "auth=Bearer " token ^A ^A`.
pub(super) fn xoauth2(message: &str) -> Option<(Option<String>, Secret)> {
    let (user, pairs) = message.split_once('\u{1}')?;
    let login = user
        .strip_prefix("user=")
        .filter(|login| !login.is_empty())?;
    Some((Some(login.to_owned()), token(pairs.strip_suffix('\u{1}')?)?))
}

/// The token of the one `auth` pair; others (host, port) are of no use here.
fn token(pairs: &str) -> Option<Secret> {
    // Each pair has its own end.
    if !pairs.ends_with('\u{1}') {
        return None;
    }
    let mut found = None;
    for pair in pairs.split_terminator('\u{1}') {
        let (name, value) = pair.split_once('=')?;
        if name == "auth" && found.replace(value).is_some() {
            return None;
        }
    }
    let (scheme, token) = found?.split_once(' ')?;
    // RFC 6750 §2.1 `b64token`.
    let token = token.trim_start_matches(' ');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let fits =
        scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && token.bytes().all(plain);
    fits.then(|| Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: Option<(Option<String>, Secret)>) -> Option<String> {
        let (login, token) = found?;
        Some(format!("{login:?} {}", token.expose_str().unwrap()))
    }

    #[test]
    fn messages_with_a_token() {
        // RFC 7628 §4.1.
        let message = "n,a=user@example.com,\u{1}host=server.example.com\u{1}port=143\u{1}\
                       auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}\u{1}";
        assert_eq!(
            shown(bearer(message)).unwrap(),
            "Some(\"user@example.com\") vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
        );
        assert_eq!(
            shown(bearer("n,,\u{1}auth=bearer x\u{1}\u{1}")).as_deref(),
            Some("None x")
        );
        assert_eq!(
            shown(xoauth2("user=bob@x.test\u{1}auth=Bearer ya29.x\u{1}\u{1}")).as_deref(),
            Some("Some(\"bob@x.test\") ya29.x")
        );
    }

    #[test]
    fn what_is_no_message() {
        for bad in [
            "",
            "n,,",
            "n,,\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x\u{1}",
            "n,,\u{1}auth=Bearer \u{1}\u{1}",
            "n,,\u{1}auth=Basic x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x y\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x\u{1}auth=Bearer y\u{1}\u{1}",
            "n,,\u{1}host\u{1}auth=Bearer x\u{1}\u{1}",
            "p=tls-exporter,,\u{1}auth=Bearer x\u{1}\u{1}",
            "n,a=,\u{1}auth=Bearer x\u{1}\u{1}",
            "n,,x\u{1}auth=Bearer x\u{1}\u{1}",
        ] {
            assert!(bearer(bad).is_none(), "{bad:?}");
        }
        assert!(xoauth2("user=\u{1}auth=Bearer x\u{1}\u{1}").is_none());
        assert!(xoauth2("auth=Bearer x\u{1}\u{1}").is_none());
    }
}
