//! Whether a letter is from whom it says: SPF, DKIM, DMARC and ARC, verified and made.
//!
//! Nothing here does I/O. A check is a pure function of what is known: it is given the DNS answers
//! so far ([`Answers`]) and gives its result, or says which questions it needs answered ([`Need`])
//! and is called again with the answers. Time is an argument.

pub mod arc;
pub mod dane;
pub mod dkim;
pub mod dmarc;
mod dns;
pub mod feedback;
pub mod iprev;
mod name;
mod report;
pub mod results;
mod reverse;
pub mod spf;
pub mod srs;
pub mod sts;
pub mod tags;

pub use dns::{Answer, Answers, Need, Question, RecordType, Records};
pub use report::{Checks, LetterInput, Report};
