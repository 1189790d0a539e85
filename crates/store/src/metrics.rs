//! The store's figures.

use base::metrics::{Counter, Gauge, Histogram, Metrics};

/// All of them.
pub(crate) struct StoreMetrics {
    /// Commits.
    pub commits: Counter,
    /// Transactions in one commit.
    pub batch_size: Histogram,
    /// From the first transaction of a batch to its acknowledgement.
    pub commit_seconds: Histogram,
    /// Transactions that worked longer than they should.
    pub long_transactions: Counter,
    /// The length of the write-ahead log.
    pub wal_bytes: Gauge,
    /// Letters delivered from other servers.
    pub deliveries: Counter,
    /// Letters queued.
    pub submissions: Counter,
    /// Other nodes alive on the same database.
    pub other_nodes: Gauge,
}

impl StoreMetrics {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            commits: metrics.counter("store_commits", "Commits of the store"),
            batch_size: metrics.histogram(
                "store_batch_transactions",
                "Transactions in one commit",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
            ),
            commit_seconds: metrics.histogram(
                "store_commit_seconds",
                "Seconds from the first transaction of a batch to its acknowledgement",
                &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5],
            ),
            long_transactions: metrics.counter(
                "store_long_transactions",
                "Transactions that worked longer than 20 ms",
            ),
            wal_bytes: metrics.gauge("store_wal_bytes", "Length of the write-ahead log"),
            deliveries: metrics.counter("store_deliveries", "Letters taken from other servers"),
            submissions: metrics.counter("store_submissions", "Letters queued"),
            other_nodes: metrics.gauge(
                "store_other_nodes",
                "Other nodes that are alive on the same database",
            ),
        }
    }
}
