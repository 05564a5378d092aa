//! The SQL that others build on: the views' columns, the read-only role, and migrating in every circumstance.

use smshook::store::Store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};

use crate::helpers::{Intake, count};
use crate::testkit::TestDatabase;

/// Every column of every view with its type, in order. This is a contract: add to it, at the end of a view, and change
/// nothing else.
const COLUMNS: [(&str, &str); 14] = [
    (
        "attempts",
        "job_id int8, attempt int4, started_at timestamptz, finished_at timestamptz, outcome text, error text",
    ),
    (
        "consent_events",
        "id int8, event text, suppression_group text, number text, number_key text, source text, effect text, \
         opt_out_id int8, message_id uuid, endpoint text, recipient text, words text, keyword text, tier int2, \
         rules_version text, language text, verified bool, asked_at timestamptz, counts_from timestamptz, \
         recorded_at timestamptz, confirmation text, job_id int8, reference text, note text, erased_at timestamptz",
    ),
    (
        "conversations",
        "conversation_id uuid, sender text, recipient text, messages int8, first_received_at timestamptz, \
         last_received_at timestamptz",
    ),
    (
        "gateway_events",
        "id uuid, endpoint text, kind text, reference text, gateway_id text, occurred_at timestamptz, \
         received_at timestamptz, job_id int8, raw text, state text, error text, verified bool, opted_out bool, opt_out_recorded_at timestamptz",
    ),
    (
        "jobs",
        "id int8, message_id uuid, state text, kind text, action text, rule text, attempt int4, \
         run_at timestamptz, expires_at timestamptz, result jsonb, reason text, created_at timestamptz, \
         claimed_at timestamptz, finished_at timestamptz, conversation_id uuid, endpoint text",
    ),
    (
        "loop_guard",
        "id int8, conversation_id uuid, endpoint text, number text, guard text, detail text, tripped_at timestamptz, \
         clears_at timestamptz, withheld int4, last_withheld_at timestamptz, active bool",
    ),
    (
        "message_parts",
        "set_id uuid, part int2, total int2, endpoint text, verified bool, sender text, recipient text, text text, \
         sent_at timestamptz, received_at timestamptz, duplicates int4, message_id text, part_reference text, \
         opt_out_keyword text, due_at timestamptz, assembled_at timestamptz, raw text",
    ),
    (
        "messages",
        "id uuid, endpoint text, message_id text, conversation_id uuid, sender text, recipient text, text text, \
         sent_at timestamptz, received_at timestamptz, rule text, consent_event text, duplicates int4, raw text, \
         sender_raw text, recipient_raw text, consent_tier int2, consent_keyword text, \
         last_duplicate_at timestamptz, gateway_rules _text, reference text, device_id text, tenant_id text, \
         tenant_name text, verified bool, encrypted bool, media jsonb, missing_parts int2, consent_language text, \
         text_chars int4, text_removed_at timestamptz, erased_at timestamptz",
    ),
    (
        "notices",
        "id int8, webhook text, event_id int8, state text, attempt int4, run_at timestamptz, error text, \
         created_at timestamptz, finished_at timestamptz",
    ),
    (
        "opt_outs",
        "id int8, suppression_group text, number text, source text, message_id uuid, keyword text, tier int2, \
         note text, opted_out_at timestamptz, recorded_at timestamptz, opted_in_at timestamptz, \
         opted_in_source text, opted_in_message_id uuid, in_force bool, number_key text, \
         confirm_until timestamptz, confirm_spent_at timestamptz",
    ),
    (
        "paused_actions",
        "action text, reason text, paused_at timestamptz, trial_at timestamptz, failures int4",
    ),
    (
        "quarantine",
        "id uuid, endpoint text, reason text, received_at timestamptz, duplicates int4, admitted_at timestamptz, \
         admitted_as uuid, raw text, verified bool",
    ),
    (
        "refused",
        "id uuid, endpoint text, reason text, cause text, received_at timestamptz, duplicates int4, method text, \
         header_names _text, bytes int8, keep_until timestamptz, admitted_at timestamptz, admitted_as uuid, raw text",
    ),
    (
        "replies",
        "job_id int8, message_id uuid, conversation_id uuid, endpoint text, kind text, action text, send_to text, \
         reference text, gateway_message_id text, started_at timestamptz, state text, state_at timestamptz, \
         error text, job_state text",
    ),
];

#[tokio::test]
async fn the_views_have_the_columns_that_were_promised() {
    let database = TestDatabase::new().await;
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, string_agg(a.attname || ' ' || t.typname, ', ' ORDER BY a.attnum)
         FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         JOIN pg_type t ON t.oid = a.atttypid
         WHERE c.relnamespace = 'v1'::regnamespace GROUP BY c.relname ORDER BY c.relname",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let found: Vec<(&str, &str)> = found.iter().map(|(view, columns)| (&**view, &**columns)).collect();
    assert_eq!(found, COLUMNS);
}

#[tokio::test]
async fn every_schema_table_view_and_column_says_what_it_is() {
    let database = TestDatabase::new().await;
    let silent: Vec<String> = sqlx::query_scalar(
        "SELECT n.nspname::text FROM pg_namespace n
         WHERE n.nspname IN ('smshook', 'v1') AND obj_description(n.oid, 'pg_namespace') IS NULL
         UNION ALL
         SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace IN ('smshook'::regnamespace, 'v1'::regnamespace) AND c.relkind IN ('r', 'v')
           AND obj_description(c.oid, 'pg_class') IS NULL
         UNION ALL
         SELECT c.oid::regclass::text || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace IN ('smshook'::regnamespace, 'v1'::regnamespace) AND c.relkind IN ('r', 'v')
           AND a.attnum > 0 AND NOT a.attisdropped AND coalesce(col_description(c.oid, a.attnum), '') = ''",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(silent, Vec::<String>::new());
}

/// Relations of a schema, by kind.
async fn relations(pool: &PgPool, schema: &str) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, name) FROM (
             SELECT schemaname, tablename AS name FROM pg_tables UNION ALL SELECT schemaname, viewname FROM pg_views) r
         WHERE schemaname = $1 ORDER BY 1",
    )
    .bind(schema)
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<u64, Option<String>> {
    match sqlx::query(AssertSqlSafe(statement)).execute(connection).await {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) => {
            let database = error.into_database_error();
            Err(database.and_then(|error| error.code().map(std::borrow::Cow::into_owned)))
        }
    }
}

#[tokio::test]
async fn the_reader_reads_every_view_and_touches_nothing() {
    const REFUSED: &str = "42501";
    let intake = Intake::start(
        "[action.note]\nlog = { message = \"x\" }\n[[rule]]\nname = \"rest\"\nany = true\nactions = [\"note\"]",
    )
    .await;
    intake.text("15551230001", "hello").await;
    let views = relations(intake.pool(), "v1").await;
    let tables = relations(intake.pool(), "smshook").await;
    assert!(views.len() >= 11 && tables.len() >= 14, "{views:?} {tables:?}");
    let mut reader = intake.database.options().connect().await.unwrap();
    // also where the reader undoes the settings of its role
    execute(&mut reader, "SET ROLE smshook_read".to_owned()).await.unwrap();
    for view in &views {
        execute(&mut reader, format!("SELECT * FROM {view}"))
            .await
            .unwrap_or_else(|code| panic!("{view}: {code:?}"));
    }
    assert_eq!(
        execute(
            &mut reader,
            "SELECT raw FROM v1.messages WHERE raw LIKE '%hello%'".to_owned()
        )
        .await,
        Ok(1)
    );
    for table in &tables {
        let read = execute(&mut reader, format!("SELECT FROM {table}")).await;
        assert_eq!(read, Err(Some(REFUSED.to_owned())), "{table}");
    }
    for relation in views.iter().chain(&tables) {
        for change in ["DELETE FROM", "TRUNCATE", "INSERT INTO"] {
            let values = if change == "INSERT INTO" { "DEFAULT VALUES" } else { "" };
            // a view cannot be truncated by anybody
            if change == "TRUNCATE" && views.contains(relation) {
                continue;
            }
            let changed = execute(&mut reader, format!("{change} {relation} {values}")).await;
            assert!(changed.is_err(), "{change} {relation}");
        }
        let may: bool = sqlx::query_scalar(
            "SELECT has_table_privilege('smshook_read', $1, 'INSERT') OR has_table_privilege('smshook_read', $1, 'UPDATE')
                 OR has_table_privilege('smshook_read', $1, 'DELETE') OR has_table_privilege('smshook_read', $1, 'TRUNCATE')",
        )
        .bind(relation)
        .fetch_one(intake.pool())
        .await
        .unwrap();
        assert!(!may, "{relation}");
    }
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('smshook', 'v1') AND has_schema_privilege('smshook_read', oid, 'CREATE')";
    assert_eq!(count(intake.pool(), schemas).await, 0);
}

#[tokio::test]
async fn the_reader_can_neither_run_long_nor_leave_a_transaction_open_nor_lead_others() {
    let database = TestDatabase::new().await;
    let (settings, can_log_in, limit, powers): (Vec<String>, bool, i32, bool) = sqlx::query_as(
        "SELECT rolconfig, rolcanlogin, rolconnlimit, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
         FROM pg_roles WHERE rolname = 'smshook_read'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!((can_log_in, limit, powers), (true, 10, false));
    for setting in [
        "statement_timeout=30s",
        "idle_in_transaction_session_timeout=60s",
        "default_transaction_read_only=on",
    ] {
        assert!(
            settings.iter().any(|found| found == setting),
            "{setting} is not in {settings:?}"
        );
    }
}

/// An empty database on the same server, dropped at the end.
async fn empty_database(beside: &TestDatabase, name: &str, owner: Option<&str>) -> PgConnectOptions {
    let mut connection = beside.options().connect().await.unwrap();
    let owner = owner.map(|owner| format!("OWNER {owner}")).unwrap_or_default();
    execute(&mut connection, format!("CREATE DATABASE {name} {owner}"))
        .await
        .unwrap();
    connection.close().await.unwrap();
    beside.options().database(name)
}

async fn drop_database(beside: &TestDatabase, name: &str) {
    let mut connection = beside.options().connect().await.unwrap();
    execute(&mut connection, format!("DROP DATABASE {name} WITH (FORCE)"))
        .await
        .unwrap();
}

#[tokio::test]
async fn several_processes_may_migrate_at_once_and_again() {
    let beside = TestDatabase::new().await;
    let name = format!("{}_empty", beside.name);
    let options = empty_database(&beside, &name, None).await;
    let url = options.to_url_lossy().to_string();
    for round in 0..2 {
        let migrating: Vec<_> = (0..3)
            .map(|_| {
                let mut command = crate::helpers::smshook(&["migrate"]);
                command.env("DATABASE_URL", &url).current_dir(std::env::temp_dir());
                tokio::task::spawn_blocking(move || command.output().unwrap())
            })
            .collect();
        for migrated in migrating {
            let output = migrated.await.unwrap();
            assert!(output.status.success(), "round {round}: {output:?}");
        }
    }
    let store = Store::new(options, 1);
    store.ready().await.unwrap();
    let applied = "SELECT count(*) FROM _sqlx_migrations WHERE success";
    assert_eq!(
        count(store.pool(), applied).await,
        i64::try_from(smshook::store::MIGRATIONS.iter().count()).unwrap()
    );
    store.close().await;
    drop_database(&beside, &name).await;
}

/// An account that owns its database and may not create roles; it acts through a session of ours.
async fn migrate_as_a_plain_account(options: PgConnectOptions) -> Store {
    let store = Store::new(options.options([("role", "plain_account")]), 2);
    store.migrate().await.unwrap();
    store.ready().await.unwrap();
    assert_eq!(count(store.pool(), "SELECT count(*) FROM v1.messages").await, 0);
    store
}

#[tokio::test]
async fn an_account_that_may_not_create_roles_migrates_all_the_same() {
    let server = TestDatabase::private_server().await;
    let mut admin = server.options().connect().await.unwrap();
    for statement in [
        "DROP OWNED BY smshook_read",
        "DROP ROLE smshook_read",
        "CREATE ROLE plain_account",
        "CREATE DATABASE plain_one OWNER plain_account",
    ] {
        execute(&mut admin, statement.to_owned()).await.unwrap();
    }
    let store = migrate_as_a_plain_account(server.options().database("plain_one")).await;
    assert_eq!(
        count(
            store.pool(),
            "SELECT count(*) FROM pg_roles WHERE rolname = 'smshook_read'"
        )
        .await,
        0
    );
    // where somebody else has made the role, it gets its rights
    for statement in [
        "CREATE ROLE smshook_read LOGIN",
        "CREATE DATABASE plain_two OWNER plain_account",
    ] {
        execute(&mut admin, statement.to_owned()).await.unwrap();
    }
    let store = migrate_as_a_plain_account(server.options().database("plain_two")).await;
    let may = "SELECT count(*) FROM pg_class WHERE relnamespace = 'v1'::regnamespace AND has_table_privilege('smshook_read', oid, 'SELECT')";
    assert_eq!(count(store.pool(), may).await, 14);
}

/// A database as it was at this version, with these rows in it.
async fn database_of(beside: &TestDatabase, version: i64, rows: &[&str]) -> (String, PgPool) {
    let name = format!("{}_at_{}", beside.name, version % 1_000_000);
    let pool = PgPool::connect_with(empty_database(beside, &name, None).await)
        .await
        .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let migrations = smshook::store::MIGRATIONS
        .iter()
        .filter(|migration| migration.version <= version);
    sqlx::migrate::Migrator::with_migrations(migrations.cloned().collect())
        .run(&mut *connection)
        .await
        .unwrap();
    for row in rows {
        execute(&mut connection, (*row).to_owned()).await.unwrap();
    }
    (name, pool)
}

#[tokio::test]
async fn opt_outs_of_before_the_evidence_keep_holding_and_have_become_evidence() {
    let beside = TestDatabase::new().await;
    let rows = [
        "INSERT INTO smshook.messages (id, endpoint, dedupe_key, conversation_id, sender, sender_raw, sender_answerable,
             recipient, recipient_raw, text, raw, sent_at)
         SELECT id, 'main', sha256(id::text::bytea), gen_random_uuid(), '+5215512345678', '', true, '+15550009999', '', text, '', at
         FROM (VALUES ('00000000-0000-7000-8000-000000000001'::uuid, 'Stop it', '2026-01-02T03:04:05Z'::timestamptz),
                      ('00000000-0000-7000-8000-000000000002'::uuid, 'START', '2026-01-03T03:04:05Z')) AS m (id, text, at)",
        "INSERT INTO smshook.jobs (message_id, state, kind, action, lane, send_to, send_group, finished_at)
         VALUES ('00000000-0000-7000-8000-000000000001', 'done', 'opt_out_confirmation', 'opt_out_confirmation', 1,
             '+5215512345678', 'default', now())",
        "INSERT INTO smshook.opt_outs (suppression_group, number, source, message_id, keyword, tier, opted_out_at, opted_in_at,
             opted_in_source, opted_in_message_id)
         VALUES ('default', '+5215512345678', 'message', '00000000-0000-7000-8000-000000000001', 'stop', 2,
                 '2026-01-02T03:04:05Z', '2026-01-03T03:04:06Z', 'message', '00000000-0000-7000-8000-000000000002'),
                ('default', '+5491123456789', 'operator', NULL, NULL, NULL, '2026-02-01T00:00:00Z', NULL, NULL, NULL),
                ('default', '+541123456789', 'operator', NULL, NULL, NULL, '2026-02-02T00:00:00Z', NULL, NULL, NULL)",
        "INSERT INTO smshook.sends (job_id, conversation_id, reference, opt_out_id)
         SELECT j.id, gen_random_uuid(), 'ref-1', o.id FROM smshook.jobs j, smshook.opt_outs o WHERE o.tier = 2",
    ];
    let (name, pool) = database_of(&beside, 20_261_121_000_004, &rows).await;
    let store = Store::from_pool(pool.clone());
    store.migrate().await.unwrap();
    let events: Vec<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT event, number_key, coalesce(words, reference), confirmation FROM v1.consent_events ORDER BY id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let event = |event: &str, key: &str, words: Option<&str>, confirmation: Option<&str>| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (event.to_owned(), key.to_owned(), owned(words), owned(confirmation))
    };
    assert_eq!(
        events,
        [
            event("opt_out", "+525512345678", Some("Stop it"), Some("owed")),
            event(
                "opt_out",
                "+541123456789",
                None,
                Some("asked for by another way than a text")
            ),
            event(
                "opt_out",
                "+541123456789",
                None,
                Some("asked for by another way than a text")
            ),
            event("confirmed", "+525512345678", Some("ref-1"), None),
            event("opt_in", "+525512345678", Some("START"), None),
        ]
    );
    assert!(store.has_opted_out("default", "+541123456789").await.unwrap());
    assert!(!store.has_opted_out("default", "+5215512345678").await.unwrap());
    let one = "SELECT count(*) FROM v1.opt_outs WHERE in_force AND opted_out_at = '2026-02-02T00:00:00Z'";
    assert_eq!(count(&pool, one).await, 1, "two spellings are one, as of the later");
    let spent =
        "SELECT count(*) FROM smshook.opt_outs WHERE confirm_job_id IS NOT NULL AND confirm_spent_at IS NOT NULL";
    assert_eq!(
        count(&pool, spent).await,
        1,
        "a confirmation that was sent is not sent again"
    );
    pool.close().await;
    drop_database(&beside, &name).await;
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date_without_rewriting_its_tables() {
    const TABLES: [&str; 4] = ["messages", "jobs", "sends", "gateway_events"];
    let beside = TestDatabase::new().await;
    let rows = [
        "INSERT INTO smshook.messages (id, endpoint, dedupe_key, conversation_id, sender, sender_raw, sender_answerable,
             recipient, recipient_raw, text, raw)
         VALUES (gen_random_uuid(), 'main', sha256('1'), gen_random_uuid(), '+15551230001', '', true, '', '', 'old', 'old')",
        "INSERT INTO smshook.quarantine (id, endpoint, reason, raw_sha256, raw)
         VALUES (gen_random_uuid(), 'main', 'unread', sha256('1'), 'old')",
        "INSERT INTO smshook.gateway_events (id, endpoint, kind, raw_sha256, raw)
         VALUES (gen_random_uuid(), 'main', 'sent', sha256('1'), 'old')",
    ];
    let (name, pool) = database_of(&beside, 20_261_121_000_003, &rows).await;
    let files = async || {
        sqlx::query_scalar::<_, i64>(
            "SELECT relfilenode::int8 FROM pg_class
             WHERE relnamespace = 'smshook'::regnamespace AND relname = ANY ($1) ORDER BY relname",
        )
        .bind(TABLES)
        .fetch_all(&pool)
        .await
        .unwrap()
    };
    let before = files().await;
    let store = Store::from_pool(pool.clone());
    assert!(store.ready().await.is_err(), "a message of now does not fit into it");
    store.migrate().await.unwrap();
    store.ready().await.unwrap();
    assert_eq!((before.len(), files().await), (TABLES.len(), before));
    let as_before = "SELECT count(*) FROM v1.messages m, v1.quarantine q, v1.gateway_events e
        WHERE m.verified AND NOT m.encrypted AND m.media IS NULL AND m.missing_parts IS NULL AND m.text = 'old'
          AND q.verified AND e.verified AND e.state IS NULL";
    assert_eq!(count(&pool, as_before).await, 1);
    pool.close().await;
    drop_database(&beside, &name).await;
}
