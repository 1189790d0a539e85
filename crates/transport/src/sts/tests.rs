//! Policies of a web server of one page; the real one is asked in `interop/tests/mta_sts.rs`.

use base::ports::{BoxFuture, CertificateFault, HttpError, HttpReply};

use super::*;
use crate::testing::{SetClock, Table};

/// A web server of one page, which is changed by hand.
struct Page {
    answer: Mutex<Result<HttpReply, HttpError>>,
    asked: Mutex<Vec<String>>,
}

impl HttpFetch for Page {
    fn fetch<'a>(
        &'a self,
        request: HttpRequest<'a>,
    ) -> BoxFuture<'a, Result<HttpReply, HttpError>> {
        let asked = format!("{}:{}{}", request.host, request.port, request.path);
        self.asked.lock().unwrap().push(asked);
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async { answer })
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    page: Arc<Page>,
    clock: Arc<SetClock>,
}

const START: Timestamp = Timestamp(1_780_272_000_000);
const RECORD: &str = "_mta-sts.d.test TXT v=STSv1; id=1";

fn policy(mode: &str, age_s: u64) -> Result<HttpReply, HttpError> {
    Ok(HttpReply {
        status: 200,
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        body: format!("version: STSv1\nmode: {mode}\nmx: mx.d.test\nmax_age: {age_s}\n").into(),
    })
}

impl World {
    async fn new(answer: Result<HttpReply, HttpError>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::new(START));
        Self {
            store: crate::testing::store(folder.path(), clock.clone()).await,
            _folder: folder,
            page: Arc::new(Page {
                answer: Mutex::new(answer),
                asked: Mutex::default(),
            }),
            clock,
        }
    }

    /// A node whose DNS is this; others' memory is only in the store.
    fn policies(&self, records: &str) -> Policies {
        let table = Arc::new(Table::new(records));
        let clock = self.clock.clone();
        Policies::new(self.store.clone(), table, self.page.clone(), clock)
    }

    fn answer(&self, answer: Result<HttpReply, HttpError>) {
        *self.page.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut *self.page.asked.lock().unwrap()).len()
    }
}

async fn mode(policies: &Policies) -> Option<Mode> {
    let found = policies.of(&Domain::parse("d.test").unwrap()).await;
    found.map(|applied| applied.policy.mode)
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_holds_as_long_as_it_says() {
    let world = World::new(policy("enforce", 1_000)).await;
    let policies = world.policies(RECORD);
    assert_eq!(mode(&policies).await, Some(Mode::Enforce));
    assert_eq!(
        *world.page.asked.lock().unwrap(),
        ["mta-sts.d.test:443/.well-known/mta-sts.txt"]
    );
    assert_eq!(mode(&policies).await, Some(Mode::Enforce));
    assert_eq!(world.asked(), 1);
    // RFC 8461 §3.1 and §5: the record is gone, the host is down; the policy still holds.
    world.answer(Err(HttpError::Failed("down".to_owned())));
    let without_record = world.policies("");
    assert_eq!(mode(&without_record).await, Some(Mode::Enforce));
    let changed = world.policies("_mta-sts.d.test TXT v=STSv1; id=2");
    assert_eq!(mode(&changed).await, Some(Mode::Enforce));
    world.clock.set(START + Duration::from_secs(1_000));
    assert_eq!(mode(&without_record).await, None);
}

#[tokio::test]
async fn another_id_is_another_policy() {
    let world = World::new(policy("testing", 1_000)).await;
    assert_eq!(mode(&world.policies(RECORD)).await, Some(Mode::Testing));
    world.answer(policy("none", 1_000));
    let changed = world.policies("_mta-sts.d.test TXT v=STSv1; id=2");
    assert_eq!(mode(&changed).await, None);
    assert_eq!(world.asked(), 2);
}

/// RFC 8461 §3.3 and §5: as if there were no policy, and not asked again at once.
#[tokio::test]
async fn what_cannot_be_fetched_does_not_hold_mail_up() {
    let html = HttpReply {
        content_type: Some("text/html".to_owned()),
        ..policy("enforce", 1_000).unwrap()
    };
    let moved = HttpReply {
        status: 301,
        ..policy("enforce", 1_000).unwrap()
    };
    for answer in [
        Err(HttpError::Certificate(CertificateFault::Expired)),
        Err(HttpError::TooLong),
        Ok(html),
        Ok(moved),
        policy("wrong", 1_000),
    ] {
        let world = World::new(answer.clone()).await;
        let policies = world.policies(RECORD);
        assert_eq!(mode(&policies).await, None, "{answer:?}");
        assert_eq!(mode(&policies).await, None);
        assert_eq!(world.asked(), 1);
        world.answer(policy("enforce", 1_000));
        world.clock.set(START + AFTER_FAILURE);
        assert_eq!(mode(&policies).await, Some(Mode::Enforce), "{answer:?}");
    }
}

#[tokio::test]
async fn policies_are_renewed_before_their_time_is_over() {
    let two_days = 2 * 86_400;
    let world = World::new(policy("enforce", two_days)).await;
    let policies = world.policies(RECORD);
    assert_eq!(mode(&policies).await, Some(Mode::Enforce));
    assert_eq!(policies.renew().await.unwrap(), 0);
    world
        .clock
        .set(Timestamp(START.millis() + RENEWED_AFTER_MS + 1));
    assert_eq!(policies.renew().await.unwrap(), 1);
    // Without the renewal it would be over now.
    world.clock.set(START + Duration::from_secs(two_days));
    world.answer(Err(HttpError::TooLong));
    assert_eq!(mode(&policies).await, Some(Mode::Enforce));
}
