//! One value of a setting: read from TOML, checked against its kind.
//!
//! Sizes are whole bytes or a text such as `"50 MB"` (powers of 1,024); spans are whole seconds or
//! a text such as `"5 m"`.

use std::time::Duration;

use base::settings::Kind;
use toml::de::DeValue;

/// A checked value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// [`Kind::Text`] and [`Kind::OneOf`].
    Text(String),
    /// [`Kind::TextList`].
    List(Vec<String>),
    /// [`Kind::Bool`].
    Bool(bool),
    /// [`Kind::Integer`] and [`Kind::Bytes`].
    Number(i64),
    /// [`Kind::Span`].
    Span(Duration),
}

/// Checks a TOML value against the kind of its setting.
///
/// # Errors
/// A text for the operator that says what is wanted, with unit and range.
pub fn check(kind: Kind, given: &DeValue<'_>) -> Result<Value, String> {
    match kind {
        Kind::Text => text(given).map(Value::Text),
        Kind::TextList => list(given).map(Value::List),
        Kind::Bool => given.as_bool().map(Value::Bool),
        Kind::Integer { min, max } => integer(given)
            .filter(|n| (min..=max).contains(n))
            .map(Value::Number),
        Kind::Bytes { min, max } => bytes(given)
            .filter(|n| (min..=max).contains(n))
            .map(Value::Number),
        Kind::Span { min_ms, max_ms } => span_ms(given)
            .filter(|ms| (min_ms..=max_ms).contains(ms))
            .and_then(|ms| u64::try_from(ms).ok())
            .map(|ms| Value::Span(Duration::from_millis(ms))),
        Kind::OneOf(words) => text(given)
            .filter(|word| words.contains(&word.as_str()))
            .map(Value::Text),
    }
    .ok_or_else(|| format!("must be {}, not {}", describe(kind), shown(given)))
}

/// What a kind takes, in words.
#[must_use]
pub fn describe(kind: Kind) -> String {
    match kind {
        Kind::Text => "a text".to_owned(),
        Kind::TextList => "a list of texts".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Bytes { min, max } => format!(
            "a size from {} to {}, in bytes or with KB, MB or GB",
            show_bytes(min),
            show_bytes(max)
        ),
        Kind::Span { min_ms, max_ms } => format!(
            "a span of time from {} to {}, in seconds or with ms, s, m, h or d",
            show_span(min_ms),
            show_span(max_ms)
        ),
        Kind::OneOf(words) => {
            let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            format!("one of {}", quoted.join(", "))
        }
    }
}

fn text(given: &DeValue<'_>) -> Option<String> {
    given.as_str().map(str::to_owned)
}

fn list(given: &DeValue<'_>) -> Option<Vec<String>> {
    let items = given.as_array()?;
    items.iter().map(|item| text(item.get_ref())).collect()
}

fn integer(given: &DeValue<'_>) -> Option<i64> {
    let number = given.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn bytes(given: &DeValue<'_>) -> Option<i64> {
    integer(given).or_else(|| size(given.as_str()?))
}

/// A size as a text with its unit: `50 MB`.
#[must_use]
pub fn size(text: &str) -> Option<i64> {
    with_unit(text, |unit| match unit {
        "B" => Some(1),
        "KB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        "GB" => Some(1 << 30),
        _ => None,
    })
}

fn span_ms(given: &DeValue<'_>) -> Option<i64> {
    if let Some(seconds) = integer(given) {
        return seconds.checked_mul(1_000);
    }
    span(given.as_str()?)
}

/// A span of time as a text with its unit, in milliseconds: `30 d`.
#[must_use]
pub fn span(text: &str) -> Option<i64> {
    with_unit(text, |unit| match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    })
}

/// `50 MB`, `50MB`: a whole number, perhaps a space, a unit.
fn with_unit(text: &str, factor: impl Fn(&str) -> Option<i64>) -> Option<i64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..end].parse().ok()?;
    number.checked_mul(factor(text[end..].trim_start())?)
}

fn show_bytes(bytes: i64) -> String {
    for (unit, shift) in [("GB", 30), ("MB", 20), ("KB", 10)] {
        if bytes != 0 && bytes % (1 << shift) == 0 {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

fn show_span(ms: i64) -> String {
    for (unit, factor) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ] {
        if ms != 0 && ms % factor == 0 {
            return format!("{} {unit}", ms / factor);
        }
    }
    format!("{ms} ms")
}

/// The value as the operator wrote it, cut to a line's length.
fn shown(given: &DeValue<'_>) -> String {
    if let Some(text) = given.as_str() {
        let short: String = text.chars().take(60).collect();
        return format!("\"{short}\"");
    }
    if let Some(number) = given.as_integer() {
        return number.as_str().to_owned();
    }
    match given.as_bool() {
        Some(value) => value.to_string(),
        None => format!("a TOML {}", given.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(kind: Kind, toml: &str) -> Result<Value, String> {
        check(kind, DeValue::parse(toml).unwrap().get_ref())
    }

    #[test]
    fn sizes_at_the_limit_and_beyond() {
        let kind = Kind::Bytes {
            min: 1 << 10,
            max: 50 << 20,
        };
        assert_eq!(checked(kind, "\"50 MB\""), Ok(Value::Number(50 << 20)));
        assert_eq!(checked(kind, "\"1KB\""), Ok(Value::Number(1 << 10)));
        assert_eq!(checked(kind, "1024"), Ok(Value::Number(1 << 10)));
        assert_eq!(
            checked(kind, "\"51 MB\""),
            Err(
                "must be a size from 1 KB to 50 MB, in bytes or with KB, MB or GB, \
                 not \"51 MB\""
                    .to_owned()
            )
        );
        assert!(checked(kind, "1023").is_err());
        assert!(checked(kind, "\"9223372036854775807 GB\"").is_err());
        assert!(checked(kind, "\"5 lb\"").is_err());
    }

    #[test]
    fn spans() {
        let kind = Kind::Span {
            min_ms: 500,
            max_ms: 86_400_000,
        };
        assert_eq!(
            checked(kind, "\"500 ms\""),
            Ok(Value::Span(Duration::from_millis(500)))
        );
        assert_eq!(
            checked(kind, "90"),
            Ok(Value::Span(Duration::from_secs(90)))
        );
        assert_eq!(
            checked(kind, "\"2 d\""),
            Err(
                "must be a span of time from 500 ms to 1 d, in seconds or with ms, s, m, h \
                 or d, not \"2 d\""
                    .to_owned()
            )
        );
    }

    #[test]
    fn words_lists_and_numbers() {
        let kind = Kind::OneOf(&["text", "json"]);
        assert_eq!(
            checked(kind, "\"json\""),
            Ok(Value::Text("json".to_owned()))
        );
        assert!(
            checked(kind, "\"xml\"")
                .unwrap_err()
                .contains("\"text\", \"json\"")
        );
        assert_eq!(
            checked(Kind::TextList, "[\"a\", \"b\"]"),
            Ok(Value::List(vec!["a".to_owned(), "b".to_owned()]))
        );
        assert!(checked(Kind::TextList, "[1]").is_err());
        let port = Kind::Integer {
            min: 1,
            max: 65_535,
        };
        assert_eq!(checked(port, "0x19"), Ok(Value::Number(25)));
        assert!(checked(port, "65536").is_err());
        assert!(checked(port, "true").is_err());
    }
}
