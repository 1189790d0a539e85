//! Load for any mail server, and what the server took for it.
//!
//! [`load`] drives a server over SMTP and counts only what it acknowledged; [`usage`] reads what the
//! server's processes took; [`report`] prints both; [`compare`] does it for Pennyblack and its peers
//! side by side; [`hot`] fills one mailbox; [`transfer`] moves letters in and out as files; [`flood`]
//! holds connections open that want nothing; [`checks`] tells what finding out the sender costs. It knows nothing of the inside of any server.

pub mod checks;
pub mod compare;
pub mod flood;
pub mod hot;
pub mod load;
pub mod report;
pub mod transfer;
pub mod usage;
