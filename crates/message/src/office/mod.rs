//! Texts of office documents: Word, Excel and PowerPoint since 2007 (ECMA-376) and OpenDocument
//! (ISO/IEC 26300), which are zips of XML files. For search only: no layout, no numbers of cells, no
//! macros, no older formats.
//!
//! Documents come from strangers: everything is bounded, whatever they say about their sizes.

mod xml;
mod zip;

use xml::XmlText;
use zip::Zip;

/// XML of one document that is unpacked. Documents of a thousand pages have 10 MiB.
const XML_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Files of one document whose text is taken: slides have one each.
const FILES_MAX: usize = 500;

/// The families of formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfficeKind {
    /// `.docx`, `.docm`.
    Word,
    /// `.xlsx`, `.xlsm`.
    Sheet,
    /// `.pptx`, `.pptm`.
    Slides,
    /// `.odt`, `.ods`, `.odp`.
    OpenDocument,
}

impl OfficeKind {
    /// By the subtype of an `application` type, in lower case.
    #[must_use]
    pub fn of_subtype(subtype: &str) -> Option<Self> {
        let of = |start: &str| subtype.strip_prefix(start);
        if let Some(rest) = of("vnd.openxmlformats-officedocument.") {
            return match rest.split('.').next() {
                Some("wordprocessingml") => Some(Self::Word),
                Some("spreadsheetml") => Some(Self::Sheet),
                Some("presentationml") => Some(Self::Slides),
                _ => None,
            };
        }
        if of("vnd.oasis.opendocument.").is_some() {
            return Some(Self::OpenDocument);
        }
        match subtype {
            "vnd.ms-word.document.macroenabled.12" => Some(Self::Word),
            "vnd.ms-excel.sheet.macroenabled.12" => Some(Self::Sheet),
            "vnd.ms-powerpoint.presentation.macroenabled.12" => Some(Self::Slides),
            _ => None,
        }
    }

    /// By the end of a file name, in lower case.
    #[must_use]
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "docx" | "docm" => Some(Self::Word),
            "xlsx" | "xlsm" => Some(Self::Sheet),
            "pptx" | "pptm" => Some(Self::Slides),
            "odt" | "ods" | "odp" | "ott" => Some(Self::OpenDocument),
            _ => None,
        }
    }

    /// Whether a file of the zip holds text.
    fn holds_text(self, name: &[u8]) -> bool {
        let is_in = |folder: &str, starts: &[&str]| {
            name.strip_prefix(folder.as_bytes()).is_some_and(|file| {
                file.ends_with(b".xml")
                    && !file.contains(&b'/')
                    && starts
                        .iter()
                        .any(|start| file.starts_with(start.as_bytes()))
            })
        };
        match self {
            Self::Word => {
                let files = [
                    "document",
                    "header",
                    "footer",
                    "footnotes",
                    "endnotes",
                    "comments",
                ];
                is_in("word/", &files)
            }
            Self::Sheet => is_in("xl/", &["sharedStrings"]),
            Self::Slides => {
                is_in("ppt/slides/", &["slide"]) || is_in("ppt/notesSlides/", &["notesSlide"])
            }
            Self::OpenDocument => name == b"content.xml",
        }
    }

    /// The elements whose text is text of the document.
    const fn text_elements(self) -> &'static [&'static str] {
        match self {
            Self::Word | Self::Sheet | Self::Slides => &["t"],
            Self::OpenDocument => &["p", "h"],
        }
    }
}

/// The first file in a zip, at most `bytes_max` bytes of it; `None` if there is none.
#[must_use]
pub fn first_file_of_zip(data: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let file = Zip::open(data)?.files().next()?;
    Some(file.unpack(bytes_max))
}

/// The text of a document, at most about `bytes_max` bytes of it. What is damaged, encrypted or no
/// such document gives as much as could be read.
#[must_use]
pub fn office_text(data: &[u8], kind: OfficeKind, bytes_max: usize) -> String {
    let mut text = XmlText::new(kind.text_elements(), bytes_max);
    let Some(zip) = Zip::open(data) else {
        return String::new();
    };
    let mut left = XML_BYTES_MAX;
    let files = zip.files().filter(|file| kind.holds_text(file.name));
    for file in files.take(FILES_MAX) {
        if left == 0 || text.is_full() {
            break;
        }
        let xml = file.unpack(left);
        left -= xml.len().min(left);
        text.add(&String::from_utf8_lossy(&xml));
    }
    text.finish()
}

#[cfg(test)]
mod tests {
    use super::zip::tests::zip_of;
    use super::*;

    #[test]
    fn documents() {
        let docx = zip_of(&[
            ("[Content_Types].xml", "<Types/>"),
            (
                "word/document.xml",
                "<w:document><w:p><w:r><w:t>Hel</w:t></w:r><w:r><w:t>lo</w:t></w:r></w:p>\
                 <w:p><w:pos>17</w:pos><w:t>a &amp; b</w:t></w:p></w:document>",
            ),
            ("word/media/x.xml", "<w:t>no</w:t>"),
        ]);
        assert_eq!(office_text(&docx, OfficeKind::Word, 1_000), "Hello\na & b");
        let odt = zip_of(&[(
            "content.xml",
            "<office:text><text:h>Title</text:h><text:p>one<text:span>two</text:span>\
             <text:tab/>three</text:p><x>no</x></office:text>",
        )]);
        let text = office_text(&odt, OfficeKind::OpenDocument, 1_000);
        assert_eq!(text, "Title\nonetwo\nthree");
        let xlsx = zip_of(&[(
            "xl/sharedStrings.xml",
            "<sst><si><t>apple</t></si><si><r><t>pe</t></r><r><t>ar</t></r></si></sst>",
        )]);
        assert_eq!(office_text(&xlsx, OfficeKind::Sheet, 1_000), "apple\npear");
        let pptx = zip_of(&[
            ("ppt/slides/slide1.xml", "<a:p><a:t>first</a:t></a:p>"),
            ("ppt/slides/_rels/slide1.xml", "<a:t>no</a:t>"),
            ("ppt/slides/slide2.xml", "<a:p><a:t>second</a:t></a:p>"),
        ]);
        let text = office_text(&pptx, OfficeKind::Slides, 1_000);
        assert_eq!(text, "first\nsecond");
    }

    #[test]
    fn a_bomb_is_bounded() {
        let big = format!("<w:p><w:t>{}</w:t></w:p>", "bomb ".repeat(8_000_000));
        let docx = zip_of(&[("word/document.xml", &big)]);
        assert!(docx.len() < 400_000);
        assert!(office_text(&docx, OfficeKind::Word, 5_000).len() < 6_000);
    }

    #[test]
    fn kinds() {
        let word = "vnd.openxmlformats-officedocument.wordprocessingml.document";
        assert_eq!(OfficeKind::of_subtype(word), Some(OfficeKind::Word));
        let sheet = "vnd.oasis.opendocument.spreadsheet";
        assert_eq!(
            OfficeKind::of_subtype(sheet),
            Some(OfficeKind::OpenDocument)
        );
        assert_eq!(OfficeKind::of_subtype("zip"), None);
    }
}
