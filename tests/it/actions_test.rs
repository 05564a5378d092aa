//! `smshook actions test`: it asks, it sends once and for real, it shows what it did without a secret, and it leaves nothing
//! behind.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::helpers::{self, Answer, Fake, SECRET, smshook};
use crate::testkit::TestDatabase;

const NOWHERE: &str = "postgres://nobody@127.0.0.1:1/none";
const TOKEN: &str = "sk_live_of the tests";
const PERSON: [&str; 4] = ["--from", "+12025550143", "--text", "code 42"];

/// An action that posts to `fake`, one that replies through it, and one that needs neither.
fn actions(fake: &Fake) -> String {
    let open = "allow_http = true, allow_private = [\"127.0.0.0/8\"]";
    format!(
        r#"{}
[action.crm]
http = {{ url = "{}", {open}, headers = {{ Authorization = {{ prefix = "Bearer ", env = "CRM_TOKEN" }} }}, json = {{ code = "{{{{ m.code }}}}", text = "{{{{ text }}}}" }}, capture = {{ id = "/id" }} }}
[action.hours]
reply = {{ text = "You asked: {{{{ text }}}}" }}
[action.note]
log = {{ message = "a text" }}
[action.later]
after = ["crm"]
log = {{ message = "filed as {{{{ results.crm.id }}}}" }}
[[rule]]
name = "code"
regex = 'code (?<code>\d+)'
actions = ["crm", "hours", "note", "later"]
"#,
        helpers::replying_endpoint(fake),
        fake.url("/sms"),
    )
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let said = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        for never in ["panicked", SECRET, TOKEN] {
            assert!(!said.out.contains(never) && !said.err.contains(never), "{said:?}");
        }
        said
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

struct Shell {
    config: PathBuf,
    _directory: tempfile::TempDir,
}

impl Shell {
    fn new(database: &str, toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            config: helpers::write_configuration(directory.path(), Some(database), toml),
            _directory: directory,
        }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = smshook(&["--config", self.config.to_str().unwrap(), "actions", "test"]);
        command.args(arguments).env("CRM_TOKEN", TOKEN);
        command
    }

    async fn test(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await;
        Said::of(output.unwrap())
    }

    /// At a terminal, where `typed` is typed.
    async fn at_a_terminal(&self, arguments: &[&str], typed: &'static str) -> Said {
        use rustix::pty;
        let ours = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
        pty::grantpt(&ours).unwrap();
        pty::unlockpt(&ours).unwrap();
        let theirs = pty::ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let terminal = std::fs::OpenOptions::new().read(true).write(true).open(theirs).unwrap();
        let mut command = self.command(arguments);
        command.stdin(terminal).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = move || {
            let child = command.spawn().unwrap();
            // the command holds the terminal's other end; ours here must go, or it would never read an end of file
            drop(command);
            let mut keyboard = std::fs::File::from(ours);
            keyboard.write_all(typed.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        Said::of(tokio::task::spawn_blocking(running).await.unwrap())
    }
}

fn with<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[name], &PERSON[..], more].concat()
}

#[tokio::test]
async fn without_a_terminal_it_sends_nothing_unless_it_is_told_to() {
    let fake = Fake::start().await;
    let said = Shell::new(NOWHERE, &actions(&fake)).test(&with("crm", &[])).await;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(
        said.err.contains("no terminal to ask at") && said.err.contains("`--yes`"),
        "{said:?}"
    );
    assert_eq!(fake.asked().len(), 0);
}

#[tokio::test]
async fn at_a_terminal_it_shows_what_it_would_send_and_only_a_yes_sends_it() {
    let fake = Fake::start().await;
    let shell = Shell::new(NOWHERE, &actions(&fake));
    for no in ["n\n", "\n", "perhaps\n"] {
        let said = shell.at_a_terminal(&with("crm", &[]), no).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.err.contains("nothing was sent"), "{said:?}");
        assert!(said.err.contains(&format!("POST {}", fake.url("/sms"))), "{said:?}");
        assert!(
            said.err.contains("authorization: Bearer ***") && said.err.contains("\"code\": \"42\""),
            "{said:?}"
        );
    }
    assert_eq!(fake.asked().len(), 0);
    let said = shell.at_a_terminal(&with("crm", &[]), "y\n").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn each_request_and_each_answer_is_shown_and_what_later_actions_would_find() {
    let fake = Fake::start().await;
    fake.always(Answer::Now(
        201,
        vec![("x-request-id", "abc".to_owned())],
        format!(r#"{{"id":"17","echo":"{TOKEN}"}}"#),
    ));
    let shell = Shell::new(NOWHERE, &actions(&fake));
    let said = shell.test(&with("crm", &["--yes"])).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        "sent".to_owned(),
        format!("    POST {}", fake.url("/sms")),
        "    authorization: Bearer ***".to_owned(),
        "      \"code\": \"42\",".to_owned(),
        "    x-request-id: abc".to_owned(),
        "outcome         done".to_owned(),
        r#"results.crm     {"id":"17"}"#.to_owned(),
    ] {
        assert!(said.out.lines().any(|shown| shown == line), "{line}\n\n{said:?}");
    }
    assert!(said.out.contains("answered 201 after "), "{said:?}");
    assert!(said.err.contains("the queue was not touched"), "{said:?}");
    let report = shell.test(&with("crm", &["--yes", "--json"])).await.json();
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["results"], json!({ "id": "17" }));
    assert_eq!(report["exchanges"][0]["answer"]["status"], 201);
    assert_eq!(
        report["exchanges"][0]["request"]["headers"]["authorization"],
        "Bearer ***"
    );
    let keys: Vec<_> = fake
        .asked()
        .iter()
        .map(|asked| asked.headers["idempotency-key"].clone())
        .collect();
    assert_ne!(keys[0], keys[1], "or the second test would be taken for a repetition");
}

#[tokio::test]
async fn a_failure_is_reported_with_what_the_service_would_do_and_is_not_tried_again() {
    let fake = Fake::start().await;
    let shell = Shell::new(NOWHERE, &actions(&fake));
    let retry_after = vec![("retry-after", "30".to_owned())];
    for (answer, outcome, in_service) in [
        (
            Answer::Now(503, retry_after, "{}".to_owned()),
            "retry",
            "not before 30 s from then",
        ),
        (Fake::status(422), "discard", "would wait for a person"),
    ] {
        fake.always(answer);
        let before = fake.asked().len();
        let said = shell.test(&with("crm", &["--yes", "--json"])).await;
        let report = said.json();
        assert_eq!(
            (said.code, report["outcome"].as_str()),
            (Some(1), Some(outcome)),
            "{said:?}"
        );
        assert!(report["in_service"].as_str().unwrap().contains(in_service), "{report}");
        assert_eq!((&report["results"], fake.asked().len()), (&Value::Null, before + 1));
    }
}

#[tokio::test]
async fn nobody_listening_is_shown_as_an_exchange_without_an_answer() {
    let fake = Fake::start().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let toml = actions(&fake).replace(&fake.url("/sms"), &format!("http://{closed}/sms"));
    let said = Shell::new(NOWHERE, &toml).test(&with("crm", &["--yes"])).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("no answer after ") && said.out.contains("refused"),
        "{said:?}"
    );
    assert!(said.out.contains("outcome         retry"), "{said:?}");
}

#[tokio::test]
async fn a_reply_is_sent_to_who_wants_it_and_never_to_who_opted_out() {
    let (fake, database) = (Fake::start().await, TestDatabase::new().await);
    let shell = Shell::new(&database.url(), &actions(&fake));
    let said = shell.test(&with("hours", &["--yes"])).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(fake.asked().len(), 1);
    assert!(fake.asked()[0].body.contains("You asked: code 42"));
    sqlx::query(
        "INSERT INTO smshook.opt_outs (suppression_group, number, number_key, source, opted_out_at) VALUES ('main', '+12025550143', '+12025550143', 'operator', now())",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let said = shell.test(&with("hours", &["--yes"])).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("has opted out: nothing was sent"), "{said:?}");
    let stop = shell
        .test(&["hours", "--from", "+12025550144", "--text", "STOP", "--yes"])
        .await;
    assert!(
        stop.code == Some(1) && stop.err.contains("with this text the sender opts out"),
        "{stop:?}"
    );
    assert_eq!(fake.asked().len(), 1);
    for table in [
        "SELECT count(*) FROM v1.jobs",
        "SELECT count(*) FROM v1.messages",
        "SELECT count(*) FROM smshook.sends",
        "SELECT count(*) FROM smshook.links",
    ] {
        assert_eq!(helpers::count(&database.pool, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_reply_is_not_sent_while_nobody_can_say_whether_its_receiver_opted_out() {
    let fake = Fake::start().await;
    let said = Shell::new(NOWHERE, &actions(&fake))
        .test(&with("hours", &["--yes"]))
        .await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("database"), "{said:?}");
    assert_eq!(fake.asked().len(), 0);
}

#[tokio::test]
async fn what_cannot_be_tested_alone_or_is_not_there_is_wrong_usage() {
    let fake = Fake::start().await;
    let shell = Shell::new(NOWHERE, &actions(&fake));
    let said = shell.test(&with("later", &["--yes"])).await;
    assert!(
        said.code == Some(2) && said.err.contains("uses the results of `crm`"),
        "{said:?}"
    );
    let said = shell.test(&with("crn", &["--yes"])).await;
    assert!(said.code == Some(2) && said.err.contains("`crm`, `hours`"), "{said:?}");
    let said = shell.test(&with("note", &["--yes"])).await;
    assert!(
        said.code == Some(0) && said.out.contains(r#"results.note    {"line":"a text"}"#),
        "{said:?}"
    );
    assert_eq!(fake.asked().len(), 0);
}
