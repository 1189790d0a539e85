//! CAPABILITY (RFC 9051 §6.1.1): the list is made of what is really there for this connection.

use base::EmailAddress;
use base::ports::ChannelBinding;
use proto::sasl::{Mechanism, Needs};

use super::session::{Done, Session};

/// What is there always. RFC 7888 §5: who has LITERAL+ has LITERAL- too, and names one of them.
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ENABLE ID IDLE NAMESPACE CHILDREN \
    UNSELECT UIDPLUS MOVE ESEARCH SEARCHRES LIST-EXTENDED LIST-STATUS SPECIAL-USE \
    CREATE-SPECIAL-USE STATUS=SIZE BINARY UTF8=ACCEPT";

impl Session {
    pub(super) fn capability(&mut self) -> Done {
        let names = self.capabilities();
        let writer = &mut self.connection.writer;
        writer.raw("* CAPABILITY ");
        writer.raw(&names);
        writer.end();
        Done::new("CAPABILITY is done")
    }

    /// The names, joined by spaces.
    pub(super) fn capabilities(&self) -> String {
        let mut names = ALWAYS.to_owned();
        if self.account.is_some() {
            return names;
        }
        if self.may_start_tls() {
            names.push_str(" STARTTLS");
        }
        if self.may_send_password() {
            for mechanism in Mechanism::ALL {
                if !self.offers(mechanism) {
                    continue;
                }
                names.push_str(" AUTH=");
                names.push_str(mechanism.name());
            }
        } else {
            // RFC 9051 §7.2.2: no LOGIN before TLS. SCRAM shows no password, but whoever listens
            // could try passwords against it at home.
            names.push_str(" LOGINDISABLED");
        }
        names
    }

    pub(super) fn offers(&self, mechanism: Mechanism) -> bool {
        match mechanism.needs() {
            Needs::Nothing => true,
            Needs::Keys => self.context.options.scram,
            Needs::KeysAndBinding => self.context.options.scram && self.channel().is_some(),
            Needs::Certificate => !self.client_addresses().is_empty(),
            Needs::Tokens => false,
        }
    }

    /// The addresses of the client's certificate.
    pub(super) fn client_addresses(&self) -> &[EmailAddress] {
        let tls = self.tls.as_ref();
        tls.map_or(&[], |tls| tls.client_addresses.as_slice())
    }

    /// What a login may be bound to, if there is something.
    pub(super) fn channel(&self) -> Option<&ChannelBinding> {
        let tls = self.tls.as_ref()?;
        Some(&tls.binding).filter(|binding| !binding.is_empty())
    }

    pub(super) fn may_start_tls(&self) -> bool {
        self.tls.is_none() && self.entry.offers_starttls && self.context.options.tls.is_some()
    }

    pub(super) fn may_send_password(&self) -> bool {
        let is_local = self.entry.peer.ip().to_canonical().is_loopback();
        self.tls.is_some() || is_local && self.context.options.auth_without_tls_on_loopback
    }
}
