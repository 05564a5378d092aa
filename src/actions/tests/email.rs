//! Mails against a scripted SMTP server: what each phase's failure means, and what a text can do to a header (nothing).

use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;
use crate::actions::email::{self, Mailer};
use crate::config::action::{EmailSpec, EmailTls};

/// What the server does when a line that starts so comes, instead of what it usually does.
#[derive(Clone, Copy)]
enum Turn {
    Answer(&'static str),
    HangUp,
    Stall,
}

/// An SMTP server that takes everything but what its script says; each entry is used once.
struct Smtp {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Smtp {
    async fn playing(script: &[(&'static str, Turn)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lines, mails) = (Arc::default(), Arc::default());
        let script = Arc::new(Mutex::new(script.to_vec()));
        let (heard, taken) = (Arc::clone(&lines), Arc::clone(&mails));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(
                    socket,
                    Arc::clone(&script),
                    Arc::clone(&heard),
                    Arc::clone(&taken),
                ));
            }
        });
        Self { address, lines, mails }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }
}

async fn serve(
    socket: TcpStream,
    script: Arc<Mutex<Vec<(&'static str, Turn)>>>,
    heard: Arc<Mutex<Vec<String>>>,
    taken: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut reader = BufReader::new(socket);
    let turn = |line: &str| {
        let mut script = script.lock().unwrap();
        let at = script.iter().position(|(start, _)| line.starts_with(start))?;
        Some(script.remove(at).1)
    };
    let mut line = "CONNECT".to_owned();
    let mut mail: Option<String> = None;
    loop {
        let usual = match line.split([' ', ':']).next() {
            Some("CONNECT") => "220 mail.example",
            Some("EHLO") => "250-mail.example\r\n250 AUTH PLAIN LOGIN",
            Some("AUTH") => "235 welcome",
            Some("DATA") => "354 go ahead",
            Some("QUIT") => "221 bye",
            _ => "250 fine",
        };
        let answer = match turn(&line) {
            Some(Turn::HangUp) => return None,
            Some(Turn::Stall) => std::future::pending().await,
            Some(Turn::Answer(answer)) => answer,
            None => usual,
        };
        reader
            .get_mut()
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
            .ok()?;
        mail = (answer.starts_with("354")).then(String::new).or(mail);
        line.clear();
        while reader.read_line(&mut line).await.ok()? > 0 {
            match &mut mail {
                Some(mail) if line != ".\r\n" => mail.push_str(&line),
                _ => break,
            }
            line.clear();
        }
        if line.is_empty() {
            return None;
        }
        line.truncate(line.trim_end().len());
        heard.lock().unwrap().push(line.clone());
        taken.lock().unwrap().extend(mail.take());
    }
}

fn mail_spec(server: &Smtp) -> EmailSpec {
    EmailSpec {
        host: server.address.ip().to_string(),
        port: server.address.port(),
        tls: EmailTls::None,
        credentials: None,
        ca_pem: None,
        from: "SMS <sms@example.com>".to_owned(),
        to: vec!["desk@example.com".to_owned()],
        subject: Template::compile("SMS from {{ sender }}: {{ text }}").unwrap(),
        text: Template::compile("{{ text }}\n").unwrap(),
        on_unknown: OnUnknown::Resend,
    }
}

async fn mail(script: &Script, job: &Job, spec: &EmailSpec) -> Outcome {
    email::run(&script.journal(), &Mailer::new(spec).unwrap(), job, spec).await
}

const MESSAGE_ID: &str = "<smshook-018d5f5e000070008000000000000001-7@example.com>";

fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = mail.split_once("\r\n\r\n")?;
    head.split("\r\n")
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn done() -> Outcome {
    Outcome::Done(json!({ "message_id": MESSAGE_ID }))
}

#[tokio::test]
async fn a_mail_is_taken_and_says_what_it_belongs_to() {
    let server = Smtp::playing(&[]).await;
    let script = Script::new();
    assert_eq!(mail(&script, &job(), &mail_spec(&server)).await, done());
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let root = "<smshook-00000000000000000000000000000000@example.com>";
    for (name, value) in [
        ("Message-ID", MESSAGE_ID),
        ("In-Reply-To", root),
        ("References", root),
        ("Auto-Submitted", "auto-generated"),
        ("Date", "Sat, 31 Jan 2026 11:59:59 +0000"),
        ("Content-Type", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(header(&mails[0], name), Some(value), "{}", mails[0]);
    }
    assert_eq!(
        server.lines()[1..3],
        ["MAIL FROM:<sms@example.com>", "RCPT TO:<desk@example.com>"]
    );
    // kept before it was sent, and `sending` only once the server was ready to take it
    let saved = script.saved();
    assert_eq!(saved.len(), 2);
    assert!(saved[0].get("sending").is_none() && saved[1].get("sending").is_some());
}

#[tokio::test]
async fn before_the_mail_itself_nothing_can_have_been_taken() {
    for phase in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"] {
        for turn in [Turn::HangUp, Turn::Answer("451 later"), Turn::Answer("nonsense")] {
            let server = Smtp::playing(&[(phase, turn)]).await;
            let (script, mut spec) = (Script::new(), mail_spec(&server));
            spec.on_unknown = OnUnknown::Skip;
            let outcome = mail(&script, &job(), &spec).await;
            assert!(matches!(outcome, Outcome::Retry { .. }), "{phase}: {outcome:?}");
            assert!(script.last().get("sending").is_none(), "{phase}");
            assert!(server.mails().is_empty(), "{phase}");
            let again = next_attempt(&job(), script.last());
            assert_eq!(mail(&script, &again, &spec).await, done(), "{phase}");
        }
    }
}

#[tokio::test]
async fn an_attempt_that_is_cut_off_before_the_mail_itself_has_not_sent_it() {
    for phase in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"] {
        let server = Smtp::playing(&[(phase, Turn::Stall)]).await;
        let (script, spec) = (Script::new(), mail_spec(&server));
        let job = job();
        let cut = tokio::time::timeout(Duration::from_millis(200), mail(&script, &job, &spec)).await;
        assert!(cut.is_err(), "{phase}");
        assert!(script.last().get("sending").is_none(), "{phase}");
    }
}

#[tokio::test]
async fn an_end_without_an_answer_to_the_mail_is_unknown_and_the_same_bytes_go_again() {
    let server = Smtp::playing(&[(".", Turn::HangUp)]).await;
    let (script, spec) = (Script::new(), mail_spec(&server));
    let Outcome::Retry { error, .. } = mail(&script, &job(), &spec).await else {
        panic!("not a retry")
    };
    assert!(error.ends_with("; it may have been taken"), "{error}");
    // an hour later
    let mut again = next_attempt(&job(), script.last());
    again.claimed_at += Duration::from_hours(1);
    assert_eq!(mail(&script, &again, &spec).await, done());
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1]);
}

#[tokio::test]
async fn who_must_not_send_twice_does_not() {
    for on_unknown in [OnUnknown::Skip, OnUnknown::Hold] {
        let server = Smtp::playing(&[(".", Turn::HangUp)]).await;
        let (script, mut spec) = (Script::new(), mail_spec(&server));
        spec.on_unknown = on_unknown;
        for attempt in 1..=2 {
            let job = Job {
                attempt,
                ..next_attempt(&job(), script.last())
            };
            let Outcome::Discard(reason) = mail(&script, &job, &spec).await else {
                panic!("not discarded")
            };
            assert!(
                reason.starts_with("not known whether attempt 1 was received"),
                "{reason}"
            );
        }
        assert_eq!(server.mails().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_to_the_mail_is_believed() {
    for (answer, taken_later) in [("451 greylisted", true), ("554 we do not like it", false)] {
        let server = Smtp::playing(&[(".", Turn::Answer(answer))]).await;
        let (script, mut spec) = (Script::new(), mail_spec(&server));
        spec.on_unknown = OnUnknown::Skip;
        match mail(&script, &job(), &spec).await {
            Outcome::Retry { error, .. } if taken_later => assert!(error.ends_with("answered 451: greylisted")),
            Outcome::Discard(error) if !taken_later => assert!(error.ends_with("answered 554: we do not like it")),
            other => panic!("{other:?}"),
        }
        assert!(script.last().get("sending").is_none());
    }
}

#[tokio::test]
async fn credentials_that_are_not_taken_stop_the_action() {
    for script in [
        ("AUTH", Turn::Answer("535 5.7.8 no")),
        ("AUTH", Turn::Answer("534 use another way")),
        ("MAIL", Turn::Answer("530 log in first")),
        ("EHLO", Turn::Answer("250 mail.example")),
    ] {
        let server = Smtp::playing(&[script]).await;
        let mut spec = mail_spec(&server);
        spec.credentials = Some(("me".to_owned(), SecretString::from("hunter2")));
        let outcome = mail(&Script::new(), &job(), &spec).await;
        assert!(matches!(outcome, Outcome::Pause(_)), "{outcome:?}");
        assert!(server.mails().is_empty());
    }
    let server = Smtp::playing(&[("AUTH", Turn::Answer("454 try later"))]).await;
    let mut spec = mail_spec(&server);
    spec.credentials = Some(("me".to_owned(), SecretString::from("hunter2")));
    assert!(matches!(
        mail(&Script::new(), &job(), &spec).await,
        Outcome::Retry { .. }
    ));
}

#[tokio::test]
async fn each_recipient_counts_for_itself() {
    let server = Smtp::playing(&[
        ("RCPT TO:<b@", Turn::Answer("550 nobody here")),
        ("RCPT TO:<c@", Turn::Answer("450 mailbox busy")),
    ])
    .await;
    let (script, mut spec) = (Script::new(), mail_spec(&server));
    spec.to = ["a", "b", "c"].map(|name| format!("{name}@example.com")).to_vec();
    let Outcome::Retry { error, .. } = mail(&script, &job(), &spec).await else {
        panic!("not a retry")
    };
    assert!(error.ends_with("taken for 1 of 3 recipients, 1 to come"), "{error}");
    let outcome = mail(&script, &next_attempt(&job(), script.last()), &spec).await;
    let result = json!({ "message_id": MESSAGE_ID, "accepted": 2, "refused": 1 });
    assert_eq!(outcome, Outcome::Done(result));
    let asked = server.lines().iter().filter(|line| line.starts_with("RCPT")).count();
    assert_eq!((asked, server.mails().len()), (4, 2));
}

#[tokio::test]
async fn a_mail_that_every_recipient_refuses_is_given_up() {
    let server = Smtp::playing(&[("RCPT", Turn::Answer("550 nobody")), ("RCPT", Turn::Answer("553 no"))]).await;
    let (script, mut spec) = (Script::new(), mail_spec(&server));
    spec.to.push("other@example.com".to_owned());
    let Outcome::Discard(reason) = mail(&script, &job(), &spec).await else {
        panic!("not discarded")
    };
    assert!(
        reason.contains("every recipient was refused; RCPT: answered 553: no"),
        "{reason}"
    );
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn without_starttls_nothing_is_said_to_a_server_that_was_to_have_it() {
    let server = Smtp::playing(&[]).await;
    let mut spec = mail_spec(&server);
    spec.tls = EmailTls::StartTls;
    spec.credentials = Some(("me".to_owned(), SecretString::from("hunter2")));
    let Outcome::Retry { error, .. } = mail(&Script::new(), &job(), &spec).await else {
        panic!("not a retry")
    };
    assert!(error.contains("does not offer STARTTLS"), "{error}");
    assert!(
        server.lines().iter().all(|line| line.starts_with("EHLO")),
        "{:?}",
        server.lines()
    );
}

#[tokio::test]
async fn a_lost_lease_sends_nothing() {
    let server = Smtp::playing(&[]).await;
    let script = Script {
        lease_lost: true,
        ..Script::new()
    };
    assert_eq!(mail(&script, &job(), &mail_spec(&server)).await, Outcome::Release);
    assert!(server.lines().is_empty());
}

#[tokio::test]
async fn the_servers_words_are_kept_without_what_they_quote_of_the_mail() {
    let words = "550 +14155550100 said it's hunter2 AG1lAGh1bnRlcjI= \u{1b}[2J";
    let server = Smtp::playing(&[("MAIL", Turn::Answer(words))]).await;
    let mut spec = mail_spec(&server);
    spec.credentials = Some(("me".to_owned(), SecretString::from("hunter2")));
    let mut job = job();
    job.message.text = "it's".to_owned();
    let Outcome::Discard(reason) = mail(&Script::new(), &job, &spec).await else {
        panic!("not discarded")
    };
    assert!(
        reason.ends_with("MAIL: answered 550: […] said […] […] […] \u{fffd}[2J"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_text_stays_one_subject_and_one_body() {
    let hostile = [
        "hi\r\nBcc: all@example.com\r\n\r\nbody",
        "a\nb\rc\u{2028}d\u{85}e\u{b}f",
        "=?utf-8?q?a=0D=0ABcc:=20all@example.com?= x",
        "\u{202e}gnp.exe \u{2066}x",
        ".\r\nMAIL FROM:<x@example.com>\r\n..\r\n.\r\nQUIT\r\n",
        "ünï 🦀 =?x",
        &"x".repeat(2_000),
        &"語".repeat(2_000),
        "",
    ];
    for text in hostile {
        let server = Smtp::playing(&[]).await;
        let mut job = job();
        job.message.text = text.to_owned();
        assert_eq!(mail(&Script::new(), &job, &mail_spec(&server)).await, done());
        let mails = server.mails();
        let (head, body) = mails[0].split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split(':').next().unwrap())
            .collect();
        let known = [
            "From",
            "To",
            "Date",
            "Message-ID",
            "In-Reply-To",
            "References",
            "Subject",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
        ];
        assert!(names.iter().all(|name| known.contains(name)), "{head}");
        assert_eq!(names.len(), known.len(), "{head}");
        assert!(
            mails[0].is_ascii() && mails[0].lines().all(|line| line.len() <= 998),
            "{text}"
        );
        assert!(!body.contains('\u{b}'));
        assert_eq!(server.lines().len(), 5, "{:?}", server.lines());
    }
}

#[test]
fn addresses_that_are_none_are_told_before_anything_runs() {
    let spec = |from: &str, to: &[&str]| EmailSpec {
        host: "mail.example.com".to_owned(),
        port: 25,
        tls: EmailTls::None,
        credentials: None,
        ca_pem: None,
        from: from.to_owned(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
        subject: Template::compile("x").unwrap(),
        text: Template::compile("x").unwrap(),
        on_unknown: OnUnknown::Resend,
    };
    assert!(Mailer::new(&spec("a@example.com", &["B <b@example.com>"])).is_ok());
    for (from, to) in [
        ("nobody", vec!["b@example.com"]),
        ("a@example.com", vec![]),
        ("a@example.com", vec!["b@example.com\r\nBcc: c@example.com"]),
        ("a@example.com", vec!["b@exämple.com"]),
    ] {
        assert!(Mailer::new(&spec(from, &to)).is_err(), "{from} {to:?}");
    }
    let with_ca = EmailSpec {
        tls: EmailTls::Tls,
        ca_pem: Some(b"no certificate".to_vec()),
        ..spec("a@example.com", &["b@example.com"])
    };
    assert!(Mailer::new(&with_ca).is_err());
}
