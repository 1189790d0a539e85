//! How many transfers a server bears at once, found out by trying: slow start, shrinking when it says
//! "not now" again and again, a pause when that goes on, and growth again after success.
//!
//! The window starts small and grows by one with each letter that is taken. Answers of 4xx and lost
//! connections are trouble; enough of it halves the window, and from then on it grows only by one for
//! each windowful of letters. Where one transfer at a time is still too much, nothing is tried for a
//! pause that doubles each time. What is heard of a single mailbox is no trouble: see
//! [`trouble_of_reply`].

use std::time::Duration;

use base::Timestamp;
use proto::smtp::Reply;

/// Trouble that halves the window.
const TROUBLE_MAX: u32 = 8;
/// Four letters in a row that are answered with 4xx halve the window.
const TROUBLE_OF_DEFERRAL: u32 = 2;
/// A 421 or a lost connection halves it at once.
const TROUBLE_OF_REFUSAL: u32 = TROUBLE_MAX;
/// The first pause is this part of the first retry delay: 15 seconds of the usual two minutes.
const PAUSE_DIVISOR: u32 = 8;
/// The longest pause is so many first ones: 16 minutes where the first is 15 seconds.
const PAUSE_DOUBLINGS_MAX: u32 = 6;

/// How servers without enhanced codes say that a transaction has as many recipients as it may.
const TOO_MANY_RECIPIENTS: &str = "too many recipients";

/// How much of a storm one answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble(u32);

impl Trouble {
    /// The connection was lost, or not even wanted.
    pub const REFUSAL: Self = Self(TROUBLE_OF_REFUSAL);
    /// The letter was put off.
    pub const DEFERRAL: Self = Self(TROUBLE_OF_DEFERRAL);

    /// Whether it is none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What a reply that puts a letter off says about the server as a whole.
#[must_use]
pub fn trouble_of_reply(reply: &Reply) -> Trouble {
    if !(400..500).contains(&reply.code) {
        return Trouble::default();
    }
    if reply.code == 421 {
        return Trouble::REFUSAL;
    }
    match reply.enhanced {
        // RFC 3463 §3.2, §3.3: the address, the mailbox (full, busy).
        Some(code) if code.subject == 1 || code.subject == 2 => Trouble::default(),
        // Greylisting (RFC 6647 §2.1) wants every letter to be tried once.
        Some(code) if (code.subject, code.detail) == (7, 1) => Trouble::default(),
        _ if names_greylisting(&reply.text) => Trouble::default(),
        // The letter was too wide, and the next one need not be.
        _ if says_too_many_recipients(reply) => Trouble::default(),
        _ => Trouble::DEFERRAL,
    }
}

/// Whether it says that a transaction has as many recipients as it may (RFC 5321 §4.5.3.1.10, and RFC
/// 3463 §3.6 X.5.3); 552 is the code of old.
#[must_use]
pub fn says_too_many_recipients(reply: &Reply) -> bool {
    matches!(reply.code, 452 | 552)
        && match reply.enhanced {
            Some(code) => (code.subject, code.detail) == (5, 3),
            None => reply
                .text
                .to_ascii_lowercase()
                .contains(TOO_MANY_RECIPIENTS),
        }
}

fn names_greylisting(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("greylist") || text.contains("graylist")
}

/// The limits of a window.
#[derive(Clone, Copy, Debug)]
pub struct FlowLimits {
    /// Transfers at once at the start.
    pub initial: usize,
    /// Most transfers at once.
    pub max: usize,
    /// From which the pauses are made.
    pub retry_first: Duration,
}

/// The state of one server, or of one destination.
#[derive(Clone, Debug)]
pub struct Flow {
    window: usize,
    /// Up to here it grows with each letter, and then with each windowful.
    threshold: usize,
    /// Letters taken towards the next step of slow growth.
    taken: usize,
    trouble: u32,
    /// Pauses in a row.
    pauses: u32,
    paused_until: Option<Timestamp>,
}

impl Flow {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(limits: FlowLimits) -> Self {
        Self {
            window: limits.initial.min(limits.max).max(1),
            threshold: limits.max,
            taken: 0,
            trouble: 0,
            pauses: 0,
            paused_until: None,
        }
    }

    /// One that always allows so many.
    #[must_use]
    pub fn fixed(window: usize) -> Self {
        Self::new(FlowLimits {
            initial: window,
            max: window,
            retry_first: Duration::ZERO,
        })
    }

    /// Transfers that may run at once.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// Until when nothing is tried, if that is later than now.
    #[must_use]
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.paused_until.filter(|until| now < *until)
    }

    /// Whether it was paused and has not taken a letter since.
    #[must_use]
    pub fn is_sore(&self) -> bool {
        self.pauses > 0
    }

    /// A letter was taken.
    pub fn took(&mut self, limits: FlowLimits) {
        self.trouble /= 2;
        self.pauses = 0;
        self.paused_until = None;
        if self.window < self.threshold {
            self.window += 1;
        } else {
            self.taken += 1;
            if self.taken >= self.window {
                self.taken = 0;
                self.window += 1;
            }
        }
        self.window = self.window.min(limits.max).max(1);
    }

    /// The server put a letter off. Of several transfers that ran into a pause together, only the
    /// first is heard.
    pub fn troubled(&mut self, now: Timestamp, trouble: Trouble, limits: FlowLimits) {
        if self.paused_until(now).is_some() {
            return;
        }
        self.trouble += trouble.0;
        if self.trouble < TROUBLE_MAX {
            return;
        }
        self.trouble = 0;
        self.taken = 0;
        if self.window > 1 {
            self.window /= 2;
            self.threshold = self.window;
            return;
        }
        let doublings = self.pauses.min(PAUSE_DOUBLINGS_MAX);
        let pause = (limits.retry_first / PAUSE_DIVISOR) * (1 << doublings);
        self.pauses = self.pauses.saturating_add(1);
        self.paused_until = Some(now + pause);
    }

    /// Nobody answers at all: when somebody does again, one letter goes first.
    pub fn collapse(&mut self) {
        self.window = 1;
    }
}

#[cfg(test)]
mod tests {
    use proto::smtp::EnhancedCode;

    use super::*;

    const LIMITS: FlowLimits = FlowLimits {
        initial: 4,
        max: 20,
        retry_first: Duration::from_secs(120),
    };

    fn after(flow: &mut Flow, times: usize, mut what: impl FnMut(&mut Flow)) -> Vec<usize> {
        let each = (0..times).map(|_| {
            what(flow);
            flow.window()
        });
        each.collect()
    }

    #[test]
    fn slow_start_grows_by_one_for_each_letter_up_to_the_limit() {
        let mut flow = Flow::new(LIMITS);
        assert_eq!(flow.window(), 4);
        let curve = after(&mut flow, 18, |flow| flow.took(LIMITS));
        let expected: Vec<usize> = (5..=20).chain([20, 20]).collect();
        assert_eq!(curve, expected);
    }

    #[test]
    fn a_storm_of_deferrals_shrinks_the_window_and_then_pauses() {
        let mut flow = Flow::new(LIMITS);
        after(&mut flow, 16, |flow| flow.took(LIMITS));
        let start = Timestamp(0);
        let curve = after(&mut flow, 19, |flow| {
            flow.troubled(start, Trouble::DEFERRAL, LIMITS);
        });
        let expected = [
            20, 20, 20, 10, 10, 10, 10, 5, 5, 5, 5, 2, 2, 2, 2, 1, 1, 1, 1,
        ];
        assert_eq!(curve, expected);
        assert_eq!(flow.paused_until(start), None, "one more is borne");
        flow.troubled(start, Trouble::DEFERRAL, LIMITS);
        let first = start + Duration::from_secs(15);
        assert_eq!(flow.paused_until(start), Some(first));
        // What was under way tells nothing new.
        after(&mut flow, 20, |flow| {
            flow.troubled(start, Trouble::REFUSAL, LIMITS);
        });
        assert_eq!(flow.paused_until(start), Some(first));
        assert_eq!(flow.paused_until(first), None);
        // Each further pause is twice as long, up to sixteen minutes.
        let mut now = first;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            flow.troubled(now, Trouble::REFUSAL, LIMITS);
            let until = flow.paused_until(now).unwrap();
            pauses.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 960, 960]);
    }

    #[test]
    fn growth_after_a_storm_is_slow() {
        let mut flow = Flow::new(LIMITS);
        after(&mut flow, 16, |flow| flow.took(LIMITS));
        flow.troubled(Timestamp(0), Trouble::REFUSAL, LIMITS);
        flow.troubled(Timestamp(0), Trouble::REFUSAL, LIMITS);
        assert_eq!(flow.window(), 5);
        // Five letters make it six, six more make it seven.
        let curve = after(&mut flow, 11, |flow| flow.took(LIMITS));
        assert_eq!(curve, [5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7]);
        assert!(!flow.is_sore());
    }

    #[test]
    fn now_and_then_a_deferral_is_no_storm() {
        let mut flow = Flow::new(LIMITS);
        for _ in 0..200 {
            flow.troubled(Timestamp(0), Trouble::DEFERRAL, LIMITS);
            flow.took(LIMITS);
        }
        assert_eq!(flow.window(), 20);
    }

    #[test]
    fn one_letter_ends_a_row_of_pauses() {
        let mut flow = Flow::fixed(1);
        let limits = FlowLimits { max: 3, ..LIMITS };
        flow.troubled(Timestamp(0), Trouble::REFUSAL, limits);
        assert!(flow.is_sore() && flow.paused_until(Timestamp(0)).is_some());
        flow.took(limits);
        assert!(!flow.is_sore());
        assert_eq!(flow.paused_until(Timestamp(0)), None);
    }

    #[test]
    fn only_what_concerns_the_server_is_trouble() {
        let check = |code, enhanced: Option<(u16, u16)>, text: &'static str, expected: Trouble| {
            let reply = Reply {
                code,
                enhanced: enhanced.map(|(subject, detail)| EnhancedCode {
                    class: 4,
                    subject,
                    detail,
                }),
                text: text.into(),
            };
            assert_eq!(trouble_of_reply(&reply), expected, "{reply}");
        };
        let none = Trouble::default();
        check(421, Some((7, 0)), "too many connections", Trouble::REFUSAL);
        check(451, Some((7, 28)), "slow down", Trouble::DEFERRAL);
        check(450, None, "try again", Trouble::DEFERRAL);
        check(452, Some((3, 1)), "disk full", Trouble::DEFERRAL);
        check(452, Some((2, 2)), "mailbox full", none);
        check(450, Some((1, 8)), "no such domain", none);
        check(450, Some((7, 1)), "come back in 300 s", none);
        check(451, None, "Greylisted, see you", none);
        check(452, Some((5, 3)), "enough in one go", none);
        check(452, None, "Too many recipients", none);
        check(550, Some((7, 28)), "never", none);
    }
}
