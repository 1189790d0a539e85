//! What stands above each member's letter: the fields of the list (RFC 2369, RFC 2919, RFC 8058), with
//! the member's own way out.

use base::{Domain, EmailAddress};
use bytes::Bytes;
use message::Fields;
use message::write::{HeaderWriter, encode_phrase};
use store::{Claim, ListAddress, ListInfo, ListPart, ListTags, Posting, TagUse};

use super::LINK_PATH;

/// The id of a list, in lower case: `dev.red.test` for `dev@red.test`.
pub(super) fn list_id(list: &EmailAddress) -> String {
    format!("{}.{}", list.local.as_str(), list.domain).to_ascii_lowercase()
}

/// One of a list's addresses; the list itself where that would be too long, which a list's name
/// does not allow.
pub(super) fn part(list: &EmailAddress, part: ListPart, tag: &str) -> EmailAddress {
    let found = ListAddress::new(list, part, tag).to_address();
    found.unwrap_or_else(|| list.clone())
}

/// The List-Id field.
pub(super) fn id_field(list: &ListInfo) -> Vec<u8> {
    let id = list_id(&list.address);
    let text = match list.options.title.as_str() {
        "" => format!("<{id}>"),
        title => format!("{} <{id}>", encode_phrase(title)),
    };
    HeaderWriter::new().raw("List-Id", &text).finish()
}

/// What stands above the letter of this member. `arrived` is what stood above it when it came to the
/// list.
pub(super) fn member_head(
    list: &ListInfo,
    tags: &ListTags,
    url: &str,
    member: i64,
    arrived: &[u8],
) -> Bytes {
    let address = &list.address;
    let tag = tags.make(TagUse::Unsubscribe, address, member);
    let mail = |which, tag: &str| format!("<mailto:{}>", part(address, which, tag));
    let leave = mail(ListPart::Unsubscribe, &tag);
    let mut out = id_field(list);
    let help = part(address, ListPart::Request, "");
    let mut header = HeaderWriter::new()
        .raw("List-Help", &format!("<mailto:{help}?subject=help>"))
        .raw(
            "List-Post",
            // RFC 2369 §3.4.
            &match list.options.posting {
                Posting::Owners => "NO".to_owned(),
                Posting::Anyone | Posting::Members => mail(ListPart::Post, ""),
            },
        )
        .raw("List-Owner", &mail(ListPart::Owner, ""));
    if list.options.open {
        header = header.raw("List-Subscribe", &mail(ListPart::Subscribe, ""));
    }
    header = if url.is_empty() {
        header.raw("List-Unsubscribe", &leave)
    } else {
        let link = format!("<{url}{LINK_PATH}/{address}/{tag}>");
        header
            .raw("List-Unsubscribe", &format!("{link}, {leave}"))
            // RFC 8058 §3.1.
            .raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    };
    if !list.options.archive.is_empty() {
        header = header.raw("List-Archive", &format!("<{}>", list.options.archive));
    }
    out.extend_from_slice(&header.raw("Precedence", "list").finish());
    out.extend_from_slice(arrived);
    out.into()
}

/// The domain of the list that sends this letter to a member. Nobody else can write a List-Id into the
/// head that the queue keeps.
pub(crate) fn list_of(claim: &Claim) -> Option<Domain> {
    if claim.account.is_some() {
        return None;
    }
    Fields::new(&claim.head).find("List-Id")?;
    Some(claim.reverse_path.as_ref()?.domain.clone())
}
