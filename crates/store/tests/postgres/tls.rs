//! TLS, with a certificate that the server's operator made.

use interop::postgres::{Flushed, Postgres};

use crate::house::House;
use crate::{names, refusal};

/// Opens a store and gives how its connections are protected.
async fn opened(server: &Postgres, url: &str) -> String {
    server.psql("postgres", "DROP DATABASE IF EXISTS mail WITH (FORCE)");
    server.psql("postgres", "CREATE DATABASE mail");
    let house = House::at(url);
    let store = house.open().await;
    let sql = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name LIKE 'pennyblack%'";
    let seen = server.psql("postgres", sql).trim().to_owned();
    house.finish(store).await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes() {
    let server = Postgres::start(Flushed::No);
    let plain = server.database("mail");
    let required = format!("{plain}?sslmode=require");
    let error = refusal(&required).await;
    names(&error, &["does not support TLS", "sslmode"]);
    assert_eq!(opened(&server, &plain).await, "f");
    let certificate = server.use_tls("db.red.test");
    // Other than its client, the test reads no folder of the server.
    let root = std::env::temp_dir().join(format!("root-{}.pem", std::process::id()));
    std::fs::copy(&certificate, &root).unwrap();
    assert_eq!(opened(&server, &plain).await, "t");
    assert_eq!(opened(&server, &required).await, "t");
    assert_eq!(
        opened(&server, &format!("{plain}?sslmode=disable")).await,
        "f"
    );
    // Nobody that the system trusts has signed it.
    let error = refusal(&format!("{plain}?sslmode=verify-ca")).await;
    names(&error, &["certificate", "sslmode"]);
    let checked = format!("{plain}?sslmode=verify-ca&sslrootcert={}", root.display());
    assert_eq!(opened(&server, &checked).await, "t");
    let error = refusal(&checked.replace("verify-ca", "verify-full")).await;
    names(&error, &["certificate", "name"]);
    // The certificate's name, at the server's address.
    let named = format!(
        "postgres://postgres@db.red.test:{}/mail?hostaddr={}&sslmode=verify-full&sslrootcert={}",
        server.address.port(),
        server.address.ip(),
        root.display()
    );
    assert_eq!(opened(&server, &named).await, "t");
    std::fs::remove_file(root).unwrap();
}
