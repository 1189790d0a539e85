//! The settings of the store: which database, and where the bytes of letters are kept.

use base::Secret;
use base::settings::{Kind, Setting};
use store::{BlobHome, Database, ObjectKeys, ObjectOptions, PostgresOptions, Wakeup};

use super::Typing;

const KB: i64 = 1 << 10;
const GB: i64 = 1 << 30;

/// The table.
pub(super) const STORAGE: &[Setting] = &[
    Setting {
        name: "store.url",
        kind: Kind::Text,
        default: "\"\"",
        doc: "The database: `sqlite:///path/to/mail.db`, or `postgres://user@host/database`, which \
              many nodes may share (PostgreSQL 13 or newer, encoding UTF8; the user owns the \
              database). Its password may come from PGPASSWORD in the environment. TLS as libpq \
              knows it: `?sslmode=verify-full&sslrootcert=FILE`, or `sslrootcert=system`; without \
              them it is used where the server offers it, unchecked. When empty: the file \
              `mail.db` in the data folder.",
    },
    Setting {
        name: "store.synchronous",
        kind: Kind::OneOf(&["full", "off"]),
        default: "\"full\"",
        doc: "`full`: a letter is on disk before it is acknowledged. `off` loses acknowledged \
              letters in a power cut and exists only to show that the durability tests see the \
              difference.",
    },
    Setting {
        name: "store.key_file",
        kind: Kind::Text,
        default: "\"\"",
        doc: "The file with the key that seals the secrets in the store; made at the first start. \
              When empty: `store.key` in the data folder. Nodes that share a store need the same \
              file.",
    },
    Setting {
        name: "store.connections",
        kind: Kind::Integer { min: 4, max: 1_000 },
        default: "16",
        doc: "How many connections this node makes to PostgreSQL at most.",
    },
    Setting {
        name: "store.wakeup",
        kind: Kind::OneOf(&["notify", "poll"]),
        default: "\"notify\"",
        doc: "How nodes on one PostgreSQL hear of each other's changes: `notify` at once, through \
              LISTEN; `poll` by a look each second, which also works behind a pooler.",
    },
    Setting {
        name: "blobs.url",
        kind: Kind::Text,
        default: "\"\"",
        doc: "Where the bytes of letters are kept: `inline:` in the database; `segments:` (or \
              `segments:FOLDER`) in append-only files of this node, with SQLite only; \
              `s3://bucket/prefix` in an S3-compatible object store, with its keys in the \
              environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). When empty: `segments:` with \
              SQLite, `inline:` with PostgreSQL. A change is for new letters; the others are read \
              from where they are. When FOLDER changes, the files must be moved to it.",
    },
    Setting {
        name: "blobs.inline_max",
        kind: Kind::Bytes {
            min: 0,
            max: 256 * KB,
        },
        default: "\"16 KB\"",
        doc: "Letters up to this size stay in the database, wherever the others are kept.",
    },
    Setting {
        name: "blobs.endpoint",
        kind: Kind::Text,
        default: "\"\"",
        doc: "The URL of the object store, when it is not AWS: `https://s3.example.net`.",
    },
    Setting {
        name: "blobs.region",
        kind: Kind::Text,
        default: "\"us-east-1\"",
        doc: "The region of the object store.",
    },
    Setting {
        name: "blobs.leaving",
        kind: Kind::Text,
        default: "\"\"",
        doc: "`s3://bucket/prefix` when letters are still there that `blobs.url` is to keep from now \
              on: they are read from there until `pennyblack store move-blobs` has moved them.",
    },
    Setting {
        name: "blobs.timeout",
        kind: Kind::Span {
            min_ms: 1_000,
            max_ms: 300_000,
        },
        default: "\"60 s\"",
        doc: "How long a letter waits for the object store, all tries together and besides a \
              second per MiB, before its sender is told to come again.",
    },
    Setting {
        name: "blobs.cache",
        kind: Kind::Bytes {
            min: 0,
            max: 1_000 * GB,
        },
        default: "\"1 GB\"",
        doc: "How much of the object store is kept in `cache` in the data folder for reading again.",
    },
];

impl Typing<'_> {
    pub(super) fn database(&mut self) -> Database {
        let url = self.text("store.url");
        if url.is_empty() {
            return Database::default();
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Database::Postgres(PostgresOptions {
                url: Secret::new(url),
                connections: self.number("store.connections"),
                wakeup: match self.text("store.wakeup").as_str() {
                    "poll" => Wakeup::Poll,
                    _ => Wakeup::Notify,
                },
                answer_within: PostgresOptions::ANSWER_WITHIN,
            });
        }
        let path = url
            .strip_prefix("sqlite://")
            .filter(|path| !path.is_empty());
        if path.is_none() {
            self.mistake(
                "store.url",
                // What follows may hold a password.
                format!(
                    "`store.url` must be `sqlite://` and a path, or `postgres://…`, not \"{}…\"",
                    url.split([':', '/']).next().unwrap_or_default()
                ),
            );
        }
        Database::Sqlite {
            path: path.map(|path| self.folder.join(path)),
        }
    }

    pub(super) fn blob_home(&mut self, database: &Database) -> BlobHome {
        let home = self.home(database);
        let leaving = self.text("blobs.leaving");
        if leaving.is_empty() {
            return home;
        }
        if matches!(home, BlobHome::Objects(_)) {
            self.mistake(
                "blobs.leaving",
                "letters cannot be in two object stores: copy the objects to the other with the \
                 stores' own tools, under the same names, and name only that one in `blobs.url`"
                    .to_owned(),
            );
        }
        match self.objects("blobs.leaving", &leaving) {
            Some(objects) => BlobHome::Leaving {
                home: Box::new(home),
                objects,
            },
            None => home,
        }
    }

    fn home(&mut self, database: &Database) -> BlobHome {
        let is_embedded = matches!(database, Database::Sqlite { .. });
        let mut url = self.text("blobs.url");
        if url.is_empty() {
            url = if is_embedded { "segments:" } else { "inline:" }.to_owned();
        }
        let inline_bytes_max = self.number("blobs.inline_max");
        if url == "inline:" {
            return BlobHome::Inline;
        }
        if let Some(folder) = url.strip_prefix("segments:") {
            if !is_embedded {
                let text = "`blobs.url`: segment files go with SQLite only; with PostgreSQL use \
                     `inline:` or `s3://bucket/prefix`";
                self.mistake("blobs.url", text.to_owned());
            }
            let folder = (!folder.is_empty()).then(|| self.folder.join(folder));
            return BlobHome::Segments {
                folder,
                inline_bytes_max,
            };
        }
        if url.starts_with("s3://") {
            let objects = self.objects("blobs.url", &url);
            return objects.map_or(BlobHome::Inline, BlobHome::Objects);
        }
        self.mistake(
            "blobs.url",
            format!(
                "`blobs.url` must be `inline:`, `segments:`, `segments:FOLDER` or \
                 `s3://bucket/prefix`, not \"{url}\""
            ),
        );
        BlobHome::Inline
    }

    fn objects(&mut self, name: &'static str, url: &str) -> Option<ObjectOptions> {
        let mut options = match ObjectOptions::from_url(url) {
            Ok(options) => options,
            Err(error) => {
                self.mistake(name, format!("`{name}`: {error}"));
                return None;
            }
        };
        options.endpoint = self.text("blobs.endpoint");
        options.region = self.text("blobs.region");
        options.timeout = self.span("blobs.timeout");
        options.cache_bytes = self.number("blobs.cache");
        options.inline_bytes_max = self.number("blobs.inline_max");
        options.keys = keys();
        let is_web =
            |endpoint: &str| endpoint.starts_with("http://") || endpoint.starts_with("https://");
        if !options.endpoint.is_empty() && !is_web(&options.endpoint) {
            self.mistake(
                "blobs.endpoint",
                format!(
                    "`blobs.endpoint` must be `https://host` or `http://host:port`, not \"{}\"",
                    options.endpoint
                ),
            );
        }
        Some(options)
    }
}

/// The keys of the object store. They are not settings: a file of settings is shown to others.
fn keys() -> Option<ObjectKeys> {
    let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some(ObjectKeys {
        key_id: read("AWS_ACCESS_KEY_ID")?,
        secret_key: Secret::new(read("AWS_SECRET_ACCESS_KEY")?),
        token: read("AWS_SESSION_TOKEN").map(Secret::new),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use store::BlobHome;

    use crate::settings::Settings;

    fn home(text: &str) -> Result<BlobHome, String> {
        let text = format!("hostname = \"mx.test\"\n{text}");
        let settings = Settings::parse(&text, Path::new("/etc/pennyblack/pennyblack.toml"));
        settings
            .map(|settings| settings.blobs)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn letters_have_the_home_that_goes_with_the_database() {
        let Ok(BlobHome::Segments {
            folder: None,
            inline_bytes_max: 16_384,
        }) = home("")
        else {
            panic!("{:?}", home(""));
        };
        let postgres = "[store]\nurl = \"postgres://pb@db.test/mail\"\n";
        assert!(matches!(home(postgres), Ok(BlobHome::Inline)));
        let told = home(&format!("{postgres}[blobs]\nurl = \"segments:\"\n")).unwrap_err();
        assert!(told.contains("SQLite only"), "{told}");
        let Ok(BlobHome::Segments {
            folder: Some(folder),
            inline_bytes_max: 0,
        }) = home("[blobs]\nurl = \"segments:letters\"\ninline_max = \"0 B\"\n")
        else {
            panic!("no segments");
        };
        assert_eq!(folder, Path::new("/etc/pennyblack/letters"));
        assert!(matches!(
            home("[blobs]\nurl = \"inline:\"\n"),
            Ok(BlobHome::Inline)
        ));
        assert!(home("[blobs]\nurl = \"files:\"\n").is_err());
    }
}
