//! Where reports go, and a day of them, with a web server that takes everything.

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::ports::{BoxFuture, HttpError, HttpReply};
use flate2::read::GzDecoder;

use super::*;
use crate::testing::{Counting, SetClock, Table};

#[test]
fn records_of_where_reports_go() {
    let shown = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        places(&texts)
    };
    let mail = Place::Mail(EmailAddress::parse("r@x.test").unwrap());
    let web = Place::Web {
        host: Domain::parse("x.test").unwrap(),
        port: 8443,
        path: "/v1?a=b".to_owned(),
    };
    assert_eq!(
        shown(&["v=TLSRPTv1; rua = mailto:r@x.test , https://x.test:8443/v1?a=b;"]),
        [mail.clone(), web]
    );
    assert_eq!(
        shown(&["v=spf1 -all", "v=TLSRPTv1;rua=mailto:r@x.test"]),
        [mail]
    );
    for wrong in [
        "v=TLSRPTv2; rua=mailto:r@x.test",
        "v=TLSRPTv1; rua=http://x.test/, ftp://x.test, mailto:x",
        "v=TLSRPTv1; rua=https://x.test/ä",
        "v=TLSRPTv1",
    ] {
        assert!(shown(&[wrong]).is_empty(), "{wrong}");
    }
    let one = "v=TLSRPTv1; rua=mailto:r@x.test";
    assert!(shown(&[one, one]).is_empty());
}

#[derive(Default)]
struct Posted(Mutex<Vec<(String, Vec<u8>)>>);

impl HttpFetch for Posted {
    fn fetch<'a>(
        &'a self,
        request: HttpRequest<'a>,
    ) -> BoxFuture<'a, Result<HttpReply, HttpError>> {
        let (media_type, body) = request.post.unwrap();
        assert_eq!(media_type, "application/tlsrpt+gzip");
        let to = format!("{}:{}{}", request.host, request.port, request.path);
        self.0.lock().unwrap().push((to, body.to_vec()));
        Box::pin(async {
            Ok(HttpReply {
                status: 201,
                content_type: None,
                body: Vec::new(),
            })
        })
    }
}

fn unpack(packed: &[u8]) -> serde_json::Value {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_days_reports_are_sent_once() {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp(1_780_272_000_000);
    let clock = Arc::new(SetClock::new(now));
    let store = crate::testing::store(folder.path(), clock).await;
    let yesterday = TlsOutcome::day_of(now) - 1;
    let outcome = |name: &str, day| TlsOutcome {
        day,
        domain: Domain::parse(name).unwrap(),
        policy: "no-policy-found".to_owned(),
        result: String::new(),
        host: String::new(),
        address: String::new(),
        sessions: 3,
    };
    let outcomes = vec![
        outcome("mail.test", yesterday),
        outcome("web.test", yesterday),
        outcome("none.test", yesterday),
        outcome("later.test", yesterday),
        outcome("mail.test", yesterday + 1),
        outcome("later.test", yesterday - 5),
    ];
    store.count_tls_outcomes(outcomes).await.unwrap();
    let table = Table::new(
        "_smtp._tls.mail.test TXT v=TLSRPTv1; rua=mailto:r@mail.test
         _smtp._tls.web.test TXT v=TLSRPTv1; rua=https://r.web.test/v1
         _smtp._tls.later.test TXT SERVFAIL",
    );
    let posted = Posted::default();
    let domain = |name: &str| Domain::parse(name).unwrap();
    let sender = Sender {
        store: &store,
        resolver: &table,
        http: &posted,
        entropy: &Counting::default(),
        hostname: &domain("mx.us.test"),
        from: &domain("us.test"),
        now,
    };
    assert_eq!(sender.send_all().await.unwrap(), 2);
    assert_eq!(sender.send_all().await.unwrap(), 0);
    let (to, body) = posted.0.lock().unwrap().remove(0);
    assert_eq!(to, "r.web.test:443/v1");
    let report = unpack(&body);
    assert_eq!(report["policies"][0]["policy"]["policy-domain"], "web.test");
    // What nobody wants is forgotten, what may be wanted is kept, and today is not over.
    let left = async |day| {
        store
            .domains_with_tls_outcomes(day, None, 10)
            .await
            .unwrap()
    };
    assert_eq!(left(yesterday).await, [domain("later.test")]);
    assert_eq!(left(yesterday + 1).await, [domain("mail.test")]);
    assert!(left(yesterday - 5).await.is_empty());
    let wanted = [(domain("mail.test"), 10)];
    let claims = store
        .claim(now, Duration::from_secs(600), &wanted)
        .await
        .unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].handling.tls, TlsWish::Optional);
    let letter = store.claimed_letter(&claims[0]).await.unwrap();
    check_letter(letter.bytes());
}

/// RFC 8460 §5.3.
fn check_letter(letter: &[u8]) {
    let text = String::from_utf8(letter.to_vec()).unwrap();
    for line in [
        "To: <r@mail.test>\r\n",
        "TLS-Report-Domain: mail.test\r\n",
        "TLS-Report-Submitter: us.test\r\n",
        "TLS-Required: No\r\n",
        "report-type=tlsrpt",
        "Content-Type: application/tlsrpt+gzip\r\n",
        "filename=\"us.test!mail.test!",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let body = text.split("json.gz\"\r\n\r\n").nth(1).unwrap();
    let body = body.split("--").next().unwrap().replace("\r\n", "");
    use base64::Engine as _;
    let packed = base64::engine::general_purpose::STANDARD.decode(body);
    let report = unpack(&packed.unwrap());
    let policy = &report["policies"][0];
    assert_eq!(policy["summary"]["total-successful-session-count"], 3);
    assert_eq!(report["contact-info"], "postmaster@us.test");
}
