//! What is needed to reach a bucket: the address as settings write it, and the keys.

use std::time::Duration;

use base::Secret;

use crate::StoreError;

/// How long a letter waits for an object store, if nothing else is said: three tries of 15 seconds
/// and their pauses, well within the ten minutes that a sender waits (RFC 5321 §4.5.3.2.6).
const TIMEOUT: Duration = Duration::from_secs(60);

/// A bucket of an S3-compatible store.
#[derive(Clone, Debug)]
pub struct ObjectOptions {
    /// The bucket's name.
    pub bucket: String,
    /// The folder in it that is ours; may be empty.
    pub prefix: String,
    /// `https://host:port`; empty for Amazon's own.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// The keys. Without them, a role of the machine is used, as Amazon gives it.
    pub keys: Option<ObjectKeys>,
    /// How long one call may take, all its tries together, besides a second per MiB.
    pub timeout: Duration,
    /// Bytes of the local read cache; 0 for none.
    pub cache_bytes: u64,
    /// Letters up to this size stay in the database.
    pub inline_bytes_max: u64,
}

/// Keys of an S3-compatible store.
#[derive(Clone, Debug)]
pub struct ObjectKeys {
    /// AWS_ACCESS_KEY_ID.
    pub key_id: String,
    /// AWS_SECRET_ACCESS_KEY.
    pub secret_key: Secret,
    /// AWS_SESSION_TOKEN, for keys that end.
    pub token: Option<Secret>,
}

impl ObjectOptions {
    /// Reads `s3://bucket/prefix`. Everything else has its default.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if it is not such an address.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let wrong = |why: &str| {
            StoreError::Invalid(format!(
                "{url:?} {why}; write s3://bucket or s3://bucket/prefix"
            ))
        };
        let rest = url
            .strip_prefix("s3://")
            .ok_or_else(|| wrong("is no address of a bucket"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // What every store takes as a bucket's name.
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_inner = |byte: u8| is_name(byte) || byte == b'-' || byte == b'.';
        let ends = bucket
            .bytes()
            .next()
            .into_iter()
            .chain(bucket.bytes().last());
        if !(3..=63).contains(&bucket.len())
            || !bucket.bytes().all(is_inner)
            || !ends.into_iter().all(is_name)
        {
            return Err(wrong("has no valid bucket name"));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_folder = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain)
        };
        if prefix.len() > 200 || !(prefix.is_empty() || prefix.split('/').all(is_folder)) {
            return Err(wrong(
                "has a prefix of other than letters, digits, '-', '_', '.' and '/'",
            ));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            keys: None,
            timeout: TIMEOUT,
            cache_bytes: 1 << 30,
            inline_bytes_max: 16 << 10,
        })
    }
}

impl std::fmt::Display for ObjectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        match self.endpoint.as_str() {
            "" => f.write_str(" at Amazon"),
            endpoint => write!(f, " at {endpoint}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let read = |url: &str| {
            let options = ObjectOptions::from_url(url).unwrap();
            (options.bucket, options.prefix)
        };
        let is = |bucket: &str, prefix: &str| (bucket.to_owned(), prefix.to_owned());
        assert_eq!(read("s3://letters"), is("letters", ""));
        assert_eq!(read("s3://letters/"), is("letters", ""));
        assert_eq!(read("s3://my-mail.eu/a/b_c/"), is("my-mail.eu", "a/b_c"));
    }

    #[test]
    fn bad_addresses_name_the_right_form() {
        for url in [
            "letters",
            "s3:letters",
            "s3://",
            "s3:///a",
            "s3://ab",
            "s3://Letters",
            "s3://-letters",
            "s3://letters/a//b",
            "s3://letters/../b",
            "s3://letters/a b",
            "https://s3.test/letters",
        ] {
            let error = ObjectOptions::from_url(url).unwrap_err().to_string();
            assert!(error.contains("write s3://bucket"), "{url}: {error}");
        }
    }
}
