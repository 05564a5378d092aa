//! `smshook doctor` against real sockets that are wrong in each way it knows, and the self-test that it sends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::helpers::{self, Answer, Fake, Process, Response, SECRET, signature, sms, smshook};
use crate::testkit::TestDatabase;

const NOTES: &str = r#"
[action.note]
log = { message = "a text" }
[[rule]]
name = "rest"
any = true
actions = ["note"]
"#;

/// What the doctor said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    report: Value,
}

impl Said {
    /// The check of `what` whose detail has `detail` in it.
    fn check(&self, what: &str, detail: &str) -> &Value {
        let checks = self.report["checks"].as_array().unwrap();
        let is_meant = |check: &&Value| check["what"] == what && check["detail"].as_str().unwrap().contains(detail);
        checks
            .iter()
            .find(is_meant)
            .unwrap_or_else(|| panic!("no `{what}` with `{detail}`: {self:?}"))
    }

    fn is_fine(&self, what: &str, detail: &str) {
        assert_eq!(self.check(what, detail)["status"], "ok", "{self:?}");
    }

    fn warns(&self, what: &str, detail: &str, advice: &str) {
        self.has(what, "warning", detail, advice);
    }

    /// It failed, says what to do about it, and the exit code says so too.
    fn fails(&self, what: &str, detail: &str, advice: &str) {
        self.has(what, "failed", detail, advice);
        assert_eq!((self.code, &self.report["ok"]), (Some(1), &json!(false)), "{self:?}");
    }

    fn has(&self, what: &str, status: &str, detail: &str, advice: &str) {
        let check = self.check(what, detail);
        assert_eq!(check["status"], status, "{self:?}");
        assert!(
            check["advice"].as_str().unwrap().contains(advice),
            "`{advice}` is not in {check}"
        );
    }

    fn has_nothing_of(&self, what: &str) {
        let checks = self.report["checks"].as_array().unwrap();
        assert!(checks.iter().all(|check| check["what"] != what), "{self:?}");
    }
}

/// What is to be looked at.
struct Patient {
    directory: tempfile::TempDir,
    database: TestDatabase,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Patient {
    async fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            database: TestDatabase::new().await,
            environment: Vec::new(),
        }
    }

    /// A service over the database.
    async fn serve(&self, toml: &str) -> Process {
        let directory = self.directory.path().join("service");
        std::fs::create_dir(&directory).unwrap();
        Process::start(&helpers::write_configuration(
            &directory,
            Some(&self.database.url()),
            toml,
        ))
        .await
    }

    fn configure(&self, toml: &str) -> PathBuf {
        helpers::write_configuration(self.directory.path(), Some(&self.database.url()), toml)
    }

    /// Runs the doctor with a configuration of the standard endpoint, or of what `toml` has.
    async fn look(&self, toml: &str) -> Said {
        self.look_with(toml, &[]).await
    }

    async fn look_with(&self, toml: &str, arguments: &[&str]) -> Said {
        let config = self.configure(toml);
        let mut all = vec!["doctor", "--json"];
        all.extend_from_slice(arguments);
        let (code, out) = doctor(&config, &all, &self.environment).await;
        let report = serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}"));
        Said { code, report }
    }

    async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.database.pool).await.unwrap();
    }

    async fn count(&self, query: &'static str) -> i64 {
        helpers::count(&self.database.pool, query).await
    }
}

/// The exit code and what was printed; no secret may be in it.
async fn doctor(config: &Path, arguments: &[&str], environment: &[(&'static str, PathBuf)]) -> (Option<i32>, String) {
    let mut command = smshook(&["--config", config.to_str().unwrap()]);
    command.args(arguments).envs(environment.iter().cloned());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    for never in ["panicked", SECRET, "sk_live", "15550"] {
        assert!(!out.contains(never) && !err.contains(never), "`{never}` in {out}{err}");
    }
    (output.status.code(), out)
}

/// All that the doctor says with this configuration.
async fn look(config: &Path) -> Said {
    let (code, out) = doctor(config, &["doctor", "--json"], &[]).await;
    let report = serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}"));
    Said { code, report }
}

fn listening(address: SocketAddr) -> String {
    format!("[server]\nlisten = \"{address}\"\n")
}

fn public(address: SocketAddr, url: &str) -> String {
    format!("{}public_url = {}\n", listening(address), json!(url))
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    Answer::Now(status, headers, body.to_owned())
}

// a service that is well, and one that is not there

#[tokio::test]
async fn nothing_is_wrong_with_a_healthy_service_and_nothing_is_stored_by_looking() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    let url = format!("http://{}", service.address);
    let said = patient.look(&format!("{}{NOTES}", public(service.address, &url))).await;
    assert_eq!((said.code, &said.report["ok"]), (Some(0), &json!(true)), "{said:?}");
    said.is_fine("config", "1 endpoint, 1 action");
    said.is_fine("database", "PostgreSQL ");
    said.is_fine("clock", "this machine and the database agree");
    said.is_fine("migrations", "up to date");
    said.is_fine("permissions", "every table");
    said.is_fine("queue", "nothing is due");
    said.is_fine("quarantine", "empty");
    said.is_fine("endpoint main", &format!("{url}/hooks/sms takes signed deliveries"));
    said.is_fine("clock", "what answered for `main` agree");
    for table in [
        "SELECT count(*) FROM v1.messages",
        "SELECT count(*) FROM v1.quarantine",
        "SELECT count(*) FROM v1.jobs",
    ] {
        assert_eq!(patient.count(table).await, 0, "{table}");
    }
    assert!(service.log_text().contains(r#""outcome":"self_test""#));
}

#[tokio::test]
async fn for_a_person_each_check_is_a_line_and_what_to_do_is_another() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    let config = patient.configure(&format!("{}{NOTES}", listening(service.address)));
    let (code, out) = doctor(&config, &["doctor"], &[]).await;
    assert_eq!(code, Some(0), "{out}");
    let endpoint = out
        .lines()
        .find(|line| line.starts_with("ok       endpoint main"))
        .unwrap();
    assert!(endpoint.contains("the public way was not tried"), "{out}");
    let elsewhere = patient.configure(&format!("{}{NOTES}", listening(nobody().await)));
    let (code, out) = doctor(&elsewhere, &["doctor"], &[]).await;
    assert_eq!(code, Some(1), "{out}");
    let lines: Vec<_> = out.lines().collect();
    let failed = lines
        .iter()
        .position(|line| line.starts_with("failed   endpoint main"))
        .unwrap();
    assert!(lines[failed].contains("cannot be reached"), "{out}");
    assert!(lines[failed + 1].starts_with("         do: start the service"), "{out}");
    assert!(lines.last().unwrap().starts_with("1 failed, "), "{out}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_shown_as_check_shows_it() {
    let patient = Patient::new().await;
    let said = patient
        .look(&format!("colour = \"red\"\n[server]\nlisten = \"nonsense\"\n{NOTES}"))
        .await;
    said.fails("config", "unknown key `colour`", "");
    said.fails("config", "config.toml:11:1", "known keys here");
    said.fails("config", "`nonsense` is not an address", "");
    said.has_nothing_of("database");
}

#[tokio::test]
async fn everything_else_is_tried_although_the_database_is_away() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    let directory = patient.directory.path();
    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    let config = helpers::write_configuration(
        directory,
        Some(nowhere),
        &format!("{}{NOTES}", listening(service.address)),
    );
    let said = look(&config).await;
    said.fails("database", "cannot be reached", "is the database running");
    said.is_fine("endpoint main", "takes signed deliveries");
}

#[tokio::test]
async fn looking_makes_no_database_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), None, &format!("{}{NOTES}", listening(nobody().await)));
    let said = look(&config).await;
    said.fails("database", "there is no database yet", "");
    let made = std::fs::read_dir(directory.path().join("data")).map_or(0, Iterator::count);
    assert_eq!(made, 0);
}

// what the database says

#[tokio::test]
async fn a_database_behind_or_ahead_of_this_binary_is_told_apart() {
    let patient = Patient::new().await;
    let toml = format!("{}{NOTES}", listening(nobody().await));
    patient
        .execute("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await;
    patient
        .look(&toml)
        .await
        .fails("migrations", "behind this binary", "`smshook migrate`");
    patient
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (99990101000000, 'of a later version', true, '\\x00', 0)",
        )
        .await;
    let ahead = patient.look(&toml).await;
    ahead.fails(
        "migrations",
        "ahead of this binary: it has 99990101000000",
        "newer smshook",
    );
    patient
        .execute("DELETE FROM _sqlx_migrations WHERE version = 99990101000000")
        .await;
    patient.execute("UPDATE _sqlx_migrations SET checksum = '\\x00'").await;
    patient
        .look(&toml)
        .await
        .fails("migrations", "not applied as this binary has them", "backup");
    patient.execute("DROP TABLE _sqlx_migrations").await;
    patient
        .look(&toml)
        .await
        .fails("migrations", "behind this binary", "`smshook migrate`");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_found_without_writing() {
    let patient = Patient::new().await;
    let toml = format!("{}{NOTES}", listening(nobody().await));
    patient.look(&toml).await.is_fine("permissions", "every table");
    let read_only = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        patient.database.name
    );
    sqlx::query(sqlx::AssertSqlSafe(read_only))
        .execute(&patient.database.pool)
        .await
        .unwrap();
    patient
        .look(&toml)
        .await
        .fails("database", "takes no writes", "primary");
}

#[tokio::test]
async fn what_waits_for_a_person_is_named_with_the_command_that_shows_it() {
    let patient = Patient::new().await;
    let mut service = patient.serve(NOTES).await;
    assert_eq!(service.text("15550001234", "hello").await.status, 200);
    assert_eq!(service.text("15550001235", "hello").await.status, 200);
    assert_eq!(
        helpers::deliver(service.address, "/hooks/sms", b"not JSON")
            .await
            .status,
        200
    );
    helpers::jobs_ended(&patient.database.pool).await;
    service.kill().await;
    patient
        .execute("UPDATE smshook.jobs SET state = 'discarded', finished_at = now() - interval '3 hours' WHERE id = (SELECT min(id) FROM smshook.jobs)")
        .await;
    patient
        .execute(
            "UPDATE smshook.jobs SET state = 'available', finished_at = NULL, run_at = now() - interval '10 minutes' \
             WHERE id = (SELECT max(id) FROM smshook.jobs)",
        )
        .await;
    let said = patient.look(&format!("{}{NOTES}", listening(service.address))).await;
    said.warns(
        "queue note",
        "1 job waits for a person, the oldest for 3 h",
        "`smshook jobs list --state discarded --action note`",
    );
    said.warns("queue", "a job of `note` is due for 10 min", "`smshook serve`");
    said.warns("quarantine", "1 delivery verified", "`smshook messages replay`");
    said.fails("endpoint main", "cannot be reached", "`smshook serve`");
}

// what is between a gateway and the service

#[tokio::test]
async fn each_wrong_answer_at_the_public_url_has_its_own_advice_and_the_direct_way_is_compared() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    let old = r#"{"status":"self_test","nonce":"old","version":"0.1.0","accepts":true}"#;
    let away = r#"{"status":"stored","id":"019a0000-0000-7000-8000-000000000000"}"#;
    let nginx = ("server", "nginx/1.27");
    let cases = [
        (
            answer(301, &[("location", "https://sms.example.com/hooks/sms?a=b")], ""),
            "a redirect to https://sms.example.com/hooks/sms",
            "with https://",
        ),
        (
            answer(308, &[("location", "/elsewhere")], ""),
            "a redirect to http://127.0.0.1",
            "the final URL",
        ),
        (
            answer(404, &[nginx], "not here"),
            "answered 404 (Server: nginx/1.27)",
            "`nginx/1.27` does not know this path",
        ),
        (answer(403, &[nginx], ""), "answered 403", "forbids this path"),
        (answer(405, &[nginx], ""), "answered 405", "does not take POST"),
        (answer(413, &[nginx], ""), "answered 413", "raise the proxy's limit"),
        (
            answer(502, &[nginx], ""),
            "answered 502",
            "cannot reach the service behind it",
        ),
        (answer(500, &[], ""), "answered 500", "log"),
        (answer(401, &[nginx], ""), "answered 401", "another secret"),
        (
            answer(200, &[nginx], "<h1>Welcome</h1>"),
            "answered 200",
            "another site answers",
        ),
        (answer(200, &[], away), "answered 200", "older than the self-test"),
        (answer(200, &[], old), "what it had answered before", "cache"),
    ];
    for (wrong, detail, advice) in cases {
        let proxy = Fake::start().await;
        proxy.always(wrong);
        let said = patient
            .look(&format!("{}{NOTES}", public(service.address, &proxy.url(""))))
            .await;
        said.fails("endpoint main", detail, advice);
        said.fails("endpoint main", detail, "it works: what lies between is at fault");
        assert_eq!(proxy.asked().len(), 1, "nothing is followed or tried again");
        assert!(!said.report.to_string().contains("a=b"), "{said:?}");
    }
}

#[tokio::test]
async fn another_secret_is_told_from_a_proxy_that_changes_the_body() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    let other = "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"whsec_changed since\"]\n";
    let url = format!("http://{}", service.address);
    let said = patient
        .look(&format!("{}{other}{NOTES}", public(service.address, &url)))
        .await;
    said.fails(
        "endpoint main",
        "answered 401",
        "another secret than this configuration",
    );
    said.fails("endpoint main", "answered 401", "it is answered 401 as well");
    assert_eq!(patient.count("SELECT count(*) FROM v1.messages").await, 0);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_and_a_port_that_is_closed_are_told_apart() {
    let patient = Patient::new().await;
    let closed = nobody().await;
    let said = patient
        .look(&format!("{}{NOTES}", public(closed, "https://sms.smshook.invalid")))
        .await;
    said.fails(
        "endpoint main",
        "https://sms.smshook.invalid/hooks/sms cannot be reached",
        "DNS record",
    );
    let said = patient
        .look(&format!("{}{NOTES}", public(closed, &format!("http://{closed}"))))
        .await;
    said.fails("endpoint main", "refused", "open the port");
    said.fails("endpoint main", "refused", "cannot be reached either");
}

#[tokio::test]
async fn a_port_that_is_not_known_is_not_guessed() {
    let patient = Patient::new().await;
    let said = patient.look(NOTES).await;
    said.warns("endpoint main", "any free port", "`server.public_url`");
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_minutes_is_found_by_the_date_of_an_answer() {
    let patient = Patient::new().await;
    let other = Fake::start().await;
    let late = chrono::Utc::now() - chrono::TimeDelta::minutes(5);
    let date = late.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    other.always(answer(404, &[("date", &date)], ""));
    let said = patient
        .look(&format!("{}{NOTES}", public(nobody().await, &other.url(""))))
        .await;
    said.fails("clock", "s behind this machine", "NTP");
    said.is_fine("clock", "the database agree");
}

// TLS

/// A certificate for `name` and its key, signed by `issuer`, or by itself.
struct Certificate {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "authority of the tests");
        Self {
            certificate: parameters.self_signed(&key).unwrap(),
            issuer: rcgen::Issuer::new(parameters, key),
        }
    }

    fn certify(&self, name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut parameters);
        Certificate {
            certificate: parameters.signed_by(&key, &self.issuer).unwrap(),
            key,
        }
    }
}

/// Listens with this certificate and answers 404 to whatever is asked; ends with the process. Returns its port.
fn tls_server(certificate: &Certificate) -> u16 {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let config = rustls::StreamOwned::new(connection, stream.unwrap());
            std::thread::spawn(move || answer_once(config));
        }
    });
    port
}

fn answer_once(mut stream: rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>) {
    use std::io::{Read as _, Write as _};
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    // who looks and goes away, or does not trust us, asks nothing
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        asked.extend_from_slice(&piece[..read]);
        if asked.ends_with(b"\"}") {
            let answer =
                b"HTTP/1.1 404 Not Found\r\nserver: over TLS\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).unwrap();
            return;
        }
    }
}

#[tokio::test]
async fn each_reason_not_to_trust_a_certificate_is_named() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut patient = Patient::new().await;
    let trusted = patient.directory.path().join("authority.pem");
    std::fs::write(&trusted, authority.certificate.pem()).unwrap();
    patient.environment = vec![("SSL_CERT_FILE", trusted)];
    let year = |parameters: &mut rcgen::CertificateParams, from: i32| {
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(from + 1, 1, 1);
    };
    let self_signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let self_signed = Certificate {
        certificate: self_signed.cert,
        key: self_signed.signing_key,
    };
    let cases = [
        (
            authority.certify("localhost", |_| {}),
            "answered 404 (Server: over TLS)",
            "does not know this path",
        ),
        (self_signed, "cannot be reached", "nobody whom this machine trusts"),
        (
            stranger.certify("localhost", |_| {}),
            "cannot be reached",
            "nobody whom this machine trusts",
        ),
        (
            authority.certify("sms.example.com", |_| {}),
            "cannot be reached",
            "for another name",
        ),
        (
            authority.certify("localhost", |of| year(of, 2020)),
            "cannot be reached",
            "expired: renew it",
        ),
        (
            authority.certify("localhost", |of| year(of, 2090)),
            "cannot be reached",
            "not valid yet",
        ),
    ];
    for (certificate, detail, advice) in cases {
        let url = format!("https://localhost:{}", tls_server(&certificate));
        let action = format!(
            "[action.crm]\nhttp = {{ url = \"{url}/sms\", allow_private = [\"127.0.0.0/8\", \"::1/128\"], json = {{}} }}\n"
        );
        let toml = format!("{}{NOTES}{action}", public(nobody().await, &url));
        let said = patient.look(&toml).await;
        said.fails("endpoint main", detail, advice);
        if detail.contains("404") {
            said.is_fine("action crm", "its certificate holds; no request was sent");
        } else {
            said.fails("action crm", detail, advice);
        }
    }
}

#[tokio::test]
async fn a_port_without_tls_is_told_from_one_with_a_wrong_certificate() {
    let patient = Patient::new().await;
    let plain = Fake::start().await;
    let url = plain.url("").replace("http://", "https://");
    let said = patient.look(&format!("{}{NOTES}", public(nobody().await, &url))).await;
    said.fails("endpoint main", "cannot be reached", "no TLS is spoken on that port");
}

// what actions talk to

#[tokio::test]
async fn the_ways_to_gateways_and_systems_are_tried_and_nothing_is_sent() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    let fake = Fake::start().await;
    let closed = nobody().await;
    let http = |name: &str, url: &str, more: &str| {
        format!("[action.{name}]\nhttp = {{ url = \"{url}\", allow_http = true, json = {{}}{more} }}\n")
    };
    let open = ", allow_private = [\"127.0.0.0/8\"]";
    let toml = format!(
        "{}{}{NOTES}{}{}{}{}",
        listening(service.address),
        helpers::replying_endpoint(&fake),
        http("fine", &fake.url("/sms"), open),
        http("closed", &format!("http://{closed}/"), open),
        http("guarded", "http://203.0.113.7/", ""),
        http("misspelt", "http://crm.smshook.invalid/", ""),
    );
    let said = patient.look(&toml).await;
    said.is_fine("replies main", "answers; no request was sent");
    said.is_fine("action fine", "answers; no request was sent");
    said.fails("action closed", "refused", "nobody listens there");
    said.fails("action guarded", "203.0.113.7 (documentation)", "`allow_private`");
    said.fails("action misspelt", "cannot be reached", "DNS");
    said.has_nothing_of("action note");
    assert_eq!(fake.asked().len(), 0);
    let offline = patient.look_with(&toml, &["--offline"]).await;
    assert_eq!(offline.code, Some(0), "{offline:?}");
    offline.has_nothing_of("replies main");
    offline.has_nothing_of("action closed");
    offline.is_fine("endpoint main", "takes signed deliveries");
}

// the self-test

const SELF_TEST: &str = r#"{"smshook_self_test":"0123-abc"}"#;

async fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    helpers::raw(address, format!("{head}{body}").as_bytes()).await
}

#[tokio::test]
async fn a_self_test_is_answered_with_its_nonce_and_only_when_it_is_signed_as_the_endpoint_asks() {
    let patient = Patient::new().await;
    let open = format!(
        "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{SECRET}\"]\n\
         [[endpoint]]\nname = \"open\"\npath = \"/hooks/open\"\ngateway = \"mobile-api-connect\"\nallow_unsigned = true\n"
    );
    let service = patient.serve(&format!("{open}{NOTES}")).await;
    for headers in ["", "x-mac-signature: sha256=00\r\n"] {
        let refused = post(service.address, "/hooks/sms", headers, SELF_TEST).await;
        assert_eq!((refused.status, refused.body.as_str()), (401, ""));
    }
    let signed = format!("x-mac-signature: {}\r\n", signature(SECRET, SELF_TEST.as_bytes()));
    for (path, headers) in [("/hooks/sms", signed.as_str()), ("/hooks/open", "")] {
        let answer = post(service.address, path, headers, SELF_TEST).await;
        assert_eq!(answer.status, 200);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            answer.json(),
            json!({ "status": "self_test", "nonce": "0123-abc", "version": version, "accepts": true })
        );
        assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    }
    assert_eq!(patient.count("SELECT count(*) FROM v1.messages").await, 0);
    assert_eq!(patient.count("SELECT count(*) FROM v1.quarantine").await, 0);
    let metrics = helpers::get(service.admin, "/metrics").await.body;
    assert!(
        metrics.contains(r#"smshook_requests_total{endpoint="main",outcome="self_test"} 1"#),
        "{metrics}"
    );
}

/// However a gateway proves itself: in headers, in the query, beside the fields of a body, over the URL.
#[tokio::test]
async fn every_built_in_gateways_endpoint_is_tried_as_that_gateway_would_call_it() {
    let patient = Patient::new().await;
    let endpoints: Vec<String> = smshook::gateway::builtin_names()
        .map(|name| {
            let secret = match name {
                "telnyx" => "gj5UGV3NSTyGNPIOyIwQLo2ySLGhGz+DVxUQb1iwA4c=",
                _ => "bmV2ZXItc2hvd24tMDEyMzQ1Njc4OWFi",
            };
            format!(
                "[[endpoint]]\nname = \"{name}\"\npath = \"/hooks/{name}\"\ngateway = \"{name}\"\nsecrets = [\"{secret}\"]\n"
            )
        })
        .collect();
    let endpoints = endpoints.concat();
    let server = |listen: &str| {
        format!("[server]\nlisten = \"{listen}\"\npublic_url = \"https://sms.example.com\"\n{endpoints}")
    };
    let service = patient.serve(&server("127.0.0.1:0")).await;
    let said = patient
        .look_with(&server(&service.address.to_string()), &["--offline"])
        .await;
    for name in smshook::gateway::builtin_names() {
        let what = format!("endpoint {name}");
        if name == "telnyx" {
            said.warns(&what, "only the gateway has", "have the gateway send a text");
        } else {
            said.is_fine(&what, "takes signed deliveries");
        }
    }
    assert_eq!(patient.count("SELECT count(*) FROM v1.messages").await, 0);
    assert_eq!(patient.count("SELECT count(*) FROM v1.quarantine").await, 0);
    assert!(!said.report.to_string().contains("bmV2ZXI"), "a secret is shown");
}

#[tokio::test]
async fn a_message_that_quotes_a_self_test_is_a_message() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    assert_eq!(service.text("15550001234", SELF_TEST).await.status, 200);
    let mut beside = sms("15550001234", "hello");
    beside["smshook_self_test"] = json!("0123-abc");
    let body = beside.to_string();
    assert_eq!(
        helpers::deliver(service.address, "/hooks/sms", body.as_bytes())
            .await
            .status,
        200
    );
    assert_eq!(patient.count("SELECT count(*) FROM v1.messages").await, 2);
}

#[tokio::test]
async fn a_service_without_its_database_is_reached_and_says_that_it_cannot_store() {
    let mut server = TestDatabase::private_server().await;
    let directory = tempfile::tempdir().unwrap();
    let url = server.url();
    let service = Process::start(&helpers::write_configuration(directory.path(), Some(&url), NOTES)).await;
    let toml = format!("{}{NOTES}", listening(service.address));
    let config = helpers::write_configuration(directory.path(), Some(&url), &toml);
    look(&config).await.is_fine("endpoint main", "could store them");
    server.stop_immediate().await;
    let said = look(&config).await;
    said.fails("endpoint main", "cannot store messages now", "database");
    said.fails("database", "", "is the database running");
}

#[tokio::test]
async fn an_endpoint_that_observes_is_one_to_look_at() {
    let patient = Patient::new().await;
    let endpoint = |name: &str, keys: &str| {
        format!(
            "[[endpoint]]\nname = \"{name}\"\npath = \"/hooks/{name}\"\ngateway = \"mobile-api-connect\"\nmode = \"observe\"\n{keys}\n"
        )
    };
    let signed = endpoint(
        "signed",
        &format!("secrets = [\"{SECRET}\"]\nobserve_runs_actions = true"),
    );
    let endpoints = signed + &endpoint("new", "");
    let service = patient.serve(&format!("{endpoints}{NOTES}")).await;
    let said = patient
        .look(&format!("{}{endpoints}{NOTES}", listening(service.address)))
        .await;
    assert_eq!(said.code, Some(0), "{said:?}");
    said.warns("mode signed", "is stored, and runs its actions", "mode = \"enforce\"");
    said.warns("mode new", "is stored and marked", "smshook verify");
    said.is_fine("endpoint signed", "takes signed deliveries");
    said.warns("endpoint new", "it has no secret yet", "add `secrets`");
    assert_eq!(patient.count("SELECT count(*) FROM v1.messages").await, 0);
}

// connectors

/// A connector of the operator's own, to be asked at `url`; `probe` is its harmless request.
fn connector(url: &str, probe: &str) -> String {
    format!(
        r#"
[connector.desk]
title = "The Desk"
flows = ["notify"]
base_url = "{{url}}"
[connector.desk.knobs.url]
type = "url"
required = true
[connector.desk.knobs.token]
type = "secret"
required = true
[[connector.desk.auth]]
when = ["token"]
kind = "header"
header = "x-api-token"
value = "{{{{ secret.token }}}}"
{probe}
[connector.desk.operation.notify]
effect = "at_most_once"
path = "/messages"
json = {{ text = "{{{{ text }}}}" }}
[action.desk]
connector = {{ use = "desk", url = "{url}", token = "sk_live_of the desk", allow_http = true, allow_private = ["127.0.0.0/8"] }}
"#
    )
}

const PROBE: &str = "[connector.desk.operation.probe]\neffect = \"read\"\nmethod = \"GET\"\npath = \"/me\"\n";

#[tokio::test]
async fn an_account_is_asked_with_a_request_that_only_looks() {
    let patient = Patient::new().await;
    let service = patient.serve(NOTES).await;
    let desk = Fake::start().await;
    let toml = |url: &str, probe: &str| format!("{}{NOTES}{}", listening(service.address), connector(url, probe));
    let with_probe = toml(&desk.url(""), PROBE);

    desk.always(answer(200, &[], "{}"));
    let said = patient.look(&with_probe).await;
    said.is_fine("action desk", "The Desk answers and takes the credentials");
    let asked = desk.asked();
    assert_eq!(
        (asked.len(), asked[0].method.as_str(), asked[0].path.as_str()),
        (1, "GET", "/me")
    );
    assert_eq!(asked[0].headers["x-api-token"], "sk_live_of the desk");

    desk.always(answer(401, &[], r#"{"error":"no such token: sk_live_of the desk"}"#));
    let said = patient.look(&with_probe).await;
    said.fails("action desk", "The Desk refuses the credentials", "working ones");

    desk.always(answer(500, &[], "{}"));
    patient
        .look(&with_probe)
        .await
        .fails("action desk", "The Desk cannot be used", "tried again by themselves");
    let closed = format!("http://{}", nobody().await);
    patient
        .look(&toml(&closed, PROBE))
        .await
        .fails("action desk", "The Desk cannot be used", "its address");

    let before = desk.asked().len();
    let said = patient.look(&toml(&desk.url(""), "")).await;
    said.is_fine("action desk", "was not asked");
    assert_eq!(desk.asked().len(), before);
}

#[tokio::test]
async fn an_action_that_is_paused_is_named_with_its_reason_and_its_jobs_are_not_called_late() {
    let patient = Patient::new().await;
    let mut service = patient.serve(NOTES).await;
    assert_eq!(service.text("15550001234", "hello").await.status, 200);
    helpers::jobs_ended(&patient.database.pool).await;
    service.kill().await;
    patient
        .execute(
            "UPDATE smshook.jobs SET state = 'available', finished_at = NULL, run_at = now() - interval '10 minutes'",
        )
        .await;
    patient
        .execute(
            "INSERT INTO smshook.paused_actions (action, reason, paused_at, trial_at) \
             VALUES ('note', 'answered 401', '2026-01-31T12:00:00Z', now())",
        )
        .await;
    let said = patient.look(&format!("{}{NOTES}", listening(service.address))).await;
    said.warns(
        "queue note",
        "paused since 2026-01-31T12:00:00Z: answered 401",
        "`smshook jobs resume note`",
    );
    said.is_fine("queue", "nothing is due");
}
