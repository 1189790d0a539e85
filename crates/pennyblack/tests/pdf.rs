//! PDF files, good and bad, read by the real program in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lopdf::content::{Content, Operation};
use lopdf::{Document, Object, Stream, dictionary};
use pennyblack::pdf::PdfReader;
use store::TextExtractor;

fn reader() -> PdfReader {
    PdfReader::new(PathBuf::from(env!("CARGO_BIN_EXE_pennyblack")))
}

/// A PDF of one page with this content.
fn pdf(content: Stream) -> Vec<u8> {
    let mut document = Document::with_version("1.5");
    let pages = document.new_object_id();
    let font = document.add_object(dictionary! {
        "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica",
        "Encoding" => "WinAnsiEncoding",
    });
    let fonts = dictionary! { "F1" => font };
    let resources = document.add_object(dictionary! { "Font" => fonts });
    let content = document.add_object(content);
    let page = document.add_object(dictionary! {
        "Type" => "Page", "Parent" => pages, "Contents" => content, "Resources" => resources,
        "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
    });
    let tree = dictionary! { "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1 };
    document.objects.insert(pages, Object::Dictionary(tree));
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => pages });
    document.trailer.set("Root", catalog);
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

fn text(words: &str) -> Stream {
    let operations = vec![
        Operation::new("BT", vec![]),
        Operation::new("Tf", vec!["F1".into(), 12.into()]),
        Operation::new("Td", vec![100.into(), 600.into()]),
        Operation::new("Tj", vec![Object::string_literal(words)]),
        Operation::new("ET", vec![]),
    ];
    let content = Content { operations };
    Stream::new(dictionary! {}, content.encode().unwrap())
}

#[test]
fn a_text_is_read() {
    let mut stream = text("Invoice number 4711");
    stream.compress().unwrap();
    let found = reader().pdf_text(&pdf(stream)).unwrap();
    assert!(found.contains("Invoice number 4711"), "{found}");
}

#[test]
fn of_a_long_text_the_beginning_is_read() {
    let words = "Invoice number 4711 ".repeat(80_000);
    let found = reader().pdf_text(&pdf(text(&words))).unwrap();
    assert_eq!(found.len(), 1024 * 1024);
    assert!(found.trim_start().starts_with("Invoice number 4711"));
}

#[test]
fn what_is_no_pdf_gives_nothing() {
    let whole = pdf(text("words"));
    assert_eq!(reader().pdf_text(b""), None);
    assert_eq!(reader().pdf_text(&[0xff; 10_000]), None);
    assert_eq!(reader().pdf_text(b"%PDF-1.5\nnothing else\n%%EOF"), None);
    // Cut and damaged ones give what they give; the program answers for each.
    for at in (0..whole.len()).step_by(whole.len() / 8) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        let _ = reader().pdf_text(&damaged);
        let _ = reader().pdf_text(&whole[..at]);
    }
    let missing = PdfReader::new(PathBuf::from("/nonexistent/program"));
    assert_eq!(missing.pdf_text(&whole), None);
}

/// Files that would take memory or time without end.
#[test]
fn bombs_are_stopped() {
    let began = Instant::now();
    // 3 GB of zeros, packed twice.
    let mut bomb = text("");
    bomb.content = vec![0; 48 << 20];
    bomb.compress().unwrap();
    let mut filters = Vec::new();
    for _ in 0..2 {
        filters.push(Object::from("FlateDecode"));
    }
    let mut nested = Stream::new(dictionary! {}, bomb.content.repeat(60));
    nested.compress().unwrap();
    nested.dict.set("Filter", filters);
    let found = reader().pdf_text(&pdf(nested));
    assert!(found.is_none_or(|text| text.len() <= 1 << 20));
    // Lists in lists in lists.
    let deep = [&b"%PDF-1.5\n1 0 obj\n"[..], &b"[".repeat(2_000_000)].concat();
    assert_eq!(reader().pdf_text(&deep), None);
    assert!(began.elapsed() < Duration::from_secs(60));
}
