//! Load for any mail server, and what the server took for it.
//!
//! [`load`] drives a server over SMTP and counts only what it acknowledged; [`usage`] reads what the
//! server's processes took; [`report`] prints both; [`compare`] does it for Pennyblack and its peers
//! side by side; [`hot`] fills one mailbox; [`transfer`] moves letters in and out as files. It knows nothing of the inside of any server.

pub mod compare;
pub mod hot;
pub mod load;
pub mod report;
pub mod transfer;
pub mod usage;
