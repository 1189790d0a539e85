//! Objects against real servers: one in this process, and Garage where asked for. Every fault that
//! an object store can have, and the words for it.

use std::time::{Duration, Instant};

use base::Secret;
use interop::s3::{Access, Fault as Weather, Garage, Method, S3Server, Switch};

use super::super::object_options::ObjectKeys;
use super::*;

/// The patience of these tests; a try has a quarter of it.
const PATIENCE: Duration = Duration::from_secs(6);
/// Where it is known to be in vain.
const LITTLE_PATIENCE: Duration = Duration::from_millis(1_600);
const FOREVER: usize = usize::MAX;

struct Die;

impl Entropy for Die {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn options(access: &Access) -> ObjectOptions {
    let mut options = ObjectOptions::from_url(&format!("s3://{}/mail", access.bucket)).unwrap();
    options.endpoint = access.endpoint.clone();
    options.region = access.region.clone();
    options.keys = Some(ObjectKeys {
        key_id: access.key_id.clone(),
        secret_key: Secret::new(access.secret_key.clone()),
        token: None,
    });
    options.timeout = PATIENCE;
    options
}

fn objects(options: &ObjectOptions) -> Objects {
    Objects::open(options, Arc::new(Die)).unwrap()
}

fn name(number: i64) -> ObjectName {
    ObjectName {
        hash: *blake3::hash(&number.to_le_bytes()).as_bytes(),
        blob_id: number,
        generation: 0,
    }
}

/// Parts with the places that they have in their object.
fn parts(lengths: &[usize]) -> (Vec<Bytes>, Vec<Piece>) {
    let mut place = 0;
    let both = lengths.iter().enumerate().map(|(number, length)| {
        let bytes: Bytes = (0..*length).map(|at| (at * 7 + number) as u8).collect();
        let piece = Piece {
            place,
            stored_bytes: bytes.len() as u64,
            checksum: checksum(&bytes),
        };
        place += piece.stored_bytes;
        (bytes, piece)
    });
    both.unzip()
}

/// Stores an object of three parts.
async fn stored(objects: &Objects, number: i64) -> (Vec<Bytes>, Vec<Piece>) {
    let (bytes, pieces) = parts(&[70_000, 1, 5_000]);
    objects.put(&name(number), &bytes).await.unwrap();
    (bytes, pieces)
}

/// What any store has to do.
async fn comes_and_goes(access: &Access, _: &Switch) {
    let objects = objects(&options(access));
    assert_eq!(objects.owner("1").await.unwrap(), "1");
    assert_eq!(objects.owner("2").await.unwrap(), "1");
    let (bytes, pieces) = stored(&objects, 1).await;
    for (bytes, piece) in bytes.iter().zip(&pieces) {
        assert_eq!(objects.get(&name(1), *piece).await.unwrap(), bytes);
    }
    // Larger than what goes over a line in one breath.
    let (large, large_pieces) = parts(&[256 * 1024; 48]);
    objects.put(&name(2), &large).await.unwrap();
    assert_eq!(
        objects.get(&name(2), large_pieces[47]).await.unwrap(),
        large[47]
    );

    let before = Instant::now();
    let mut listed = objects.list(None).await.unwrap().objects;
    listed.sort();
    let mut names = [name(1), name(2)];
    names.sort();
    assert_eq!(
        listed.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        names
    );
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    for (_, at) in listed {
        assert!((now - at.millis()).abs() < 60_000 + before.elapsed().as_millis() as i64);
    }

    objects.delete(&name(1)).await.unwrap();
    objects.delete(&name(1)).await.unwrap();
    let fault = objects.get(&name(1), pieces[0]).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    assert_eq!(objects.list(None).await.unwrap().objects.len(), 1);
}

/// Setup that is wrong is told at once, with what to correct.
async fn wrong_setups(access: &Access, _: &Switch) {
    let check = async |change: fn(&mut ObjectOptions), advice: &str| {
        let mut options = options(access);
        change(&mut options);
        let from = Instant::now();
        let fault = objects(&options).owner("1").await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Setup, "{fault}");
        assert!(fault.to_string().contains(advice), "{fault}");
        assert!(from.elapsed() < PATIENCE / 2, "tried again: {fault}");
    };
    check(
        |options| options.bucket = "nobodys".to_owned(),
        "correct blobs.url",
    )
    .await;
    check(
        |options| {
            let keys = options.keys.as_mut().unwrap();
            keys.key_id = "GK999999999999999999999999".to_owned();
        },
        "AWS_ACCESS_KEY_ID",
    )
    .await;
    check(
        |options| {
            let keys = options.keys.as_mut().unwrap();
            keys.secret_key = Secret::new("wrong".to_owned());
        },
        "AWS_SECRET_ACCESS_KEY",
    )
    .await;
}

/// Faults that pass do no harm.
async fn passing_faults(access: &Access, switch: &Switch) {
    let objects = objects(&options(access));
    for (number, weather) in (10..).zip([
        Weather::Status(500),
        Weather::Status(503),
        Weather::Status(429),
        Weather::Cut,
        Weather::LostReply,
        Weather::Silent,
        Weather::Slow(Duration::from_millis(300)),
    ]) {
        switch.fail(Method::Any, weather, 1);
        let (bytes, pieces) = stored(&objects, number).await;
        switch.fail(Method::Any, weather, 1);
        let read = objects.get(&name(number), pieces[0]).await;
        assert_eq!(read.as_ref(), Ok(&bytes[0]), "{weather:?}");
        switch.fail(Method::Any, weather, 1);
        objects.list(None).await.unwrap();
        switch.fail(Method::Any, weather, 1);
        objects.delete(&name(number)).await.unwrap();
        switch.heal();
        let fault = objects.get(&name(number), pieces[0]).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Missing, "{weather:?}: {fault}");
    }
    switch.heal();
}

/// Faults that stay end in time and say what they are.
async fn lasting_faults(access: &Access, switch: &Switch) {
    let (_, pieces) = stored(&objects(&options(access)), 20).await;
    let mut options = options(access);
    options.timeout = LITTLE_PATIENCE;
    let objects = objects(&options);
    for (weather, advice) in [
        (Weather::Status(500), "500"),
        (Weather::Status(503), "SlowDown"),
        (Weather::Slow(LITTLE_PATIENCE), "no answer within"),
        (Weather::Silent, "no answer within"),
        (Weather::Cut, "the connection broke"),
    ] {
        switch.fail(Method::Get, weather, FOREVER);
        let from = Instant::now();
        let tries = switch.count(Method::Get);
        let fault = objects.get(&name(20), pieces[0]).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Passing, "{weather:?}: {fault}");
        assert!(fault.to_string().contains(advice), "{weather:?}: {fault}");
        assert!(fault.to_string().contains(&access.endpoint), "{fault}");
        assert!(switch.count(Method::Get) > tries + 1, "{weather:?}");
        assert!(
            from.elapsed() < LITTLE_PATIENCE * 2 + Duration::from_secs(1),
            "{weather:?}"
        );
    }
    switch.fail(Method::Put, Weather::Status(503), FOREVER);
    let (bytes, _) = parts(&[10]);
    let fault = objects.put(&name(21), &bytes).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Passing, "{fault}");
    switch.fail(Method::Any, Weather::Status(403), FOREVER);
    let fault = objects.put(&name(21), &bytes).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Setup, "{fault}");
    assert!(fault.to_string().contains("let the key read"), "{fault}");
    switch.heal();
}

/// Wrong bytes are asked for once more and never given.
async fn wrong_bytes(access: &Access, switch: &Switch) {
    let objects = objects(&options(access));
    let (bytes, pieces) = stored(&objects, 30).await;
    switch.fail(Method::Get, Weather::WrongBytes, 1);
    assert_eq!(objects.get(&name(30), pieces[0]).await.unwrap(), bytes[0]);
    switch.fail(Method::Get, Weather::WrongBytes, FOREVER);
    let tries = switch.count(Method::Get);
    let fault = objects.get(&name(30), pieces[0]).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Damaged, "{fault}");
    assert_eq!(switch.count(Method::Get), tries + 2);
    assert!(
        fault.to_string().contains("backup of the bucket"),
        "{fault}"
    );
    switch.heal();
    // The row says that there is more than the object has.
    let beyond = Piece {
        place: pieces[2].place + 10_000,
        ..pieces[2]
    };
    let fault = objects.get(&name(30), beyond).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Damaged, "{fault}");
    let across = Piece {
        place: pieces[2].place + 10,
        ..pieces[2]
    };
    let fault = objects.get(&name(30), across).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Damaged, "{fault}");
}

/// One test per function, on a server in this process.
macro_rules! in_this_process {
    ($($name:ident),*) => {
        mod in_this_process {
            $(#[tokio::test]
            async fn $name() {
                let server = super::S3Server::start();
                super::$name(&server.access(), server.switch()).await;
            })*
        }
    };
}

in_this_process! {comes_and_goes, wrong_setups, passing_faults, lasting_faults, wrong_bytes}

#[tokio::test]
#[ignore = "needs Garage: `make test-cluster` runs it"]
async fn garage() {
    let garage = Garage::start();
    let (access, switch) = (garage.access(), garage.switch());
    comes_and_goes(&access, switch).await;
    wrong_setups(&access, switch).await;
    passing_faults(&access, switch).await;
    lasting_faults(&access, switch).await;
    wrong_bytes(&access, switch).await;
}

#[tokio::test]
async fn nobody_listens() {
    let server = S3Server::start();
    let mut options = options(&server.access());
    options.timeout = LITTLE_PATIENCE;
    drop(server);
    let fault = objects(&options).owner("1").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Passing, "{fault}");
    let text = fault.to_string();
    assert!(text.contains("cannot be reached"), "{text}");
    assert!(text.contains("correct blobs.endpoint"), "{text}");
}

#[tokio::test]
async fn a_damaged_object_on_the_disk_of_the_store() {
    let server = S3Server::start();
    let objects = objects(&options(&server.access()));
    let (bytes, pieces) = stored(&objects, 40).await;
    let path = server.objects().remove(0);
    let mut content = std::fs::read(&path).unwrap();
    content[100] ^= 1;
    std::fs::write(&path, content).unwrap();
    let fault = objects.get(&name(40), pieces[0]).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Damaged, "{fault}");
    assert_eq!(objects.get(&name(40), pieces[2]).await.unwrap(), bytes[2]);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = S3Server::start();
    let objects = objects(&options(&server.access()));
    for number in 0..5 {
        stored(&objects, number).await;
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = objects.page(Some("mail/"), after, 2).await.unwrap();
        assert!(page.objects.len() <= 2);
        found.extend(page.objects.into_iter().map(|(name, _)| name.blob_id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 3, 4]);
}

#[test]
fn names_are_read_back() {
    let name = ObjectName {
        hash: *blake3::hash(b"a letter").as_bytes(),
        blob_id: 0x0123_4567_89ab_cdef,
        generation: 0,
    };
    let text = name.to_string();
    assert_eq!(ObjectName::parse(&text), Some(name));
    let moved = ObjectName {
        generation: 0x1a,
        ..name
    };
    assert_eq!(moved.to_string(), format!("{text}-0000001a"));
    assert_eq!(ObjectName::parse(&moved.to_string()), Some(moved));
    assert!(text.ends_with("-0123456789abcdef"));
    for wrong in [
        text.to_uppercase(),
        text.replacen('/', "0/", 1),
        text.replace('-', "_"),
        format!("{text}0"),
        format!("{text}-00000000"),
        format!("{text}-1a"),
        text[1..].to_owned(),
        "index.html".to_owned(),
        "é/é-é".to_owned(),
    ] {
        assert_eq!(ObjectName::parse(&wrong), None, "{wrong}");
    }
}

#[test]
fn without_keys() {
    let mut options = ObjectOptions::from_url("s3://letters").unwrap();
    options.endpoint = "http://127.0.0.1:1".to_owned();
    let error = Objects::open(&options, Arc::new(Die))
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.to_string().contains("set AWS_ACCESS_KEY_ID"),
        "{error}"
    );
}
