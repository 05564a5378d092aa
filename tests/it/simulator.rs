//! `smshook send` as a gateway that does everything that gateways do: the real binary against the real service, and against
//! a receiver that is not ours.

use std::process::{Command, Output};

use serde_json::Value;

use crate::helpers::{self, Answer, App, Fake, SECRET, smshook};

const NOTES: &str =
    "[action.note]\nlog = { message = \"a text\" }\n[[rule]]\nname = \"rest\"\nany = true\nactions = [\"note\"]\n";

/// What the command said and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let said = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        };
        for never in ["panicked", SECRET] {
            assert!(!said.out.contains(never) && !said.err.contains(never), "{said:?}");
        }
        said
    }

    fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    /// The words of our receipts, one for each line.
    fn receipts(&self) -> Vec<String> {
        let word = |line: &&str| {
            let (_, body) = line.split_once(' ')?;
            Some(serde_json::from_str::<Value>(body).ok()?["status"].as_str()?.to_owned())
        };
        self.lines()
            .iter()
            .map(|line| word(line).unwrap_or_else(|| (*line).to_owned()))
            .collect()
    }

    fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    fn no(self) -> Self {
        assert_eq!(self.code, Some(1), "{self:?}");
        self
    }
}

/// A gateway's place: a folder with a configuration that points to a service.
struct Gateway {
    directory: tempfile::TempDir,
}

impl Gateway {
    fn of(app: &App) -> Self {
        Self::with(&format!("[server]\nlisten = \"{}\"\n", app.address()))
    }

    fn with(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        helpers::write_configuration(directory.path(), Some("postgres://nobody@127.0.0.1:1/none"), toml);
        Self { directory }
    }

    fn file(&self, name: &str, content: &str) {
        std::fs::write(self.directory.path().join(name), content).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = smshook(&["send"]);
        command
            .args(arguments)
            .env_remove("SMSHOOK_CONFIG")
            .env("TESTS_SECRET", SECRET)
            .current_dir(self.directory.path());
        command
    }

    async fn send(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await;
        Said::of(&output.unwrap())
    }
}

/// Sender, text and copies of every message, in the order of their arrival.
async fn stored(app: &App) -> Vec<(String, String, i32)> {
    sqlx::query_as("SELECT sender, text, duplicates FROM v1.messages ORDER BY received_at, id")
        .fetch_all(app.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn the_same_delivery_twice_is_one_text_and_the_second_answer_says_so() {
    let app = App::start(NOTES).await;
    let said = Gateway::of(&app).send(&["--text", "hi", "--duplicate"]).await.fine();
    assert_eq!(said.receipts(), ["stored", "duplicate"]);
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 1);
}

#[tokio::test]
async fn a_receiver_that_takes_a_copy_for_another_text_or_a_forgery_for_genuine_is_told_what_was_expected() {
    let fake = Fake::start().await;
    fake.always(Answer::Now(200, vec![], r#"{"status":"stored"}"#.to_owned()));
    let gateway = Gateway::with("");
    let url = fake.url("/in");
    let twice = gateway.send(&["--text", "hi", "--url", &url, "--duplicate"]).await.no();
    assert_eq!(twice.receipts(), ["stored", "stored"]);
    assert!(twice.err.contains("expected: a 2xx that says `duplicate`"), "{twice:?}");
    let asked = fake.asked();
    assert_eq!(asked[0].body, asked[1].body);
    assert_eq!(asked[0].headers["x-mac-signature"], asked[1].headers["x-mac-signature"]);
    let forged = gateway
        .send(&["--text", "hi", "--url", &url, "--bad-signature"])
        .await
        .no();
    assert!(forged.err.contains("expected: a refusal"), "{forged:?}");
    // a receiver with nothing at that path has refused nothing
    fake.always(Answer::Now(404, vec![], String::new()));
    gateway
        .send(&["--text", "hi", "--url", &url, "--bad-signature"])
        .await
        .no();
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_leaves_nothing_behind() {
    let app = App::start(NOTES).await;
    let said = Gateway::of(&app)
        .send(&["--text", "hi", "--bad-signature"])
        .await
        .fine();
    assert_eq!(said.lines(), ["401"]);
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 0);
}

#[tokio::test]
async fn several_texts_arrive_in_the_order_they_were_typed_and_reorder_turns_it_round() {
    let app = App::start(NOTES).await;
    let gateway = Gateway::of(&app);
    let typed = ["--text", "one", "--text", "two", "--text", "three"];
    gateway.send(&typed).await.fine();
    gateway.send(&[&typed[..], &["--reorder"]].concat()).await.fine();
    let texts: Vec<String> = stored(&app).await.into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(texts, ["one", "two", "three", "three", "two", "one"]);
    let one = gateway.send(&["--text", "one", "--reorder"]).await;
    assert_eq!(one.code, Some(2), "{one:?}");
}

#[tokio::test]
async fn a_file_of_texts_is_sent_line_by_line_and_a_bad_line_sends_none() {
    let app = App::start(NOTES).await;
    let gateway = Gateway::of(&app);
    gateway.file(
        "texts.tsv",
        "from\tto\ttext\n+15551230001\t+15550009999\thours\n+15551230002\t+15550009999\tsay \"hi\"\n",
    );
    let said = gateway.send(&["--file", "texts.tsv"]).await.fine();
    assert_eq!(said.receipts(), ["stored", "stored"]);
    let expected = [("+15551230001", "hours", 0), ("+15551230002", "say \"hi\"", 0)];
    let expected = expected.map(|(sender, text, copies)| (sender.to_owned(), text.to_owned(), copies));
    assert_eq!(stored(&app).await, expected);
    gateway.file(
        "bad.tsv",
        "+15551230001\t+15550009999\tfine\n+15551230002 no tab\n\t\t\n",
    );
    let bad = gateway.send(&["--file", "bad.tsv"]).await.no();
    assert!(
        bad.err.contains("line 2: there is no `to`") && bad.err.contains("line 3: there is no `from`"),
        "{bad:?}"
    );
    assert!(!bad.err.contains("+1555"), "{bad:?}");
    assert_eq!(stored(&app).await.len(), 2);
}

#[tokio::test]
async fn a_burst_is_stored_text_by_text_and_summed_up() {
    let app = App::start(NOTES).await;
    let gateway = Gateway::of(&app);
    let said = gateway
        .send(&["--text", "hi", "--burst", "120", "--rate", "1000"])
        .await
        .fine();
    let words: Vec<Vec<&str>> = said
        .lines()
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(words[0][..2], ["sent", "120"], "{said:?}");
    assert_eq!(words[1], ["200", "120"], "{said:?}");
    assert!(
        words[2][0] == "latency" && words[2][1] == "p50" && words[2][4] == "p99",
        "{said:?}"
    );
    assert_eq!(app.count("SELECT count(DISTINCT text) FROM v1.messages").await, 120);
    assert_eq!(app.count("SELECT count(DISTINCT sender) FROM v1.messages").await, 100);
    let forged = gateway
        .send(&["--text", "hi", "--burst", "10", "--rate", "1000", "--bad-signature"])
        .await
        .fine();
    assert!(forged.lines()[1].starts_with("401"), "{forged:?}");
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 120);
}

#[tokio::test]
async fn a_burst_keeps_its_rate_and_says_what_was_not_taken() {
    let fake = Fake::start().await;
    fake.then(Fake::status(503));
    let begun = std::time::Instant::now();
    let said = Gateway::with("")
        .send(&[
            "--text",
            "hi",
            "--burst",
            "11",
            "--rate",
            "20",
            "--url",
            &fake.url("/in"),
        ])
        .await
        .no();
    // the eleventh is due half a second after the first
    assert!(begun.elapsed() >= std::time::Duration::from_millis(500));
    let lines = said
        .lines()
        .into_iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let statuses: Vec<_> = lines.skip(1).take(2).collect();
    assert_eq!(statuses, [["202", "10"], ["503", "1"]]);
    assert!(said.err.contains("expected: a 2xx, every time"), "{said:?}");
}

#[tokio::test]
async fn a_gateway_signs_with_a_secret_from_the_environment_or_a_file_for_any_url() {
    let app = App::start(NOTES).await;
    // no configuration at all
    let nowhere = Gateway {
        directory: tempfile::tempdir().unwrap(),
    };
    let url = format!("http://{}/hooks/sms", app.address());
    let as_gateway = ["--gateway", "mobile-api-connect", "--text", "hi", "--url", &url];
    nowhere
        .send(&[&as_gateway[..], &["--secret-env", "TESTS_SECRET"]].concat())
        .await
        .fine();
    nowhere.file("secret", &format!("{SECRET}\n"));
    nowhere
        .send(&[&as_gateway[..], &["--secret-file", "secret"]].concat())
        .await
        .fine();
    nowhere.file("secret", "another\n");
    let refused = nowhere
        .send(&[&as_gateway[..], &["--secret-file", "secret"]].concat())
        .await
        .no();
    assert_eq!(refused.lines(), ["401"]);
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 2);
    for (wrong, said) in [
        (
            vec!["--secret-env", "NOT_SET_ANYWHERE"],
            "`NOT_SET_ANYWHERE` has no secret",
        ),
        (
            vec!["--secret-file", "no-such-file"],
            "reading the secret from `no-such-file`",
        ),
    ] {
        let refused = nowhere.send(&[&as_gateway[..], &wrong].concat()).await.no();
        assert!(refused.err.contains(said), "{refused:?}");
    }
}

/// One endpoint for each built-in gateway, named and placed after it.
fn all_gateways() -> String {
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let endpoint = |name: &str| {
        format!("[[endpoint]]\nname = \"{name}\"\npath = \"/{name}\"\ngateway = \"{name}\"\nsecrets = [\"{key}\"]\n")
    };
    smshook::gateway::builtin_names().map(endpoint).collect()
}

#[tokio::test]
async fn the_service_takes_what_every_built_in_gateway_sends_once_and_refuses_what_none_does() {
    let public = "public_url = \"https://sms.example.com\"";
    let toml = format!(
        "{}[server]\nlisten = \"127.0.0.1:0\"\n{public}\n{NOTES}",
        all_gateways()
    );
    let app = App::start(&toml).await;
    let toml = format!("{}[server]\nlisten = \"{}\"\n{public}\n", all_gateways(), app.address());
    let gateway = Gateway::with(&toml);
    // The endpoint of a gateway with key pairs has its public key, with which nobody can sign.
    let seeds = smshook::gateway::builtin_names().filter(|name| *name == "telnyx");
    for name in seeds {
        let said = gateway.send(&["--endpoint", name, "--text", "hi"]).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("--new-signing-key"), "{said:?}");
    }
    let mut stored = 0;
    for name in smshook::gateway::builtin_names().filter(|name| *name != "telnyx") {
        let to = ["--endpoint", name, "--text", "hi"];
        let twice = gateway.send(&[&to[..], &["--duplicate"]].concat()).await.fine();
        assert_eq!(twice.lines().len(), 2, "{name}: {twice:?}");
        stored += 1;
        let forged = gateway.send(&[&to[..], &["--bad-signature"]].concat()).await.fine();
        assert_eq!(forged.lines().len(), 1, "{name}: {forged:?}");
        let late = gateway.send(&[&to[..], &["--late"]].concat()).await;
        let file = smshook::gateway::builtin(name).unwrap();
        let signs_a_time = smshook::gateway::Gateway::from_toml(file)
            .unwrap()
            .signature
            .good_for()
            .is_some();
        assert_eq!(late.code, Some(if signs_a_time { 0 } else { 2 }), "{name}: {late:?}");
        let collision = gateway.send(&[&to[..], &["--collide"]].concat()).await;
        match collision.code {
            Some(0) => stored += 2,
            code => assert_eq!((code, name), (Some(2), "mobile-api-connect"), "{collision:?}"),
        }
        assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, stored, "{name}");
    }
    assert_eq!(app.count("SELECT count(*) FROM v1.quarantine").await, 0);
}

#[tokio::test]
async fn a_gateway_of_ones_own_can_be_played_before_an_endpoint_has_it() {
    let own = "[gateway.mine]\nlike = \"generic\"\nsignature = { headers = [\"X-Mine\"], prefix = \"\" }\n";
    let typed = [
        "--gateway",
        "mine",
        "--text",
        "hi",
        "--url",
        "https://example.com/in",
        "--secret-env",
        "TESTS_SECRET",
    ];
    let said = Gateway::with(own)
        .send(&[&typed[..], &["--dry-run"]].concat())
        .await
        .fine();
    assert!(said.out.contains("\nx-mine: "), "{said:?}");
    let other = Gateway::with(own)
        .send(&["--gateway", "yours", "--text", "hi", "--url", "https://example.com/in"])
        .await;
    assert_eq!(other.code, Some(2), "{other:?}");
}

#[tokio::test]
async fn a_user_rehearses_a_gateway_with_key_pairs_with_a_pair_of_his_own() {
    let made = Gateway::with("").send(&["--new-signing-key"]).await.fine();
    let key = |line: usize| made.lines()[line].split_whitespace().last().unwrap().to_owned();
    let endpoint = format!(
        "[[endpoint]]\nname = \"main\"\npath = \"/in\"\ngateway = \"telnyx\"\nsecrets = [\"{}\"]\n",
        key(1)
    );
    let app = App::start(&format!("{endpoint}{NOTES}")).await;
    let gateway = Gateway::with(&format!("{endpoint}[server]\nlisten = \"{}\"\n", app.address()));
    gateway.file("key", &key(0));
    let signed = ["--text", "hi", "--signing-key-file", "key"];
    gateway.send(&signed).await.fine();
    gateway.send(&[&signed[..], &["--late"]].concat()).await.fine();
    gateway.send(&["--text", "hi", "--bad-signature"]).await.fine();
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 1);
}

#[tokio::test]
async fn the_parts_of_a_long_text_become_one_whatever_their_order() {
    let endpoint =
        "[[endpoint]]\nname = \"main\"\npath = \"/in\"\ngateway = \"vonage-sms\"\nsecrets = [\"of the tests\"]\n";
    let app = App::start(&format!("{endpoint}{NOTES}")).await;
    let gateway = Gateway::with(&format!("{endpoint}[server]\nlisten = \"{}\"\n", app.address()));
    let text = "Grüße ".repeat(60);
    for way in ["json", "form", "get"] {
        let typed = ["--text", &text, "--parts", "--reorder", "--as", way];
        let said = gateway.send(&typed).await.fine();
        assert!(said.lines().len() > 2, "{way}: {said:?}");
    }
    helpers::eventually("three texts are whole", async || {
        app.count("SELECT count(*) FROM v1.messages").await == 3
    })
    .await;
    for (_, stored, _) in stored(&app).await {
        assert_eq!(stored, text);
    }
}

#[tokio::test]
async fn what_would_be_sent_is_printed_as_data_that_another_program_can_verify() {
    let gateway = Gateway::with("");
    let said = gateway
        .send(&[
            "--text",
            "one",
            "--text",
            "two",
            "--dry-run",
            "--json",
            "--url",
            "https://sms.example.com/in?a=b",
        ])
        .await
        .fine();
    let deliveries: Vec<Value> = said
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(deliveries.len(), 2);
    for (delivery, text) in deliveries.iter().zip(["one", "two"]) {
        assert_eq!(delivery["method"], "POST");
        assert_eq!(delivery["url"], "https://sms.example.com/in");
        assert_eq!(delivery["query"], "a=b");
        let body = delivery["body"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["text"], text);
        assert_eq!(
            delivery["headers"]["x-mac-signature"],
            helpers::signature(SECRET, body.as_bytes())
        );
        let age = chrono::Utc::now().timestamp() - delivery["at"].as_i64().unwrap();
        assert!((0..60).contains(&age), "{age}");
    }
    let shown = gateway.send(&["--text", "one", "--dry-run"]).await.fine();
    assert!(
        shown.out.starts_with("POST http://127.0.0.1:0/hooks/sms\n"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn what_makes_no_sense_together_is_wrong_usage() {
    let gateway = Gateway::with("");
    gateway.file("texts.tsv", "+15551230001\t+15550009999\thours\n");
    for wrong in [
        &[][..],
        &["--text", "hi", "--file", "texts.tsv"],
        &["--file", "texts.tsv", "--from", "+15551230001"],
        &["--text", "hi", "--copies", "0"],
        &["--text", "hi", "--copies", "2", "--duplicate"],
        &["--text", "hi", "--json"],
        &["--text", "hi", "--burst", "10"],
        &["--text", "hi", "--rate", "10"],
        &["--text", "hi", "--burst", "100001", "--rate", "10"],
        &["--text", "hi", "--burst", "10", "--rate", "5001"],
        &["--text", "hi", "--text", "ho", "--burst", "10", "--rate", "10"],
        &["--text", "hi", "--burst", "10", "--rate", "10", "--dry-run"],
        &["--file", "texts.tsv", "--burst", "10", "--rate", "10"],
        &["--text", "hi", "--collide", "--reorder"],
        &["--text", "hi", "--late", "--bad-signature"],
        &["--text", "hi", "--late", "10"],
        // this one signs no time, sends long texts whole, and has no message ID
        &["--text", "hi", "--late"],
        &["--text", "hi", "--parts"],
        &["--text", "hi", "--collide"],
        &["--text", "hi", "--bad-signature", "--secret-env", "TESTS_SECRET"],
        &["--text", "hi", "--secret-env", "A", "--secret-file", "b"],
        &["--text", "hi", "--gateway", "nobody"],
        &["--text", "hi", "--url", "hooks/sms"],
        &["--new-signing-key", "--text", "hi"],
    ] {
        let said = gateway.send(wrong).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{wrong:?}: {said:?}");
        assert!(said.err.contains("error: "), "{wrong:?}: {said:?}");
    }
}

#[tokio::test]
async fn an_unsigned_endpoint_has_no_wrong_signatures() {
    let unsigned =
        "[[endpoint]]\nname = \"open\"\npath = \"/open\"\ngateway = \"mobile-api-connect\"\nallow_unsigned = true\n";
    let gateway = Gateway::with(unsigned);
    let said = gateway
        .send(&["--text", "hi", "--bad-signature", "--url", "http://127.0.0.1:1/open"])
        .await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("takes unsigned deliveries"), "{said:?}");
}

#[tokio::test]
async fn a_new_signing_key_is_a_pair_and_never_the_same_twice() {
    let gateway = Gateway::with("");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let said = gateway.send(&["--new-signing-key"]).await.fine();
        for (line, name) in said.lines().iter().zip(["signing key", "public key"]) {
            let key = line.strip_prefix(name).unwrap().trim();
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).unwrap();
            assert_eq!(bytes.len(), 32);
            seen.insert(bytes);
        }
    }
    assert_eq!(seen.len(), 4);
}
