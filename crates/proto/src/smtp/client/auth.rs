//! AUTH: RFC 4954.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Client, Expect, Failure, Step};
use crate::sasl;
use crate::smtp::reply::Reply;

impl Client {
    pub(super) fn log_in(&mut self) {
        let Some(credentials) = self.config.credentials.clone() else {
            return;
        };
        let can_bind = self.channel.exporter.is_some();
        let usable = |mechanism: &&sasl::Mechanism| {
            can_bind || mechanism.needs() != sasl::Needs::KeysAndBinding
        };
        let best = self.extensions.mechanisms.iter().find(usable).copied();
        let safe = self.tls || credentials.without_tls;
        let Some(mechanism) = best.filter(|_| safe) else {
            return self.fail(Failure::AuthNotOffered);
        };
        let mut exchange = sasl::Client::new(
            mechanism,
            &credentials.login,
            credentials.password,
            &credentials.nonce,
        )
        .bound_to(&self.channel);
        let initial = exchange
            .initial()
            .map(|message| format!(" {}", BASE64.encode(message)))
            .unwrap_or_default();
        self.command(
            format_args!("AUTH {}{initial}", mechanism.name()),
            Expect::Auth(Box::new(exchange)),
        );
    }

    pub(super) fn auth_answered(&mut self, mut exchange: Box<sasl::Client>, reply: Reply) {
        match reply.code {
            235 if exchange.finish() => self.become_ready(),
            235 => self.fail(Failure::NotGenuine(sasl::ClientError::WrongServerSignature)),
            334 => {
                let response = BASE64
                    .decode(reply.text.trim())
                    .map_err(|_| sasl::ClientError::Malformed)
                    .and_then(|challenge| exchange.respond(&challenge));
                match response {
                    Ok(response) => {
                        let line = BASE64.encode(response);
                        self.command(format_args!("{line}"), Expect::Auth(exchange));
                    }
                    // RFC 4954 §4: `*` cancels.
                    Err(why) => self.command(
                        format_args!("*"),
                        Expect::AuthCancelled(Failure::NotGenuine(why)),
                    ),
                }
            }
            _ => self.refused(Step::Auth, reply),
        }
    }
}
