//! Mails through a real SMTP server (Python's aiosmtpd), read back by Python's own e-mail library: two programs that know
//! nothing of ours. They run where `SMSHOOK_TEST_SMTP=1` says that the server can; `./dev test` sees to that.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use smshook::config::{self, Source};

use crate::helpers::{App, Process, configuration, count, eventually, write_configuration};
use crate::testkit::TestDatabase;

const PERSON: &str = "15551230001";

/// Takes mails on a free port, which it prints, and writes each as a line of JSON. With `hold` it answers a mail only when
/// there is a file of that name.
const SERVER: &str = r#"
import asyncio, json, os, ssl, sys
from email import policy
from email.parser import BytesParser
from aiosmtpd.smtp import SMTP, AuthResult

folder, mode = sys.argv[1], sys.argv[2]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(f"{folder}/server.pem", f"{folder}/server.key")

class Keep:
    async def handle_DATA(self, server, session, envelope):
        mail = BytesParser(policy=policy.default).parsebytes(envelope.content)
        line = json.dumps({
            "headers": [[name, str(value)] for name, value in mail.items()],
            "defects": [str(defect) for part in mail.walk() for defect in part.defects],
            "body": mail.get_content().replace("\r\n", "\n"), "type": mail.get_content_type(), "parts": len(list(mail.walk())),
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "user": session.auth_data.login.decode() if session.authenticated else None,
            "tls": server.transport.get_extra_info("cipher") is not None,
        })
        with open(f"{folder}/mails", "a") as mails:
            mails.write(line + "\n")
        while os.path.exists(f"{folder}/hold"):
            await asyncio.sleep(0.01)
        return "250 taken"

def log_in(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"me" and data.password == b"hunter2 \xc3\xbc", handled=False, auth_data=data)

def session():
    return SMTP(Keep(), hostname="localhost", tls_context=tls if mode == "starttls" else None,
                require_starttls=mode == "starttls", authenticator=log_in, auth_required=mode != "none",
                auth_require_tls=mode == "starttls")

async def main():
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=tls if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"#;

/// The running server; it ends with the test.
struct MailServer {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl MailServer {
    /// Starts one, or says why the test has nothing to talk to.
    #[expect(
        clippy::print_stderr,
        reason = "who reads a test's output has to see that it tested nothing"
    )]
    fn start(mode: &str) -> Option<Self> {
        if std::env::var("SMSHOOK_TEST_SMTP").as_deref() != Ok("1") {
            eprintln!("skipped: SMSHOOK_TEST_SMTP is not 1 (it needs Python's aiosmtpd and openssl)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        std::fs::write(folder.path().join("server.py"), SERVER).unwrap();
        let mut child = Command::new(python())
            .args(["server.py", ".", mode])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().expect("the mail server's port");
        Some(Self { child, port, folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mails(&self) -> Vec<Mail> {
        let lines = std::fs::read_to_string(self.file("mails")).unwrap_or_default();
        lines
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| Mail(serde_json::from_str(line).unwrap()))
            .collect()
    }

    /// An action that mails every text.
    fn action(&self, tls: &str, more: &str) -> String {
        format!(
            r#"
            [worker]
            poll = "50ms"
            [action.mail]
            retry_base = "10ms"
            retry_cap = "10ms"
            max_attempts = 3
            [action.mail.email]
            host = "localhost"
            port = {}
            tls = "{tls}"
            from = "SMS Döner <sms@example.com>"
            to = ["desk@example.com", "Night <night@example.com>"]
            subject = "SMS from {{{{ sender }}}}: {{{{ text }}}}"
            text = "{{{{ text }}}}"
            {more}
            [[rule]]
            name = "everything"
            any = true
            actions = ["mail"]
            "#,
            self.port
        )
    }

    /// The keys for a server that wants TLS and a password.
    fn private(&self) -> String {
        format!(
            "username = \"me\"\npassword = \"hunter2 ü\"\nca_file = {}",
            json!(self.file("ca.pem"))
        )
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A mail as Python reads it.
struct Mail(Value);

impl Mail {
    fn header(&self, name: &str) -> &str {
        let headers = self.0["headers"].as_array().unwrap();
        let mut found = headers.iter().filter(|header| header[0] == name);
        let value = found.next().unwrap_or_else(|| panic!("no {name}"))[1].as_str().unwrap();
        assert!(found.next().is_none(), "{name} twice");
        value
    }

    fn names(&self) -> Vec<&str> {
        let headers = self.0["headers"].as_array().unwrap();
        headers.iter().map(|header| header[0].as_str().unwrap()).collect()
    }
}

/// The first Python here that has the server.
fn python() -> &'static str {
    let has = |python: &&&str| {
        let mut probe = Command::new(python);
        let probe = probe.args(["-c", "import aiosmtpd"]).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    ["python3", "/usr/bin/python3"]
        .iter()
        .find(has)
        .expect("SMSHOOK_TEST_SMTP=1 needs a python3 that has aiosmtpd")
}

/// A CA of the test's own (`ca.pem`) and a certificate for `localhost` (`server.pem`, `server.key`).
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let done = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"
    ));
    openssl(&format!(
        "req {key} -keyout server.key -out server.csr -subj /CN=localhost"
    ));
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem");
}

#[tokio::test]
async fn a_mail_arrives_over_starttls_as_it_was_meant() {
    let Some(server) = MailServer::start("starttls") else {
        return;
    };
    let app = App::start(&server.action("starttls", &server.private())).await;
    app.text(PERSON, "Grüße 🦀\r\nsecond line\n.\nend").await;
    app.all_jobs_ended().await;
    let jobs = app.jobs().await;
    assert_eq!(jobs, [("mail".to_owned(), "done".to_owned(), None)]);
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(mail.0["tls"], true);
    assert_eq!(
        (mail.0["user"].as_str(), mail.0["from"].as_str()),
        (Some("me"), Some("sms@example.com"))
    );
    assert_eq!(mail.0["to"], json!(["desk@example.com", "night@example.com"]));
    assert_eq!(mail.header("From"), "SMS Döner <sms@example.com>");
    assert_eq!(mail.header("To"), "desk@example.com, Night <night@example.com>");
    assert_eq!(
        mail.header("Subject"),
        "SMS from +15551230001: Grüße 🦀 second line . end"
    );
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert_eq!(
        mail.0["body"].as_str().map(str::trim_end),
        Some("Grüße 🦀\nsecond line\n.\nend")
    );
    assert_eq!(
        (mail.0["type"].as_str(), &mail.0["parts"]),
        (Some("text/plain"), &json!(1))
    );
    let (id, received): (Value, chrono::DateTime<chrono::Utc>) = sqlx::query_as(
        "SELECT j.result -> 'message_id', m.received_at FROM v1.jobs j JOIN v1.messages m ON m.id = j.message_id",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(mail.header("Message-ID"), id.as_str().unwrap());
    let date = chrono::DateTime::parse_from_rfc2822(mail.header("Date")).unwrap();
    assert_eq!(date.timestamp(), received.timestamp());
}

#[tokio::test]
async fn texts_of_one_conversation_are_one_thread_over_implicit_tls() {
    let Some(server) = MailServer::start("tls") else { return };
    let app = App::start(&server.action("tls", &server.private())).await;
    app.text(PERSON, "one").await;
    app.text(PERSON, "two").await;
    app.text("15551230002", "somebody else").await;
    app.all_jobs_ended().await;
    let mails = server.mails();
    assert_eq!(mails.len(), 3);
    assert!(mails.iter().all(|mail| mail.0["tls"] == true && mail.0["user"] == "me"));
    let (own, other): (Vec<_>, Vec<_>) = mails.iter().partition(|mail| mail.header("Subject").contains("0001"));
    assert_eq!((own.len(), other.len()), (2, 1));
    for name in ["References", "In-Reply-To"] {
        assert_eq!(own[0].header(name), own[1].header(name));
        assert_ne!(own[0].header(name), other[0].header(name));
        assert!(own[0].header(name).starts_with('<') && own[0].header(name).ends_with("@example.com>"));
    }
    assert_ne!(own[0].header("Message-ID"), own[1].header("Message-ID"));
}

#[tokio::test]
async fn a_hostile_text_stays_text() {
    let Some(server) = MailServer::start("none") else {
        return;
    };
    let app = App::start(&server.action("none", "allow_plain = true")).await;
    let hostile = [
        "hi\r\nBcc: all@example.com\r\n\r\nbody",
        "\u{202e}gnp.exe\u{2066} \u{2028}x",
        "=?utf-8?q?a=0D=0ABcc:=20all@example.com?= and more",
        "\r\n.\r\nMAIL FROM:<x@example.com>\r\n",
        "'; Subject: x\u{b}\u{1b}[2J",
        &"long ".repeat(400),
        &"長い".repeat(1_000),
    ];
    for text in hostile {
        app.text(PERSON, text).await;
    }
    app.all_jobs_ended().await;
    let mails = server.mails();
    assert_eq!(mails.len(), hostile.len(), "{:?}", app.jobs().await);
    for mail in &mails {
        let (subject, body) = (mail.header("Subject"), mail.0["body"].as_str().unwrap());
        let of = |text: &&&str| readable(body).starts_with(&readable(text));
        let text = hostile.iter().find(of).unwrap_or_else(|| panic!("whose is {body:?}?"));
        assert_eq!(mail.0["to"], json!(["desk@example.com", "night@example.com"]));
        assert_eq!(mail.0["defects"], json!([]), "{text}");
        assert!(!mail.names().iter().any(|name| ["Bcc", "Cc"].contains(name)), "{text}");
        assert!(
            subject.starts_with("SMS from +15551230001") && subject.chars().count() <= 201,
            "{subject}"
        );
        assert!(
            !subject.contains(['\r', '\n', '\u{202e}', '\u{2066}', '\u{2028}', '\u{1b}']),
            "{subject}"
        );
    }
    let encoded = mails
        .iter()
        .find(|mail| mail.header("Subject").contains("and more"))
        .unwrap();
    assert_eq!(
        encoded.header("Subject"),
        "SMS from +15551230001: =?utf-8?q?a=0D=0ABcc:=20all@example.com?= and more"
    );
}

/// Waits until the action is paused, and says why.
pub(crate) async fn pause(app: &App) -> String {
    let paused = "SELECT count(*) FROM v1.paused_actions";
    eventually("the action is paused", async || count(app.pool(), paused).await == 1).await;
    let reason = sqlx::query_scalar("SELECT reason FROM v1.paused_actions");
    reason.fetch_one(app.pool()).await.unwrap()
}

/// What must be the same in a text and in a mail's body: everything but line ends and control characters.
fn readable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && *c != '\u{fffd}').collect()
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_trusted_gets_nothing() {
    let Some(server) = MailServer::start("starttls") else {
        return;
    };
    let app = App::start(&server.action("starttls", "username = \"me\"\npassword = \"hunter2 ü\"")).await;
    app.text(PERSON, "hello").await;
    app.all_jobs_ended().await;
    let jobs = app.jobs().await;
    assert_eq!(jobs[0].1, "discarded");
    assert!(jobs[0].2.as_ref().unwrap().contains("certificate"), "{jobs:?}");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_password_that_is_not_taken_stops_the_action_and_keeps_its_jobs() {
    let Some(server) = MailServer::start("starttls") else {
        return;
    };
    let keys = server.private().replace("hunter2", "hunter3");
    let app = App::start(&server.action("starttls", &keys)).await;
    app.text(PERSON, "hello").await;
    assert!(pause(&app).await.contains("535"));
    assert_eq!(app.jobs().await[0].1, "available");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_process_that_dies_after_the_mail_was_taken_sends_the_same_mail_again() {
    let Some(server) = MailServer::start("starttls") else {
        return;
    };
    std::fs::write(server.file("hold"), "").unwrap();
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    // the lease of a dead process ends after the attempt's own time
    let toml = server
        .action("starttls", &server.private())
        .replace("max_attempts = 3", "max_attempts = 3\ntimeout = \"1s\"");
    let file = write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut first = Process::start(&file).await;
    assert_eq!(first.text(PERSON, "hello").await.status, 200);
    eventually("the server has the mail", async || server.mails().len() == 1).await;
    first.kill().await;
    std::fs::remove_file(server.file("hold")).unwrap();
    let _second = Process::start(&file).await;
    crate::helpers::jobs_ended(&database.pool).await;
    let mails = server.mails();
    assert!(mails.len() >= 2);
    for mail in &mails {
        assert_eq!(mail.0, mails[0].0, "a copy differs");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_unless_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let toml = |allow: &str| {
        format!(
            "[action.mail.email]\nhost = \"mail.example.com\"\ntls = \"none\"\nfrom = \"a@example.com\"\nto = [\"b@example.com\"]\n{allow}\n\
             [[rule]]\nname = \"all\"\nany = true\nactions = [\"mail\"]\n"
        )
    };
    configuration(directory.path(), None, &toml("allow_plain = true"));
    let file = write_configuration(directory.path(), None, &toml(""));
    let problems = config::load(&Source::File(file), &|_| None).unwrap_err().to_string();
    assert!(problems.contains("allow_plain"), "{problems}");
}
