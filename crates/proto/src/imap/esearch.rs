//! ESEARCH responses (RFC 9051 §7.3.4, RFC 4731).

use super::command::Numbering;
use super::search::Returns;
use super::sequence::Compact;
use super::tag::Tag;
use super::write::Writer;

/// Writes the answer to a SEARCH with return options. `numbers` ascend.
pub fn write(
    writer: &mut Writer,
    tag: &Tag,
    numbering: Numbering,
    returns: Returns,
    numbers: &[u32],
) {
    writer.raw("* ESEARCH (TAG ");
    writer.quoted(tag.as_str());
    writer.raw(")");
    if numbering == Numbering::Uid {
        writer.raw(" UID");
    }
    // RFC 9051 §7.3.4: MIN, MAX and ALL are left out when nothing matches, COUNT is told.
    if let (Some(min), Some(max)) = (numbers.first(), numbers.last()) {
        if returns.min {
            writer.display(format_args!(" MIN {min}"));
        }
        if returns.max {
            writer.display(format_args!(" MAX {max}"));
        }
        if returns.all {
            writer.display(format_args!(" ALL {}", Compact(numbers)));
        }
    }
    if returns.count {
        writer.display(format_args!(" COUNT {}", numbers.len()));
    }
    writer.end();
}
