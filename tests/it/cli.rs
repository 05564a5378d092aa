//! The commands as a person or a script meets them: the real binary, its two outputs and its exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::helpers::{self, App, Fake, Intake, SECRET, signature, sms, smshook};
use crate::testkit::TestDatabase;

/// Nobody listens there: a command that opens its database fails.
const NOWHERE: &str = "postgres://nobody@127.0.0.1:1/none";
/// What `replying_endpoint` replies with.
const TOKEN: &str = "sk_live_of the tests";
const PERSON: &str = "12025550143";

const NOTES: &str = r#"
[action.note]
log = { message = "a text" }
[[rule]]
name = "rest"
any = true
actions = ["note"]
"#;

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// No command may panic, or show what only we and the gateway know.
    pub(crate) fn of(output: &Output) -> Self {
        let said = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        };
        for never in ["panicked", SECRET, TOKEN] {
            assert!(
                !said.out.contains(never) && !said.err.contains(never),
                "`{never}` in {said:?}"
            );
        }
        said
    }

    /// It ended well and had data for us.
    pub(crate) fn data(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.data()).unwrap()
    }

    /// It ended with `code` and printed no data: the words on standard error.
    pub(crate) fn refusal(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        self.err
    }
}

/// The commands with a configuration of their own.
pub(crate) struct Shell {
    pub(crate) config: PathBuf,
    environment: Vec<(&'static str, String)>,
    pub(crate) directory: tempfile::TempDir,
}

impl Shell {
    /// The standard endpoint and `toml`, over a database that cannot be reached.
    pub(crate) fn new(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = helpers::write_configuration(directory.path(), Some(NOWHERE), toml);
        Self {
            config,
            environment: Vec::new(),
            directory,
        }
    }

    /// As [`Shell::new`]; the environment names the database, which goes before the configuration's.
    pub(crate) fn over(database: &TestDatabase, toml: &str) -> Self {
        Self::new(toml).with("DATABASE_URL", &database.url())
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// A configuration of exactly this text.
    pub(crate) fn exactly(text: &str) -> Self {
        let shell = Self::new("");
        std::fs::write(&shell.config, text).unwrap();
        shell
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = smshook(&["--config", self.config.to_str().unwrap()]);
        command
            .args(arguments)
            .env_remove("SMSHOOK_CONFIG")
            .envs(self.environment.clone())
            .current_dir(self.directory.path());
        command
    }

    /// Off the test's own thread, which may be serving the very requests of the command.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        output(self.command(arguments)).await
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

async fn output(mut command: Command) -> Said {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await;
    Said::of(&output.unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every one of `lines` is a line of `shown`, whatever the widths of its columns.
fn assert_lines(shown: &str, lines: &[&str]) {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for line in lines {
        assert!(shown.lines().any(|is| words(is) == words(line)), "{line}\n\n{shown}");
    }
}

/// The columns of a table's data rows.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect()
}

// check

#[tokio::test]
async fn check_reports_every_problem_at_once_with_its_line_its_column_and_a_caret() {
    let shell = Shell::exactly(&format!(
        "[server]\nlisten = \"nonsense\"\ncolour = \"red\"\n\
         [[endpoint]]\nname = \"main\"\npath = \"hooks\"\ngateway = \"nobody\"\nsecrets = [\"{SECRET}\"]\n\
         reply = {{ token = \"{TOKEN}\" }}\n\
         [[rule]]\nname = \"hours\"\nregex = \"(\"\nactions = [\"missing\"]\n"
    ));
    let said = shell.run(&["check"]).await.refusal(1);
    for (problem, place) in [
        (
            "`nonsense` is not an address",
            "2:10\n  |\n2 | listen = \"nonsense\"\n  |          ^^^^^^^^^^\n",
        ),
        ("unknown key `colour`", "3:1\n  |\n3 | colour = \"***\"\n  | ^^^^^^\n"),
        (
            "not a plain path",
            "6:8\n  |\n6 | path = \"hooks\"\n  |        ^^^^^^^\n",
        ),
        (
            "no gateway `nobody`",
            "7:11\n  |\n7 | gateway = \"nobody\"\n  |           ^^^^^^^^\n",
        ),
        (
            "not a regular expression",
            "12:9\n   |\n12 | regex = \"(\"\n   |         ^^^\n",
        ),
        (
            "no action `missing`",
            "13:12\n   |\n13 | actions = [\"missing\"]\n   |            ^^^^^^^^^\n",
        ),
    ] {
        assert!(said.contains(problem), "{problem}: {said}");
        assert!(said.contains(&format!("config.toml:{place}help: ")), "{place}: {said}");
    }
    assert_eq!(said.matches("\nerror: ").count() + 1, 6, "{said}");
}

#[tokio::test]
async fn check_lists_what_is_likely_not_meant_and_still_says_yes() {
    let never = "[[rule]]\nname = \"after\"\nany = true\nactions = [\"note\"]\n";
    let said = Shell::new(&format!("{NOTES}{never}")).run(&["check"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("1 endpoint, 1 action, 2 rules, 3 warnings"),
        "{said:?}"
    );
    assert!(
        said.err.contains("warning: a secret stands in the configuration"),
        "{said:?}"
    );
    assert!(said.err.contains("warning: this rule is never reached"), "{said:?}");
    assert!(!said.out.contains("warning:"), "warnings are no data: {said:?}");
}

#[tokio::test]
async fn check_is_loud_about_an_endpoint_that_only_observes_and_shows_the_url_that_is_signed() {
    let endpoint = "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"twilio\"\nmode = \"observe\"\n\
                    public_url = \"https://SMS.example.com:443/sms\"\n";
    let said = Shell::new(&format!("{endpoint}{NOTES}")).run(&["check"]).await;
    let (out, err) = (&said.out, &said.err);
    assert_eq!(said.code, Some(0), "{out}{err}");
    assert!(err.contains("warning: THIS ENDPOINT ONLY OBSERVES: "), "{err}");
    assert!(
        out.contains(
            "endpoint `main`: Twilio at https://SMS.example.com:443/sms, no secret yet, cannot reply, ONLY OBSERVES: what \
             does not verify is stored\n"
        ),
        "{out}"
    );
}

#[tokio::test]
async fn check_is_silent_about_a_configuration_that_has_nothing_wrong() {
    let endpoint = "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\n\
                    secrets = [{ env = \"SOME_SECRET\" }]\n";
    let shell = Shell::exactly(&format!("{endpoint}{NOTES}"));
    let without = shell.run(&["check"]).await.refusal(1);
    assert!(
        without.contains("the environment variable `SOME_SECRET` is not set"),
        "{without}"
    );
    let said = shell.with("SOME_SECRET", SECRET).run(&["check"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.contains("no warnings"), "{said:?}");
    assert!(
        said.out.contains("secret from env SOME_SECRET, cannot reply"),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_configuration_is_the_one_named_else_the_one_of_the_environment_else_the_one_at_hand() {
    let at_hand = Shell::new(NOTES);
    let bare = |environment: Option<&Path>| {
        let mut command = smshook(&["check"]);
        command
            .current_dir(at_hand.directory.path())
            .env_remove("SMSHOOK_CONFIG");
        environment.map(|path| command.env("SMSHOOK_CONFIG", path));
        output(command)
    };
    assert!(
        bare(None)
            .await
            .data()
            .starts_with("config.toml can be used: 1 endpoint, 1 action")
    );
    let elsewhere = Shell::new("");
    let named = bare(Some(&elsewhere.config)).await.data();
    assert!(
        named.starts_with(&format!("{} can be used", elsewhere.config.display())),
        "{named}"
    );
    let both = at_hand
        .command(&["check"])
        .env("SMSHOOK_CONFIG", "/nowhere/at/all")
        .output();
    assert_eq!(Said::of(&both.unwrap()).code, Some(0));
    let missing = bare(Some(Path::new("/nowhere/at/all"))).await.refusal(1);
    assert!(missing.contains("`/nowhere/at/all` cannot be read"), "{missing}");
}

// what is typed

#[tokio::test]
async fn what_no_command_understands_is_wrong_usage_and_touches_nothing() {
    let shell = Shell::new(NOTES);
    for wrong in [
        &["frobnicate"][..],
        &["check", "--frobnicate"],
        &["rules"],
        &["rules", "test"],
        &["rules", "test", "hi", "--endpoint", "nobody"],
        &["jobs", "list", "--state", "frobbed"],
        &["jobs", "list", "--limit", "0"],
        &["jobs", "show", "one"],
        &["jobs", "retry"],
        &["messages", "show", "1"],
        &["send"],
        &["send", "--text", "hi", "--copies", "0"],
        &["send", "--text", "hi", "--url", "hooks/sms"],
        &["verify", "--body", "-"],
        &["verify", "--body", "-", "--header", "no colon"],
        &["completions", "a-shell-of-my-own"],
    ] {
        let said = shell.run(wrong).await.refusal(2);
        assert!(
            said.starts_with("error: ") || said.contains("Usage: "),
            "{wrong:?}: {said}"
        );
    }
}

#[tokio::test]
async fn the_help_is_data_and_names_every_command() {
    let help = output(smshook(&["--help"])).await.data();
    for command in [
        "serve",
        "check",
        "send",
        "verify",
        "rules",
        "jobs",
        "messages",
        "opt-outs",
        "migrate",
        "healthcheck",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    let version = output(smshook(&["--version"])).await.data();
    assert_eq!(version, format!("smshook {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_completion_script_knows_the_commands_of_each_shell() {
    let script = output(smshook(&["completions", "bash"])).await.data();
    assert!(script.contains("complete -F _smshook"), "{script}");
    assert!(script.contains("opt-outs"), "{script}");
    for shell in ["zsh", "fish"] {
        assert!(
            output(smshook(&["completions", shell]))
                .await
                .data()
                .contains("healthcheck")
        );
    }
}

#[tokio::test]
async fn a_reader_who_has_read_enough_is_no_reason_to_complain() {
    let intake = Intake::start(NOTES).await;
    intake.text(PERSON, "hi").await;
    let shell = Shell::over(&intake.database, NOTES);
    for arguments in [
        &["--help"][..],
        &["completions", "bash"],
        &["check"],
        &["rules", "test", "hi"],
        &["jobs", "list"],
        &["jobs", "list", "--json"],
    ] {
        let said = closed(shell.command(arguments)).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    }
}

#[tokio::test]
async fn data_that_cannot_be_written_is_an_error() {
    let shell = Shell::new(NOTES);
    let mut command = shell.command(&["rules", "test", "hi"]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = command.stdout(full).output().unwrap();
    let said = Said::of(&ended).refusal(1);
    assert!(
        said.contains("error: writing to standard output: No space left"),
        "{said}"
    );
}

/// Runs it with nobody at the other end of its standard output.
async fn closed(mut command: Command) -> Said {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output().unwrap());
    Said::of(&ended.await.unwrap())
}

#[tokio::test]
async fn a_command_that_changes_something_finishes_though_nobody_reads_what_it_says() {
    let intake = Intake::start(NOTES).await;
    for _ in 0..3 {
        intake.text(PERSON, "hi").await;
    }
    let shell = Shell::over(&intake.database, NOTES);
    let table = shell.run(&["jobs", "list"]).await.data();
    let ids: Vec<&str> = rows(&table).iter().map(|row| row[0]).collect();
    let said = closed(shell.command(&[&["jobs", "discard"], ids.as_slice()].concat())).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let cancelled = "SELECT count(*) FROM v1.jobs WHERE state = 'cancelled'";
    assert_eq!(helpers::count(intake.pool(), cancelled).await, 3);
    let said = closed(shell.command(&[&["jobs", "retry", "9999"], ids.as_slice()].concat())).await;
    assert_eq!(said.code, Some(1), "one of them is not there: {said:?}");
    assert_eq!(helpers::count(intake.pool(), cancelled).await, 0);
}

// rules test

/// Rules of every kind, answering and posting to `fake`.
fn rules(fake: &Fake) -> String {
    format!(
        r#"{endpoint}
[action.hours]
reply = {{ text = "We are open. You wrote: {{{{ text }}}}" }}
[action.note]
log = {{ message = "{{{{ sender }}}} ordered {{{{ m.number }}}} of {{{{ m.1 }}}}" }}
[action.crm.http]
url = "{url}"
json = {{ order = "{{{{ m.number }}}}" }}
headers = {{ Authorization = "Bearer {TOKEN}", "X-Api-Key" = "{TOKEN}", "X-Source" = "sms" }}
allow_private = ["127.0.0.0/8"]
allow_http = true
[[rule]]
name = "robots"
any = true
from = ["short"]
actions = ["hours"]
[[rule]]
name = "hours"
exact = ["hours", "open"]
actions = ["hours"]
[[rule]]
name = "order"
regex = 'order (?<number>\d+)'
actions = ["crm", "note"]
[[rule]]
name = "rest"
any = true
actions = ["hours"]
"#,
        endpoint = helpers::replying_endpoint(fake),
        url = fake.url("/crm"),
    )
}

#[tokio::test]
async fn a_tried_text_shows_the_rule_the_reasons_and_the_reply_and_sends_nothing() {
    let fake = Fake::start().await;
    let shell = Shell::new(&rules(&fake)).with("DATABASE_URL", NOWHERE);
    let said = shell.run(&["rules", "test", "Hours?"]).await;
    assert!(
        said.err
            .contains("note: whether the sender has opted out is only known to the database"),
        "{said:?}"
    );
    let shown = said.data();
    let lines = [
        "consent says nothing about consent",
        "rule hours",
        "robots any text is for other senders",
        "hours exact `hours` or `open` matched",
        "order regex `order (?<number>\\d+)` not tried: an earlier rule matched",
        "rest any text not tried: an earlier rule matched",
        "would run `hours` of rule `hours`, sends to the sender",
        "    We are open. You wrote: Hours?",
        "    authorization: Bearer ***",
    ];
    assert_lines(&shown, &lines);
    assert_eq!(fake.asked().len(), 0, "a trial sends nothing");
}

#[tokio::test]
async fn a_tried_text_shows_what_the_regex_found_in_the_request_and_the_line() {
    let fake = Fake::start().await;
    let shell = Shell::new(&rules(&fake));
    let shown = shell
        .run(&["rules", "test", "order 42 please", "--from", "+12025550199"])
        .await
        .data();
    let lines = [
        "hours exact `hours` or `open` the text does not match",
        "order regex `order (?<number>\\d+)` matched",
        "would run `crm` of rule `order`",
        &format!("    POST {}", fake.url("/crm")),
        "      \"order\": \"42\"",
        "would run `note` of rule `order`",
        "    records: +12025550199 ordered 42 of 42",
        "    x-source: sms",
        // written into the configuration as plain text
        "    authorization: ***",
        "    x-api-key: ***",
    ];
    assert_lines(&shown, &lines);
    let report = shell.run(&["rules", "test", "order 42 please", "--json"]).await.json();
    assert_eq!(report["rule"], "order");
    assert_eq!(report["jobs"][0]["captures"]["number"], "42", "{report}");
    assert_eq!(report["rules"][1]["matched"], false);
    assert_eq!(fake.asked().len(), 0, "a trial sends nothing");
}

#[tokio::test]
async fn a_tried_opt_out_shows_its_tier_its_keyword_the_confirmation_and_the_reply_it_prevents() {
    let fake = Fake::start().await;
    let shell = Shell::new(&rules(&fake));
    let shown = shell.run(&["rules", "test", "STOP"]).await.data();
    for part in [
        "consent   opt-out, tier 1, keyword `stop`\n",
        "would run `opt_out_confirmation`, sends to the sender\n    You have been unsubscribed",
        "would leave out `hours` of rule `rest`: the sender opts out with this message",
    ] {
        assert!(shown.contains(part), "{part}\n\n{shown}");
    }
    let report = shell.run(&["rules", "test", "stop texting me", "--json"]).await.json();
    assert_eq!(report["consent"]["event"], "opt_out", "{report}");
    assert!(report["consent"]["tier"].as_i64().unwrap() > 1, "{report}");
    let back = shell.run(&["rules", "test", "START", "--json"]).await.json();
    assert_eq!(back["consent"]["event"], "opt_in", "{back}");
}

#[tokio::test]
async fn a_tried_text_of_a_short_code_gets_no_reply_and_says_so() {
    let fake = Fake::start().await;
    let shown = Shell::new(&rules(&fake))
        .run(&["rules", "test", "hours", "--from", "12345"])
        .await
        .data();
    assert!(shown.contains("sender    12345 (short)"), "{shown}");
    assert!(
        shown.contains("would leave out `hours` of rule `robots`: the sender is not a number that can be answered"),
        "{shown}"
    );
    assert!(!shown.contains("would run"), "{shown}");
}

// verify

const CAPTURED: &str = r#"{"event":"message.received","from":"15551230001","to":"15550009999","text":"hi"}"#;

fn verifying() -> Shell {
    let endpoint = "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\n\
                    secrets = [{ env = \"SOME_SECRET\" }]\n";
    Shell::new(endpoint).with("SOME_SECRET", SECRET)
}

/// Runs `verify` on a captured delivery; the digest that would be right for these bytes must not be said.
async fn verify(headers: &[String], body: &str) -> Said {
    let shell = verifying();
    let file = shell.file("delivery.json", body.as_bytes());
    let mut arguments = vec!["verify", "--body", text(&file)];
    for header in headers {
        arguments.extend(["--header", header]);
    }
    let said = shell.run(&arguments).await;
    let everything = format!("{}{}", said.out, said.err).to_lowercase();
    for signed in [body, CAPTURED] {
        let right = signature(SECRET, signed.as_bytes());
        let digest = right.strip_prefix("sha256=").unwrap();
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(hex::decode(digest).unwrap());
        assert!(!everything.contains(digest), "{said:?}");
        assert!(!everything.contains(&base64.to_lowercase()), "{said:?}");
    }
    said
}

fn signed(header: &str, body: &str) -> String {
    format!("{header}: {}", signature(SECRET, body.as_bytes()))
}

#[tokio::test]
async fn a_genuine_delivery_verifies_and_the_source_of_its_secret_is_named() {
    let said = verify(&[signed("X-MAC-Signature", CAPTURED)], CAPTURED).await;
    assert_eq!(said.err, "", "{said:?}");
    let out = said.data();
    assert_eq!(
        out,
        "the signature is right: it was made with env SOME_SECRET over these bytes\n"
    );
    // the same from a pipe
    let shell = verifying();
    let body = std::fs::File::open(shell.file("piped", CAPTURED.as_bytes())).unwrap();
    let mut command = shell.command(&["verify", "-H", &signed("x-mac-signature", CAPTURED), "--body", "-"]);
    command.stdin(body);
    assert_eq!(output(command).await.data(), out);
}

/// The delivery does not verify: what was found, on standard output, and the hint beside it.
async fn explained(headers: &[String], body: &str, finding: &str, hint: &str) {
    let said = verify(headers, body).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains(finding), "{finding}: {said:?}");
    assert!(
        said.err.contains("hint: ") && said.err.contains(hint),
        "{hint}: {said:?}"
    );
}

#[tokio::test]
async fn a_signature_of_another_secret_is_told_from_the_known_mistakes() {
    let other = format!("X-MAC-Signature: {}", signature("another secret", CAPTURED.as_bytes()));
    explained(
        &[other],
        CAPTURED,
        "no known mistake explains the signature",
        "copy the secret from the gateway",
    )
    .await;
}

#[tokio::test]
async fn a_signature_made_with_a_line_end_after_the_secret_is_recognised() {
    let untrimmed = format!(
        "X-MAC-Signature: {}",
        signature(&format!("{SECRET}\n"), CAPTURED.as_bytes())
    );
    explained(
        &[untrimmed],
        CAPTURED,
        "a line end after the secret",
        "correct the secret where it is configured",
    )
    .await;
}

#[tokio::test]
async fn a_delivery_without_its_signature_names_the_headers_that_were_looked_for() {
    let headers = ["Content-Type: application/json".to_owned()];
    let expected = "there is no header x-mac-signature or x-webhook-signature";
    explained(&headers, CAPTURED, expected, "a proxy that drops unknown headers").await;
}

#[tokio::test]
async fn a_signature_under_another_name_is_found_there() {
    let headers = [signed("X-Hub-Signature-256", CAPTURED)];
    let found = "the header x-hub-signature-256 looks like a signature";
    explained(&headers, CAPTURED, found, "pass every header").await;
}

#[tokio::test]
async fn a_signature_in_upper_case_says_so() {
    let digest = signature(SECRET, CAPTURED.as_bytes())
        .replace("sha256=", "")
        .to_uppercase();
    let headers = [format!("X-MAC-Signature: sha256={digest}")];
    let found = "its hexadecimal digits are in upper case";
    explained(
        &headers,
        CAPTURED,
        found,
        "the gateway signs otherwise than its file says",
    )
    .await;
}

#[tokio::test]
async fn a_body_that_got_a_line_end_says_so() {
    let headers = [signed("X-MAC-Signature", CAPTURED)];
    let found = "the body without the blanks or line ends around it";
    explained(&headers, &format!("{CAPTURED}\n"), found, "an editor adds a line end").await;
}

#[tokio::test]
async fn a_body_that_was_formatted_on_the_way_says_so() {
    let headers = [signed("X-MAC-Signature", CAPTURED)];
    let formatted = CAPTURED.replace(':', ": ").replace(',', ",\n  ");
    explained(
        &headers,
        &formatted,
        "the body as compact JSON",
        "smshook has to get the bytes as the gateway sent",
    )
    .await;
    // keys in another order cannot be put back, but the body is suspected
    let reordered = r#"{"text":"hi","event":"message.received","from":"15551230001","to":"15550009999"}"#;
    explained(
        &headers,
        reordered,
        "or the body is not as it was sent",
        "capture the body before anything parses it",
    )
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_an_error_and_not_an_answer() {
    let said = verifying()
        .run(&["verify", "-H", "x-mac-signature: 00", "--body", "/nowhere/at/all"])
        .await;
    let said = said.refusal(1);
    assert!(
        said.starts_with("error: reading the body from `/nowhere/at/all`: "),
        "{said}"
    );
}

// send

#[tokio::test]
async fn a_sample_goes_the_whole_way_and_its_copy_is_a_duplicate() {
    let app = App::start(NOTES).await;
    let shell = Shell::new(&format!("{NOTES}[server]\nlisten = \"{}\"\n", app.address()));
    let said = shell
        .run(&[
            "send",
            "--text",
            "say \"hi\"",
            "--from",
            "+15551230001",
            "--copies",
            "2",
        ])
        .await
        .data();
    let answers: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line.strip_prefix("200 ").unwrap()).unwrap())
        .collect();
    assert_eq!(answers.len(), 2, "{said}");
    assert_eq!(
        (&answers[0]["status"], &answers[1]["status"]),
        (&json!("stored"), &json!("duplicate"))
    );
    assert_eq!(answers[0]["id"], answers[1]["id"]);
    let stored: Vec<(String, String, i32)> = sqlx::query_as("SELECT sender, text, duplicates FROM v1.messages")
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert_eq!(stored, [("+15551230001".to_owned(), "say \"hi\"".to_owned(), 1)]);
}

#[tokio::test]
async fn a_sample_that_is_refused_says_what_to_look_at() {
    let app = App::start(NOTES).await;
    let shell = Shell::new(NOTES);
    let url = |path: &str| format!("http://{}{path}", app.address());
    let wrong_path = shell.run(&["send", "--text", "hi", "--url", &url("/hooks")]).await;
    assert_eq!(wrong_path.code, Some(1), "{wrong_path:?}");
    assert!(wrong_path.out.starts_with("404"), "{wrong_path:?}");
    assert!(
        wrong_path.err.contains("hint: the running service has another path"),
        "{wrong_path:?}"
    );
    let stranger = format!(
        "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"not {SECRET}\"]\n"
    );
    let refused = Shell::new(&stranger)
        .run(&["send", "--text", "hi", "--url", &url("/hooks/sms")])
        .await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.out.starts_with("401"), "{refused:?}");
    assert!(
        refused.err.contains("hint: the running service has another secret"),
        "{refused:?}"
    );
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 0);
}

/// An address at which nobody listens.
fn nobody() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn a_sample_to_nobody_says_where_it_went_and_what_to_start() {
    let address = nobody();
    let shell = Shell::new(&format!("[server]\nlisten = \"{address}\"\n"));
    let said = shell.run(&["send", "--text", "hi"]).await.refusal(1);
    assert!(
        said.contains(&format!(
            "error: sending to `http://{address}/hooks/sms`: Connection refused"
        )),
        "{said}"
    );
    assert!(said.contains("hint: is the service running?"), "{said}");
}

// jobs

/// Two notes and one request to `fake` for each text.
fn working(fake: &Fake) -> String {
    format!(
        "[action.crm.http]\nurl = \"{}\"\njson = {{ text = \"{{{{ text }}}}\" }}\n\
         allow_private = [\"127.0.0.0/8\"]\nallow_http = true\n\
         [action.note]\nlog = {{ message = \"a text\" }}\n\
         [[rule]]\nname = \"rest\"\nany = true\nactions = [\"crm\", \"note\"]\n",
        fake.url("/crm")
    )
}

#[tokio::test]
async fn jobs_are_listed_as_a_table_and_as_json_and_each_filter_narrows() {
    let fake = Fake::start().await;
    fake.then(Fake::status(400));
    let app = App::start(&working(&fake)).await;
    let first = app.text(PERSON, "one").await.json()["id"].as_str().unwrap().to_owned();
    app.all_jobs_ended().await;
    app.text(PERSON, "two").await;
    app.all_jobs_ended().await;
    let shell = Shell::over(&app.database, &working(&fake));
    let table = shell.run(&["jobs", "list"]).await.data();
    assert!(
        table.starts_with("id  state      action  attempt  created               message"),
        "{table}"
    );
    let all = rows(&table);
    let ids: Vec<i64> = all.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.is_sorted_by(|one, next| one > next), "the newest first: {ids:?}");
    let data = shell.run(&["jobs", "list", "--json"]).await.json();
    let of_json: Vec<i64> = data
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_i64().unwrap())
        .collect();
    assert_eq!(of_json, ids);
    for (filter, expected) in [
        (&["--state", "discarded"][..], 1),
        (&["--state", "done"], 3),
        (&["--state", "running"], 0),
        (&["--action", "crm"], 2),
        (&["--message", &first], 2),
        (&["--message", &first, "--action", "note"], 1),
        (&["--limit", "3"], 3),
    ] {
        let data = shell.run(&[&["jobs", "list", "--json"], filter].concat()).await.json();
        assert_eq!(data.as_array().unwrap().len(), expected, "{filter:?}: {data}");
    }
    let none = shell.run(&["jobs", "list", "--state", "waiting"]).await;
    assert_eq!(
        (none.code, none.out.as_str(), none.err.as_str()),
        (Some(0), "", "no such jobs\n")
    );
}

#[tokio::test]
async fn a_discarded_job_shows_why_is_run_again_on_request_and_only_then() {
    let fake = Fake::start().await;
    fake.then(Fake::status(400));
    let app = App::start(&working(&fake)).await;
    app.text(PERSON, "one").await;
    app.all_jobs_ended().await;
    let shell = Shell::over(&app.database, &working(&fake));
    let discarded = shell
        .run(&["jobs", "list", "--json", "--state", "discarded"])
        .await
        .json();
    let id = discarded[0]["id"].to_string();
    let shown = shell.run(&["jobs", "show", &id]).await.data();
    for part in ["state     discarded", "action    crm", "rule      rest", "400"] {
        assert!(shown.contains(part), "{part}\n\n{shown}");
    }
    let data = shell.run(&["jobs", "show", &id, "--json"]).await.json();
    assert_eq!(data["job"]["state"], "discarded");
    assert_eq!(data["attempts"].as_array().unwrap().len(), 1);
    assert!(data["attempts"][0]["error"].as_str().unwrap().contains("400"), "{data}");

    assert_eq!(
        shell.run(&["jobs", "retry", &id]).await.data(),
        format!("job {id} will run again\n")
    );
    app.all_jobs_ended().await;
    assert_eq!(fake.asked().len(), 2);
    let done = shell.run(&["jobs", "show", &id, "--json"]).await.json();
    assert_eq!(
        (&done["job"]["state"], done["attempts"].as_array().unwrap().len()),
        (&json!("done"), 2)
    );
    let again = shell.run(&["jobs", "retry", &id]).await.refusal(1);
    assert!(again.contains("is neither discarded nor cancelled"), "{again}");
    app.all_jobs_ended().await;
    assert_eq!(fake.asked().len(), 2, "a job that is done does not run again");
}

#[tokio::test]
async fn a_job_that_waits_can_be_given_up_with_a_reason_and_what_is_not_there_is_told() {
    let intake = Intake::start(NOTES).await;
    intake.text(PERSON, "hi").await;
    let shell = Shell::over(&intake.database, NOTES);
    let said = shell
        .run(&["jobs", "discard", "1", "99", "--reason", "typed by mistake"])
        .await;
    assert_eq!(said.code, Some(1), "one of them is not there: {said:?}");
    assert_eq!(said.out, "job 1 is cancelled\n");
    assert!(said.err.contains("job 99 is not there"), "{said:?}");
    let shown = shell.run(&["jobs", "show", "1"]).await.data();
    assert!(
        shown.contains("state     cancelled\nreason    typed by mistake\n"),
        "{shown}"
    );
    let listed = shell
        .run(&["jobs", "list", "--json", "--state", "cancelled"])
        .await
        .json();
    assert_eq!(listed[0]["id"], 1, "the words are those of the states: {listed}");
    let again = shell.run(&["jobs", "discard", "1"]).await.refusal(1);
    assert!(again.contains("has ended already"), "{again}");
    let missing = shell.run(&["jobs", "show", "99"]).await.refusal(1);
    assert!(
        missing.contains("error: there is no job 99\n\nhint: `smshook jobs list`"),
        "{missing}"
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error_that_says_which_setting_to_look_at() {
    let said = Shell::new(NOTES).run(&["jobs", "list"]).await.refusal(1);
    assert!(said.starts_with("error: the database cannot be reached"), "{said}");
    assert!(
        said.contains("hint: is the database running, and is `database.url` (or DATABASE_URL) right?"),
        "{said}"
    );
}

// messages

/// Answers every text through `fake`.
fn answering(fake: &Fake) -> String {
    format!(
        "{}[action.answer]\nreply = {{ text = \"hello\" }}\n[[rule]]\nname = \"rest\"\nany = true\nactions = [\"answer\"]\n",
        helpers::replying_endpoint(fake)
    )
}

#[tokio::test]
async fn a_message_is_shown_with_its_jobs_and_what_the_gateway_reported() {
    let fake = Fake::start().await;
    let toml = answering(&fake);
    let app = App::start(&toml).await;
    let body = sms(PERSON, "are you\u{1b}[2J there?");
    let id = app.deliver(&body.to_string()).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(app.deliver(&body.to_string()).await.json()["status"], "duplicate");
    app.all_jobs_ended().await;
    let reference = fake.asked()[0].json()["ref"].clone();
    app.deliver(&json!({ "event": "message.delivered", "ref": reference }).to_string())
        .await;
    let shell = Shell::over(&app.database, &toml);
    let shown = shell.run(&["messages", "show", &id]).await.data();
    for part in [
        "from             +12025550143\n",
        "to               +15550009999\n",
        "duplicates       1\n",
        "rule             rest\n",
        "\n  are you [2J there?\n",
        "answer",
        "message.delivered",
    ] {
        assert!(shown.contains(part), "{part}\n\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "a stranger steers the terminal: {shown}");
    let data = shell.run(&["messages", "show", &id, "--json"]).await.json();
    assert_eq!(data["message"]["id"], json!(id));
    assert_eq!(data["jobs"][0]["state"], "done");
    assert_eq!(data["events"][0]["kind"], "message.delivered");
    assert_eq!(data["events"][0]["job_id"], data["jobs"][0]["id"]);
    let nobody = uuid::Uuid::nil().to_string();
    let missing = shell.run(&["messages", "show", &nobody]).await.refusal(1);
    assert!(missing.contains("there is no message"), "{missing}");
}

/// An endpoint whose gateway is described by the operator, the text at `pointer`.
fn own_gateway(pointer: &str) -> String {
    format!(
        "[gateway.custom]\nnumbers = \"e164_no_plus\"\n\
         signature = {{ headers = [\"X-MAC-Signature\"], prefix = \"sha256=\", encoding = \"hex\", algorithm = \"hmac-sha256\" }}\n\
         message = {{ from = \"/from\", to = \"/to\", text = \"{pointer}\" }}\n\
         [[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"custom\"\nsecrets = [\"{SECRET}\"]\n{NOTES}"
    )
}

async fn quarantined(app: &App, body: &Value) -> String {
    let answer = app.deliver(&body.to_string()).await;
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (200, Some("quarantined"))
    );
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_mended_mapping_admits_what_was_quarantined_once_and_leaves_what_is_still_unreadable() {
    let app = App::start(&own_gateway("/body")).await;
    let readable = quarantined(&app, &json!({ "from": PERSON, "to": "15550009999", "text": "hi" })).await;
    let stop = quarantined(
        &app,
        &json!({ "from": "12025550199", "to": "15550009999", "text": "STOP" }),
    )
    .await;
    let unreadable = quarantined(&app, &json!({ "from": PERSON, "to": "15550009999", "message": "hi" })).await;
    let shown = Shell::over(&app.database, &own_gateway("/body"))
        .run(&["messages", "show", &readable])
        .await
        .data();
    assert!(shown.contains("reason") && !shown.contains("admitted"), "{shown}");
    let unmended = Shell::over(&app.database, &own_gateway("/body"))
        .run(&["messages", "replay"])
        .await
        .refusal(1);
    assert_eq!(unmended.matches("still cannot be read").count(), 3, "{unmended}");

    let shell = Shell::over(&app.database, &own_gateway("/text"));
    let said = shell.run(&["messages", "replay"]).await;
    assert_eq!(said.code, Some(1), "one is still unreadable: {said:?}");
    assert!(
        said.err.contains(&format!("{unreadable}: still cannot be read: ")),
        "{said:?}"
    );
    assert!(said.err.contains("hint: correct the gateway's file"), "{said:?}");
    let admitted: Vec<&str> = said.out.lines().collect();
    assert_eq!(admitted.len(), 2, "{said:?}");
    assert!(admitted[0].starts_with(&format!("{readable}: stored as ")), "{said:?}");
    assert!(admitted[1].starts_with(&format!("{stop}: stored as ")), "{said:?}");
    app.all_jobs_ended().await;
    let (_, message) = admitted[0].split_once(" as ").unwrap();
    let data = shell.run(&["messages", "show", message, "--json"]).await.json();
    assert_eq!(
        (&data["message"]["text"], &data["jobs"][0]["state"]),
        (&json!("hi"), &json!("done"))
    );
    let entry = shell.run(&["messages", "show", &readable, "--json"]).await.json();
    assert_eq!(entry["quarantined"]["admitted_as"], json!(message));
    assert_eq!(
        app.count("SELECT count(*) FROM v1.opt_outs WHERE number = '+12025550199'")
            .await,
        1
    );

    let jobs = app.count("SELECT count(*) FROM v1.jobs").await;
    let again = shell.run(&["messages", "replay"]).await.refusal(1);
    assert!(again.contains(&unreadable) && !again.contains(&readable), "{again}");
    let by_id = shell.run(&["messages", "replay", &readable]).await.refusal(1);
    assert!(
        by_id.contains(&format!("no delivery {readable} is in quarantine")),
        "{by_id}"
    );
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 2);
    assert_eq!(app.count("SELECT count(*) FROM v1.jobs").await, jobs);
}

#[tokio::test]
async fn an_empty_quarantine_is_nothing_to_complain_about() {
    let database = TestDatabase::new().await;
    let shell = Shell::over(&database, NOTES);
    for replay in [&["messages", "replay"][..], &["messages", "replay", "--all"]] {
        let said = shell.run(replay).await;
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (Some(0), "", "nothing is in quarantine\n")
        );
    }
}

// opt-outs

#[tokio::test]
async fn several_spellings_of_a_number_are_one_opt_out() {
    let database = TestDatabase::new().await;
    let shell = Shell::over(&database, NOTES);
    let none = shell.run(&["opt-outs", "list"]).await;
    assert_eq!(
        (none.code, none.out.as_str(), none.err.as_str()),
        (Some(0), "", "no opt-outs\n")
    );
    let added = shell
        .run(&["opt-outs", "add", "+1 (202) 555-0143", "--note", "asked by phone"])
        .await
        .data();
    assert_eq!(added, "+12025550143 will not be texted any more (group `main`)\n");
    for spelling in ["+12025550143", "12025550143", "1-202-555-0143", "001 202 555 0143"] {
        let said = shell.run(&["opt-outs", "add", spelling]).await.data();
        assert_eq!(said, "+12025550143 had opted out already (group `main`)\n");
    }
    let data = shell.run(&["opt-outs", "list", "--json"]).await.json();
    assert_eq!(data.as_array().unwrap().len(), 1, "{data}");
    let table = shell.run(&["opt-outs", "list"]).await.data();
    assert!(
        table.contains("+12025550143") && table.contains("asked by phone"),
        "{table}"
    );

    let removed = shell.run(&["opt-outs", "remove", "1 202 555 0143"]).await.data();
    assert_eq!(removed, "+12025550143 may be texted again (group `main`)\n");
    let again = shell.run(&["opt-outs", "remove", "+12025550143"]).await.refusal(1);
    assert!(again.contains("has no opt-out in force"), "{again}");
    assert_eq!(shell.run(&["opt-outs", "list", "--json"]).await.json(), json!([]));
    let ended = shell.run(&["opt-outs", "list", "--ended", "--json"]).await.json();
    assert_eq!(ended[0]["number"], "+12025550143");
    assert!(ended[0]["opted_in_at"].is_string(), "{ended}");
    let name = shell.run(&["opt-outs", "add", "AMAZON"]).await.refusal(2);
    assert!(name.contains("`AMAZON` is not a number"), "{name}");
}

#[tokio::test]
async fn a_number_opted_out_by_hand_gets_no_reply_even_if_its_job_is_retried_until_it_is_lifted() {
    let fake = Fake::start().await;
    let app = App::start(&answering(&fake)).await;
    let shell = Shell::over(&app.database, &answering(&fake));
    shell.run(&["opt-outs", "add", "+1 (202) 555-0143"]).await.data();
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    let cancelled = shell
        .run(&["jobs", "list", "--json", "--state", "cancelled"])
        .await
        .json();
    assert_eq!(cancelled.as_array().unwrap().len(), 1, "{cancelled}");
    let id = cancelled[0]["id"].to_string();
    shell.run(&["jobs", "retry", &id]).await.data();
    app.all_jobs_ended().await;
    let again = shell.run(&["jobs", "show", &id, "--json"]).await.json();
    assert_eq!(again["job"]["state"], "cancelled", "{again}");
    assert_eq!(fake.asked().len(), 0, "whoever opted out gets nothing");

    shell.run(&["opt-outs", "remove", PERSON]).await.data();
    app.text(PERSON, "hi again").await;
    app.all_jobs_ended().await;
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn an_opt_out_by_hand_cancels_the_reply_that_is_queued() {
    let fake = Fake::start().await;
    let intake = Intake::start(&answering(&fake)).await;
    intake.text(PERSON, "hi").await;
    intake.text("12025550199", "hi").await;
    let shell = Shell::over(&intake.database, &answering(&fake));
    shell.run(&["opt-outs", "add", "+12025550143"]).await.data();
    let data = shell.run(&["jobs", "list", "--json"]).await.json();
    let states: Vec<&str> = data
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["available", "cancelled"], "{data}");
    assert!(data[1]["reason"].as_str().unwrap().contains("opted out"), "{data}");
}

// migrate, healthcheck

#[tokio::test]
async fn a_schema_is_made_where_there_is_none_and_made_once() {
    let database = TestDatabase::new().await;
    sqlx::raw_sql("DROP SCHEMA smshook CASCADE; DROP SCHEMA v1 CASCADE; DROP TABLE _sqlx_migrations")
        .execute(&database.pool)
        .await
        .unwrap();
    let shell = Shell::over(&database, NOTES);
    let missing = shell.run(&["jobs", "list"]).await.refusal(1);
    assert!(missing.contains("hint: `smshook migrate`"), "{missing}");
    assert_eq!(missing.matches("does not exist").count(), 1, "{missing}");
    for _ in 0..2 {
        assert_eq!(shell.run(&["migrate"]).await.data(), "the schema is up to date\n");
    }
    assert_eq!(shell.run(&["jobs", "list", "--json"]).await.json(), json!([]));
}

#[tokio::test]
async fn two_migrations_at_once_do_not_meet() {
    let database = TestDatabase::new().await;
    sqlx::raw_sql("DROP SCHEMA smshook CASCADE; DROP SCHEMA v1 CASCADE; DROP TABLE _sqlx_migrations")
        .execute(&database.pool)
        .await
        .unwrap();
    let shell = Shell::over(&database, NOTES);
    let (one, other) = tokio::join!(shell.run(&["migrate"]), shell.run(&["migrate"]));
    assert_eq!((one.data(), other.data()).0, "the schema is up to date\n");
}

/// A configuration that looks for the admin listener at `address`.
fn watching(address: std::net::SocketAddr) -> Shell {
    let shell = Shell::new(NOTES);
    let text = std::fs::read_to_string(&shell.config).unwrap();
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"";
    assert!(text.contains(admin));
    std::fs::write(
        &shell.config,
        text.replace(admin, &format!("[admin]\nlisten = \"{address}\"")),
    )
    .unwrap();
    shell
}

#[tokio::test]
async fn a_health_check_is_silent_about_a_service_that_lives() {
    let app = App::start(NOTES).await;
    let said = watching(app.running.as_ref().unwrap().admin)
        .run(&["healthcheck"])
        .await;
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "", ""));
}

#[tokio::test]
async fn a_health_check_fails_where_nobody_listens_or_something_is_wrong() {
    let address = nobody();
    let said = watching(address).run(&["healthcheck"]).await.refusal(1);
    assert!(
        said.starts_with(&format!("error: asking `http://{address}/healthz`: Connection refused")),
        "{said}"
    );
    let fake = Fake::start().await;
    fake.always(Fake::status(500));
    let address = fake.url("").strip_prefix("http://").unwrap().parse().unwrap();
    let said = watching(address).run(&["healthcheck"]).await.refusal(1);
    assert!(said.contains("/healthz` answered 500"), "{said}");
    assert_eq!(fake.asked()[0].path, "/healthz");
}
