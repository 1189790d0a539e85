//! The settings of the store: which database, and where the bytes of letters are kept.

use base::Secret;
use base::settings::{Kind, Setting};
use store::{BlobHome, Database, ObjectOptions, PostgresOptions, Wakeup};

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
              many nodes may share. When empty: the file `mail.db` in the data folder.",
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
        default: "\"inline:\"",
        doc: "Where the bytes of letters are kept: `inline:` in the database; `segments:` (or \
              `segments:FOLDER`) in append-only files of this node, with SQLite only; \
              `s3://bucket/prefix` in an S3-compatible object store, with its keys in the \
              environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).",
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
            });
        }
        let path = url
            .strip_prefix("sqlite://")
            .filter(|path| !path.is_empty());
        if path.is_none() {
            self.mistake(
                "store.url",
                format!(
                    "`store.url` must be `sqlite://` and a path, or `postgres://…`, not \"{url}\""
                ),
            );
        }
        Database::Sqlite {
            path: path.map(|path| self.folder.join(path)),
        }
    }

    pub(super) fn blob_home(&mut self) -> BlobHome {
        let url = self.text("blobs.url");
        let inline_bytes_max = self.number("blobs.inline_max");
        if url == "inline:" {
            return BlobHome::Inline;
        }
        if let Some(folder) = url.strip_prefix("segments:") {
            let folder = (!folder.is_empty()).then(|| self.folder.join(folder));
            return BlobHome::Segments {
                folder,
                inline_bytes_max,
            };
        }
        if let Some(place) = url.strip_prefix("s3://") {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            if !bucket.is_empty() {
                return BlobHome::Objects(ObjectOptions {
                    bucket: bucket.to_owned(),
                    prefix: prefix.trim_matches('/').to_owned(),
                    endpoint: self.text("blobs.endpoint"),
                    region: self.text("blobs.region"),
                    cache_bytes: self.number("blobs.cache"),
                    inline_bytes_max,
                });
            }
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
}
