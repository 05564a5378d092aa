//! What the embedded Postgres promises, tried on real processes: each test does to it what real life does, kills included.
//! They look into /proc, so they run on Linux only.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "tests may fail loudly")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use smshook::embedded_postgres::{
    EmbeddedPostgres, EmbeddedPostgresError, Settings, Started, default_root, ensure_database,
    restart_without_pgoptions,
};
use sqlx::{AssertSqlSafe, ConnectOptions};

/// Nothing here takes nearly as long; it only keeps a failing test from hanging.
const SOON: Duration = Duration::from_mins(1);

// ---- The helper: this same program, run as another process that can be killed. ----

const HELPER: &str = "a_helper_process_does_as_it_is_told_and_nothing_when_it_is_told_nothing";

#[test]
fn a_helper_process_does_as_it_is_told_and_nothing_when_it_is_told_nothing() {
    let Ok(role) = std::env::var("TEST_HELPER_ROLE") else {
        return;
    };
    let mut settings = Settings::new(std::env::var("TEST_HELPER_ROOT").expect("a root"));
    match role.as_str() {
        "hold" => {
            let server = EmbeddedPostgres::start(&settings).expect("start");
            say(&format!("{:?} {}", server.how(), server.pid()));
            wait_for_the_end_of_input();
        }
        "detach" => {
            let server = EmbeddedPostgres::start(&settings).expect("start");
            let pid = server.pid();
            server.detach();
            say(&pid.to_string());
            wait_for_the_end_of_input();
        }
        "insert" => {
            let server = EmbeddedPostgres::start(&settings).expect("start");
            say(&server.pid().to_string());
            insert_for_ever(&server);
        }
        "describe" => {
            settings.durable = false;
            restart_without_pgoptions().expect("restart");
            let server = EmbeddedPostgres::start(&settings).expect("start");
            say(&ask(
                &server,
                "select concat_ws(' ', current_user, current_database(), current_setting('data_directory'),
                    current_setting('TimeZone'), current_setting('application_name'))",
            ));
            say(&server.pid().to_string());
            wait_for_the_end_of_input();
        }
        "fail" => {
            let error = EmbeddedPostgres::start(&settings).expect_err("it must not start");
            say(&error.to_string().replace('\n', " "));
        }
        other => panic!("unknown role {other}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    // The test harness may have written half a line.
    write!(out, "\n@{line}\n").and_then(|()| out.flush()).expect("say");
}

fn wait_for_the_end_of_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).expect("read");
}

fn insert_for_ever(server: &EmbeddedPostgres) {
    block_on(async {
        let mut connection = server.connect_options("postgres").connect().await.expect("connect");
        sqlx::query("create table acknowledged (id int)")
            .execute(&mut connection)
            .await
            .expect("create");
        for id in 1.. {
            sqlx::query("insert into acknowledged values ($1)")
                .bind(id)
                .execute(&mut connection)
                .await
                .expect("insert");
            say(&id.to_string());
        }
    });
}

/// A running helper; killed when it goes out of scope.
struct Helper {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Helper {
    fn command(role: &str, root: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", HELPER, "--nocapture"]);
        command.env("TEST_HELPER_ROLE", role).env("TEST_HELPER_ROOT", root);
        command
    }

    fn run(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run the helper");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    fn start(role: &str, root: &Path) -> Self {
        Self::run(Self::command(role, root))
    }

    /// The next thing it says.
    fn hear(&mut self) -> String {
        self.try_hear().expect("the helper ended")
    }

    fn try_hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).expect("listen to the helper") == 0 {
                return None;
            }
            if let Some(said) = line.strip_prefix('@').and_then(|line| line.strip_suffix('\n')) {
                return Some(said.to_owned());
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill the helper");
        self.child.wait().expect("bury the helper");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill();
    }
}

// ---- The place: a directory that leaves no process and no file behind. ----

struct Place {
    top: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self::named("pg")
    }

    fn named(name: &str) -> Self {
        // In memory where there is room: none of this is about how quick the disk is.
        let memory = Path::new("/dev/shm");
        let has_room = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= 1 << 30);
        let top = open_directory(if has_room { memory } else { Path::new("/tmp") });
        let root = top.path().canonicalize().expect("its real name").join(name);
        Self { top, root }
    }

    /// Without fsync: most tests are about processes, not about disks.
    fn settings(&self) -> Settings {
        Settings {
            durable: false,
            ..Settings::new(&self.root)
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    fn start(&self) -> EmbeddedPostgres {
        EmbeddedPostgres::start(&self.settings()).expect("start")
    }

    fn fails(&self) -> EmbeddedPostgresError {
        EmbeddedPostgres::start(&self.settings()).expect_err("it must not start")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let text = fs::read_to_string(self.data("postmaster.pid")).unwrap_or_default();
        let Some(pid) = text.lines().next().and_then(|line| line.parse().ok()) else {
            return;
        };
        let ours = || command_line(pid).contains(&*self.top.path().to_string_lossy());
        if ours() {
            kill(pid, Signal::QUIT);
            eventually("the server ends", || !ours());
        }
    }
}

// ---- Small things. ----

/// A directory that the server's account may pass through.
fn open_directory(parent: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(parent).expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("open it");
    dir
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn ask(server: &EmbeddedPostgres, sql: &str) -> String {
    block_on(async {
        let mut connection = server.connect_options("postgres").connect().await.expect("connect");
        sqlx::query_scalar(AssertSqlSafe(format!("select ({sql})::text")))
            .fetch_one(&mut connection)
            .await
            .expect("ask")
    })
}

fn run(server: &EmbeddedPostgres, sql: &'static str) {
    block_on(async {
        let mut connection = server.connect_options("postgres").connect().await.expect("connect");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("run");
    });
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process ID");
    kill_process(pid, signal).expect("signal the process");
}

fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Waits for something that another process does.
fn eventually(what: &str, happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < SOON, "{what}: not within {SOON:?}");
        sleep(Duration::from_millis(2));
    }
}

// ---- The promises. ----

#[test]
fn the_first_start_initialises_a_later_one_starts_and_a_stop_leaves_no_process() {
    let place = Place::new();
    let server = place.start();
    assert_eq!(server.how(), Started::Initialised);
    assert!(server.is_alive());
    assert!(ask(&server, "version()").starts_with(&format!("PostgreSQL {}", server.version())));
    run(&server, "create table kept as select 7 as n");
    let pid = server.pid();
    let group = rustix::process::getpgid(Pid::from_raw(pid.cast_signed())).expect("its group");
    assert_eq!(
        group.as_raw_pid(),
        pid.cast_signed(),
        "a terminal's Ctrl-C would reach it"
    );
    server.stop(SOON).expect("stop");
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "process {pid} is still there"
    );
    let server = place.start();
    assert_eq!(server.how(), Started::Started);
    assert_eq!(ask(&server, "select n from kept"), "7");
}

#[test]
fn a_server_that_outlived_its_killed_application_is_taken_over() {
    let place = Place::new();
    let mut helper = Helper::start("hold", &place.root);
    let said = helper.hear();
    helper.kill();
    let server = EmbeddedPostgres::start(&Settings::new(&place.root)).expect("start");
    assert_eq!(server.how(), Started::Reattached);
    assert_eq!(said, format!("Initialised {}", server.pid()));
    assert!(server.is_alive());
    let pid = server.pid();
    server.stop(SOON).expect("stop");
    assert_eq!(command_line(pid), "");
}

#[test]
fn every_acknowledged_row_is_there_after_application_and_server_were_both_killed() {
    let place = Place::new();
    let mut helper = Helper::start("insert", &place.root);
    let postmaster = helper.hear().parse().expect("a process ID");
    let mut acknowledged: i64 = 0;
    while acknowledged < 500 {
        acknowledged = helper.hear().parse().expect("an ID");
    }
    helper.kill();
    kill(postmaster, Signal::KILL);
    // What it had said before it died.
    while let Some(id) = helper.try_hear() {
        acknowledged = id.parse().expect("an ID");
    }
    let server = EmbeddedPostgres::start(&Settings::new(&place.root)).expect("start");
    assert_eq!(server.how(), Started::Started);
    let found = format!("select count(*) from acknowledged where id <= {acknowledged}");
    assert_eq!(ask(&server, &found), acknowledged.to_string());
}

#[test]
fn a_zombie_postmaster_does_not_block_the_next_start() {
    let place = Place::new();
    let mut parent = Helper::start("detach", &place.root);
    let pid = parent.hear().parse().expect("a process ID");
    kill(pid, Signal::KILL);
    eventually("the server is a zombie", || is_zombie(pid));
    let server = place.start();
    assert_eq!(server.how(), Started::Started);
    assert!(is_zombie(pid), "it was a zombie all the time");
    assert_eq!(ask(&server, "select 1"), "1");
}

#[test]
fn a_process_id_that_another_process_has_now_does_not_block_the_next_start() {
    let place = Place::new();
    let server = place.start();
    let dead = server.pid();
    server.detach();
    kill(dead, Signal::KILL);
    eventually("the server is dead", || command_line(dead).is_empty());
    let owner = fs::metadata(place.root.join("data")).expect("the data");
    let mut stranger = Command::new("sleep");
    stranger.arg("600");
    if geteuid().is_root() {
        stranger.uid(owner.uid()).gid(owner.gid());
    }
    let mut stranger = stranger.spawn().expect("a stranger");
    for file in [place.data("postmaster.pid"), place.root.join("run/.s.PGSQL.5432.lock")] {
        let text = fs::read_to_string(&file).expect("the lock file");
        fs::write(&file, text.replacen(&dead.to_string(), &stranger.id().to_string(), 1)).expect("write");
    }
    let server = EmbeddedPostgres::start(&place.settings());
    let untouched = stranger.try_wait().expect("look at the stranger").is_none();
    stranger.kill().expect("kill the stranger");
    stranger.wait().expect("bury the stranger");
    assert_eq!(server.expect("start").how(), Started::Started);
    assert!(untouched, "the stranger was harmed");
}

#[test]
fn a_second_instance_is_told_who_has_the_directory() {
    let place = Place::new();
    let mut helper = Helper::start("hold", &place.root);
    helper.hear();
    let error = place.fails().to_string();
    assert!(error.contains(&*place.root.to_string_lossy()), "{error}");
    assert!(error.contains(&format!("pid {}", helper.child.id())), "{error}");
}

#[test]
fn an_initdb_killed_half_way_leaves_nothing_that_matters() {
    let place = Place::new();
    let real = PathBuf::from(ask_for_bin_dir());
    // Programs may not be run from /dev/shm everywhere.
    let programs = open_directory(Path::new("/tmp"));
    let fake = programs.path();
    std::os::unix::fs::symlink(real.join("postgres"), fake.join("postgres")).expect("link");
    // Writes what a real one writes first, then hangs.
    let script =
        "#!/bin/sh\necho 15 >\"$2/PG_VERSION\"\nmkdir \"$2/base\" \"$2/global\"\necho $$ >\"$2/pid\"\nexec sleep 600\n";
    fs::write(fake.join("initdb"), script).expect("write");
    fs::set_permissions(fake.join("initdb"), Permissions::from_mode(0o755)).expect("make it a program");
    let mut command = Helper::command("hold", &place.root);
    command.env("PG_BIN_DIR", fake);
    let mut helper = Helper::run(command);
    let unfinished = place.root.join(format!("data.new-{}", helper.child.id()));
    eventually("initdb is half done", || {
        fs::read_to_string(unfinished.join("pid")).is_ok_and(|text| text.ends_with('\n'))
    });
    let orphan = fs::read_to_string(unfinished.join("pid")).expect("read");
    helper.kill();
    let started = EmbeddedPostgres::start(&place.settings());
    kill(orphan.trim().parse().expect("a process ID"), Signal::KILL);
    assert_eq!(started.expect("start").how(), Started::Initialised);
    assert!(!unfinished.exists(), "the unfinished database is still there");
}

/// Where the programs of a server lie that the search finds.
fn ask_for_bin_dir() -> String {
    let place = Place::new();
    let server = place.start();
    let program = fs::read_to_string(place.data("postmaster.opts")).expect("read");
    server.stop(SOON).expect("stop");
    let program = program.split(" \"").next().expect("a program").to_owned();
    Path::new(&program).parent().expect("a directory").display().to_string()
}

#[test]
fn data_of_another_major_version_is_refused_with_both_versions_named() {
    let place = Place::new();
    let server = place.start();
    let installed = server.version().to_owned();
    server.stop(SOON).expect("stop");
    fs::write(place.data("PG_VERSION"), "99\n").expect("write");
    let error = place.fails().to_string();
    assert!(error.contains("PostgreSQL 99") && error.contains(&installed), "{error}");
}

#[test]
fn a_directory_with_a_long_and_odd_name_works_and_its_socket_is_cleared_away() {
    let place = Place::named(&format!("{}/it's a, \"b\" ü", "x".repeat(120)));
    let server = place.start();
    assert_eq!(ask(&server, "select 1"), "1");
    let socket_dir = ask(&server, "current_setting('unix_socket_directories')");
    assert!(!socket_dir.starts_with(&*place.root.to_string_lossy()), "{socket_dir}");
    let mode = fs::metadata(&socket_dir).expect("the socket's directory").mode();
    assert_eq!(mode & 0o777, 0o700);
    server.stop(SOON).expect("stop");
    assert!(!Path::new(&socket_dir).exists(), "{socket_dir} was left behind");
}

#[test]
fn a_directory_with_spaces_in_its_name_keeps_its_socket_inside() {
    let place = Place::named("my data & more");
    let server = place.start();
    let socket_dir = ask(&server, "current_setting('unix_socket_directories')");
    assert_eq!(Path::new(&socket_dir), place.root.join("run"));
    assert_eq!(ask(&server, "select 1"), "1");
}

#[test]
fn a_poisoned_environment_changes_nothing_and_reaches_no_server_process() {
    let place = Place::new();
    let mut command = Helper::command("describe", &place.root);
    for (key, value) in [
        ("PGOPTIONS", "-c zz=1"),
        ("PGHOST", "db.invalid"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "mallory"),
        ("PGPASSWORD", "wrong"),
        ("PGDATABASE", "nowhere"),
        ("PGDATA", "/nonexistent"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nonexistent"),
        ("PGAPPNAME", "mallory"),
        ("PGTZ", "Mars/Olympus"),
        ("PGCLIENTENCODING", "EUC_JP"),
        ("PGSERVICE", "nothing"),
        ("LANG", "xx_YY.broken"),
        ("LC_ALL", "xx_YY.broken"),
        ("TZ", "Mars/Olympus"),
        ("SMS_WEBHOOK_SECRET", "hush"),
    ] {
        command.env(key, value);
    }
    let mut helper = Helper::run(command);
    let described = helper.hear();
    let data = place.data("").display().to_string();
    let expected = format!("{} postgres {} UTC smshook", user_name(), data.trim_end_matches('/'));
    assert_eq!(described, expected);
    let pid = helper.hear();
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("the server's environment");
    let environment = String::from_utf8_lossy(&environment);
    assert!(
        !environment.contains("hush") && !environment.contains("broken"),
        "{environment}"
    );
}

fn user_name() -> String {
    let output = Command::new("id").arg("-un").output().expect("run id");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn pgoptions_that_nobody_took_away_are_refused() {
    let place = Place::new();
    let mut command = Helper::command("fail", &place.root);
    command.env("PGOPTIONS", "-c synchronous_commit=off");
    let error = Helper::run(command).hear();
    assert!(error.contains("PGOPTIONS") && error.contains("Unset it"), "{error}");
}

#[test]
fn a_long_recovery_is_waited_for_and_never_killed() {
    let place = Place::new();
    place.start().stop(SOON).expect("stop");
    // A recovery that lasts until we say so: restoring from an archive that answers only then.
    let gate = place.top.path().join("gate");
    let restore = format!("until test -e {}; do sleep 0.01; done; false", gate.display());
    let owner = fs::metadata(place.root.join("data")).expect("the data");
    let signal = place.data("recovery.signal");
    fs::write(&signal, "").expect("write");
    std::os::unix::fs::chown(&signal, Some(owner.uid()), Some(owner.gid())).expect("give it away");
    let mut settings = place.settings();
    settings.parameters.push(("restore_command".into(), restore));
    settings.start_patience = Some(Duration::from_millis(300));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let error = EmbeddedPostgres::start(&settings).expect_err("it is still recovering");
        assert!(matches!(error, EmbeddedPostgresError::StillStarting { .. }), "{error}");
        let text = fs::read_to_string(place.data("postmaster.pid")).expect("a running server");
        assert!(text.contains("starting"), "{text}");
        let pid: u32 = text
            .lines()
            .next()
            .and_then(|line| line.parse().ok())
            .expect("a process ID");
        assert!(command_line(pid).contains("postgres"), "it was killed");
        seen.push(pid);
    }
    // Whoever has no deadline gets the very same server once it is ready.
    settings.start_patience = None;
    let waiting = thread::spawn(move || EmbeddedPostgres::start(&settings).expect("start"));
    fs::write(&gate, "").expect("open the gate");
    let server = waiting.join().expect("the waiting thread");
    let pid = server.pid();
    assert_eq!(seen, [pid, pid]);
    assert_eq!(server.how(), Started::Reattached);
    assert_eq!(ask(&server, "pg_is_in_recovery()"), "false");
}

#[test]
fn a_directory_without_the_programs_is_named() {
    let place = Place::new();
    let mut command = Helper::command("fail", &place.root);
    command.env("PG_BIN_DIR", "/nonexistent/bin");
    let error = Helper::run(command).hear();
    assert!(
        error.contains("/nonexistent/bin") && error.contains("initdb"),
        "{error}"
    );
    let settings = Settings {
        bin_dir: Some(place.top.path().to_path_buf()),
        ..place.settings()
    };
    let error = EmbeddedPostgres::start(&settings).expect_err("no programs there");
    assert!(
        matches!(error, EmbeddedPostgresError::UnusableBinaries { .. }),
        "{error}"
    );
}

#[test]
fn an_ordinary_user_needs_no_rights_of_root() {
    if !geteuid().is_root() {
        return; // Then every other test has shown it.
    }
    let place = Place::new();
    let programs = open_directory(Path::new("/tmp"));
    let program = programs.path().join("program");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("copy");
    let home = place.top.path().join("home");
    fs::create_dir(&home).expect("create");
    let nobody = nobody();
    std::os::unix::fs::chown(&home, Some(nobody), None).expect("give it away");
    let template = Helper::command("describe", &home.join("pg"));
    let mut command = Command::new(&program);
    command
        .args(template.get_args())
        .current_dir("/")
        .uid(nobody)
        .gid(nobody);
    for (key, value) in template.get_envs() {
        command.env(key, value.expect("a value"));
    }
    let mut helper = Helper::run(command);
    assert!(helper.hear().starts_with("nobody postgres "));
    let pid = helper.hear();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).expect("the server").uid(), nobody);
    drop(helper.child.stdin.take());
    assert!(helper.child.wait().expect("its end").success());
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "the server was left behind"
    );
}

fn nobody() -> u32 {
    let output = Command::new("id").args(["-u", "nobody"]).output().expect("run id");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .parse()
        .expect("a number")
}

#[test]
fn a_durable_server_really_flushes_every_commit_and_checks_its_pages() {
    let place = Place::new();
    let mut settings = Settings::new(&place.root);
    settings.parameters = vec![
        ("fsync".into(), "off".into()),
        ("synchronous_commit".into(), "off".into()),
    ];
    let server = EmbeddedPostgres::start(&settings).expect("start");
    for name in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
        assert_eq!(ask(&server, &format!("current_setting('{name}')")), "on", "{name}");
    }
    let flushes = flushes_of_ten_commits(&server);
    assert!(flushes >= 10, "{flushes}");
}

#[test]
fn a_server_for_tests_flushes_nothing() {
    let place = Place::new();
    assert_eq!(flushes_of_ten_commits(&place.start()), 0);
}

/// As Postgres counts them itself.
fn flushes_of_ten_commits(server: &EmbeddedPostgres) -> i64 {
    run(server, "create table flushed (n int)");
    let major: u32 = server
        .version()
        .split('.')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("a version");
    let counter = if major >= 18 {
        "select sum(fsyncs)::bigint from pg_stat_io where object = 'wal' and backend_type = 'client backend'"
    } else {
        "select wal_sync from pg_stat_wal"
    };
    block_on(async {
        let mut connection = server.connect_options("postgres").connect().await.expect("connect");
        let mut before = 0;
        let mut after = 0;
        for commits in [0, 10] {
            for n in 0..commits {
                sqlx::query("insert into flushed values ($1)")
                    .bind(n)
                    .execute(&mut connection)
                    .await
                    .expect("insert");
            }
            sqlx::raw_sql("select pg_stat_force_next_flush()")
                .execute(&mut connection)
                .await
                .expect("flush the statistics");
            before = after;
            after = sqlx::query_scalar(counter)
                .fetch_one(&mut connection)
                .await
                .expect("count");
        }
        after - before
    })
}

#[test]
fn nothing_is_listened_on_but_a_socket_that_others_may_not_open() {
    let place = Place::new();
    let server = place.start();
    assert_eq!(ask(&server, "current_setting('listen_addresses')"), "");
    let listening: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|file| {
            fs::read_to_string(file)
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.get(3) == Some(&"0A")).then(|| format!("socket:[{}]", fields[9]))
        })
        .collect();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its files");
    // Root without the right to trace, as in a container, may not look; then the setting above is what there is.
    for target in descriptors.flatten().filter_map(|file| fs::read_link(file.path()).ok()) {
        assert!(
            !listening.contains(&target.display().to_string()),
            "TCP: {}",
            target.display()
        );
    }
    for dir in ["run", "data"] {
        let mode = fs::metadata(place.root.join(dir)).expect("a directory").mode();
        assert_eq!(mode & 0o777, 0o700, "{dir}");
    }
    let access = "select string_agg(distinct type || ' ' || auth_method, ', ' order by type || ' ' || auth_method)
        from pg_hba_file_rules";
    assert_eq!(ask(&server, access), "host reject, local peer");
}

#[test]
fn a_directory_with_other_files_in_it_is_left_alone() {
    let place = Place::new();
    fs::create_dir(&place.root).expect("create");
    fs::write(place.root.join("letter.txt"), "dear").expect("write");
    let mode = fs::metadata(&place.root).expect("look").mode();
    assert!(matches!(place.fails(), EmbeddedPostgresError::NotOurs { .. }));
    assert_eq!(fs::metadata(&place.root).expect("look").mode(), mode);
    assert_eq!(fs::read_dir(&place.root).expect("list").count(), 1);
}

#[test]
fn the_death_of_the_server_is_noticed_and_the_next_start_recovers() {
    let place = Place::new();
    let server = place.start();
    run(&server, "create table kept as select 7 as n");
    assert!(server.is_alive());
    kill(server.pid(), Signal::KILL);
    eventually("its death is noticed", || !server.is_alive());
    server.stop(SOON).expect("stopping a dead server is no error");
    assert_eq!(ask(&place.start(), "select n from kept"), "7");
}

#[test]
fn a_stop_ends_open_sessions_and_the_grace_ends_a_session_that_does_not_react() {
    let place = Place::new();
    let server = place.start();
    let log = server.log().to_path_buf();
    block_on(async {
        let mut open = server.connect_options("postgres").connect().await.expect("connect");
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut open)
            .await
            .expect("ask");
        kill(backend.cast_unsigned(), Signal::STOP);
        server.stop(Duration::from_millis(100)).expect("stop");
        eventually("the session is gone", || {
            command_line(backend.cast_unsigned()).is_empty()
        });
    });
    let log = fs::read_to_string(log).expect("the log");
    let fast = log.find("received fast shutdown request").expect("asked first");
    let immediate = log.find("received immediate shutdown request").expect("told then");
    assert!(fast < immediate);
    assert_eq!(ask(&place.start(), "select 1"), "1");
}

#[test]
fn a_running_server_with_other_settings_is_restarted() {
    let place = Place::new();
    let server = place.start();
    let pid = server.pid();
    server.detach();
    let server = EmbeddedPostgres::start(&Settings::new(&place.root)).expect("start");
    assert_eq!(server.how(), Started::Started);
    assert_ne!(server.pid(), pid);
    assert_eq!(ask(&server, "current_setting('fsync')"), "on");
}

#[test]
fn root_is_told_which_directory_is_closed_and_has_a_place_of_its_own_instead() {
    if !geteuid().is_root() {
        return; // Only root lends the server another account.
    }
    let place = Place::named("closed/below/pg");
    let closed = place.top.path().join("closed");
    fs::create_dir(&closed).expect("create");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("close it");
    match place.fails() {
        EmbeddedPostgresError::CannotEnter { blocker, .. } => assert_eq!(blocker, closed),
        other => panic!("{other}"),
    }
    assert_eq!(fs::read_dir(&closed).expect("list").count(), 0, "nothing was created");
    let elsewhere = default_root(&closed.join("below")).expect("a place");
    assert!(elsewhere.starts_with("/var/lib/smshook"), "{}", elsewhere.display());
    fs::set_permissions(&closed, Permissions::from_mode(0o711)).expect("open it");
    assert_eq!(
        default_root(&closed.join("below")).expect("a place"),
        closed.join("below/postgres")
    );
}

#[test]
fn a_database_is_created_once_and_psql_finds_it_by_line_and_by_url() {
    let place = Place::named("it's here");
    let server = place.start();
    block_on(async {
        let maintenance = server.connect_options("postgres");
        let name = "my \"own\" db";
        let (one, other) = tokio::join!(ensure_database(&maintenance, name), ensure_database(&maintenance, name));
        one.and(other).expect("create");
        ensure_database(&maintenance, name).await.expect("already there");
        let by_url: sqlx::postgres::PgConnectOptions = server.url(name).parse().expect("a URL");
        by_url.connect().await.expect("connect");
    });
    let line = format!(
        "{} -Atc 'select current_database()'",
        server.psql_command("my \"own\" db")
    );
    let url = server.url("my \"own\" db");
    for mut psql in [sh(&line), sh(&format!("psql -Atc 'select current_database()' '{url}'"))] {
        let output = psql.output().expect("run psql");
        if output.status.code() == Some(127) {
            return; // No psql on this machine.
        }
        assert_eq!(String::from_utf8_lossy(&output.stdout), "my \"own\" db\n", "{output:?}");
    }
}

fn sh(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}
