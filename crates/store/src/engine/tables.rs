//! Every table with its class; a test compares the list with the schema and with every statement
//! that the contract suite has run.

/// To what a table belongs, and so how a distributed database may place it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableClass {
    /// Data of an account: every key starts with `account_id`, and so does every statement.
    Account,
    /// Small tables of the whole system, on every node of a distributed database.
    Global,
    /// Placed by letter.
    Letter,
    /// Placed by the hash of a blob.
    Blob,
}

/// Every table with its class.
pub const TABLES: &[(&str, TableClass)] = &[
    ("account", TableClass::Account),
    ("address", TableClass::Global),
    ("alert", TableClass::Global),
    ("alias_target", TableClass::Global),
    ("app_password", TableClass::Account),
    ("blob", TableClass::Blob),
    ("change", TableClass::Account),
    ("condemned", TableClass::Blob),
    ("credential", TableClass::Account),
    ("delivery", TableClass::Letter),
    ("directory_change", TableClass::Global),
    ("dkim_key", TableClass::Global),
    ("dmarc_outcome", TableClass::Global),
    ("domain", TableClass::Global),
    ("expunged", TableClass::Account),
    ("import_state", TableClass::Account),
    ("job", TableClass::Global),
    ("journey", TableClass::Letter),
    ("letter", TableClass::Letter),
    ("letter_name", TableClass::Letter),
    ("list", TableClass::Global),
    ("list_held", TableClass::Letter),
    ("list_member", TableClass::Global),
    ("list_request", TableClass::Global),
    ("list_sending", TableClass::Letter),
    ("mailbox", TableClass::Account),
    ("message", TableClass::Account),
    ("node", TableClass::Global),
    ("object_note", TableClass::Global),
    ("placement", TableClass::Account),
    ("recipient", TableClass::Letter),
    ("removed", TableClass::Account),
    ("report", TableClass::Global),
    ("report_row", TableClass::Global),
    ("schema_version", TableClass::Global),
    ("search_block", TableClass::Account),
    ("search_dead", TableClass::Account),
    ("search_progress", TableClass::Account),
    ("search_segment", TableClass::Account),
    ("send_limit", TableClass::Global),
    ("send_right", TableClass::Global),
    ("sent", TableClass::Account),
    ("sent_domain", TableClass::Global),
    ("sequence", TableClass::Global),
    ("server_secret", TableClass::Global),
    ("sts_policy", TableClass::Global),
    ("suppression", TableClass::Global),
    ("thread_key", TableClass::Account),
    ("tls_outcome", TableClass::Global),
];
