//! One running server: launching it, knowing it is alive and ready, stopping it. It must never send SIGKILL: that would turn
//! an orderly stop into a recovery.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::account::Identity;
use super::binaries::Binaries;
use super::cluster::{Layout, PORT};
use super::error::{Doing, EmbeddedPostgresError};
use super::process;

/// How often a state is looked at while something is waited for.
const POLL: Duration = Duration::from_millis(5);

/// How long a silent start or stop is normal, and how often it is reported after that.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How long processes of a dead server may go on before they are told to quit, and again before we give up.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(5);

/// How long an immediate shutdown may take; the server itself ends its children after five seconds.
const QUIT_PATIENCE: Duration = Duration::from_secs(15);

/// A server we may signal: our child, or one that an earlier process of ours left running.
#[derive(Debug)]
pub(super) struct Postmaster {
    pub(super) pid: Pid,
    child: Option<Child>,
}

/// What `postmaster.pid` says about the server's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Starting,
    Ready,
    Stopping,
}

/// How a server is started: everything that is decided before the process exists.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) layout: &'a Layout,
    pub(super) identity: &'a Identity,
    pub(super) binaries: &'a Binaries,
    pub(super) durable: bool,
    pub(super) parameters: &'a [(String, String)],
    /// How long readiness is waited for; `None` is for ever.
    pub(super) patience: Option<Duration>,
}

impl Launch<'_> {
    /// Finds the server an earlier process left running, if it is there, runs with the same settings and is not stopping.
    pub(super) fn reattach(&self) -> Result<Option<Postmaster>, EmbeddedPostgresError> {
        let Some((pid, status)) = read_pid_file(&self.layout.data) else {
            return Ok(None);
        };
        if !process::is_postmaster(pid, &self.layout.data) {
            return Ok(None);
        }
        let mut found = Postmaster { pid, child: None };
        if status == Status::Stopping {
            found.wait_until_gone(self.layout, None);
            return Ok(None);
        }
        if !self.runs_with_these_settings() {
            tracing::info!(
                pid = pid.as_raw_pid(),
                "the running Postgres has other settings: restarting it"
            );
            found.stop(self.layout, Duration::from_mins(1))?;
            return Ok(None);
        }
        found.wait_until_ready(self.layout, self.patience)?;
        Ok(Some(found))
    }

    /// Starts a server and waits until it takes connections. A recovery is waited for however long it takes.
    pub(super) fn launch(&self) -> Result<Postmaster, EmbeddedPostgresError> {
        self.clear_remains()?;
        let log = self.layout.open_log()?;
        let program = self.binaries.postgres();
        let mut command = self.identity.command(&program, &self.layout.root);
        command
            .args(self.arguments())
            .stdout(Stdio::from(log.try_clone().doing("open", &self.layout.log)?));
        let child = command.stderr(Stdio::from(log)).spawn().doing("run", &program)?;
        let mut postmaster = Postmaster {
            pid: Pid::from_child(&child),
            child: Some(child),
        };
        postmaster.wait_until_ready(self.layout, self.patience)?;
        Ok(postmaster)
    }

    /// Removes the lock files of a server that is known to be dead. Postgres only asks whether a process with the recorded
    /// ID exists, which is also true of a zombie and of a stranger who got the same ID, and then refuses to start for ever.
    fn clear_remains(&self) -> Result<(), EmbeddedPostgresError> {
        self.wait_for_leftovers()?;
        remove_if_there(&self.layout.data.join("postmaster.pid"))?;
        for name in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
            remove_if_there(&self.layout.socket_dir.join(name))?;
        }
        Ok(())
    }

    /// A busy session can outlive its postmaster, and two servers on one directory would destroy it. (Where the processes
    /// cannot be seen, Postgres' own check of the shared memory still prevents that.)
    fn wait_for_leftovers(&self) -> Result<(), EmbeddedPostgresError> {
        let begin = Instant::now();
        let mut told = false;
        while let Some(pid) = process::first_server_process_in(&self.layout.data) {
            if begin.elapsed() > LEFTOVER_PATIENCE * 2 {
                return Err(EmbeddedPostgresError::StillRunning {
                    pid: pid.as_raw_pid(),
                    log: self.layout.log.clone(),
                });
            }
            if !told && begin.elapsed() > LEFTOVER_PATIENCE {
                tracing::warn!(
                    pid = pid.as_raw_pid(),
                    "a session of the dead Postgres still runs: telling it to quit"
                );
                told = true;
                signal(pid, Signal::QUIT);
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// The command line. The user's parameters come first: for Postgres the last one counts, and ours are not negotiable.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["-D".into(), self.layout.data.clone().into()];
        arguments.extend(["-k".into(), self.layout.socket_dir.clone().into()]);
        arguments.extend(["-p".into(), PORT.to_string().into()]);
        let durability: &[(&str, &str)] = if self.durable {
            &[
                ("fsync", "on"),
                ("full_page_writes", "on"),
                ("synchronous_commit", "on"),
            ]
        } else {
            &[("fsync", "off"), ("full_page_writes", "off")]
        };
        let ours = [
            ("listen_addresses", ""),
            // Else a server that still recovers from an archive calls itself ready while it takes no writes.
            ("hot_standby", "off"),
            ("unix_socket_permissions", "0700"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_destination", "stderr"),
            ("logging_collector", "off"),
            // Errors reach the application anyway; in the log, they would quote phone numbers and texts.
            ("log_min_messages", "log"),
            ("log_min_error_statement", "panic"),
            ("log_error_verbosity", "terse"),
            ("log_checkpoints", "off"),
        ];
        let theirs = self
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in theirs.chain(durability.iter().copied()).chain(ours) {
            arguments.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        arguments
    }

    /// Postgres writes down the command line it was started with: the program, then each argument in quotes.
    fn runs_with_these_settings(&self) -> bool {
        let quoted = |argument: &OsString| format!("\"{}\"", argument.to_string_lossy());
        let wanted = self.arguments().iter().map(quoted).collect::<Vec<_>>().join(" ");
        fs::read(self.layout.data.join("postmaster.opts"))
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).trim_end().ends_with(&wanted))
    }
}

impl Postmaster {
    /// Whether the process exists, is not a zombie and serves this data.
    pub(super) fn is_alive(&self, data: &Path) -> bool {
        process::is_postmaster(self.pid, data)
    }

    /// Shuts down fast (open sessions are ended, data is written out), or immediately after `grace`.
    pub(super) fn stop(&mut self, layout: &Layout, grace: Duration) -> Result<(), EmbeddedPostgresError> {
        for (kind, patience) in [(Signal::INT, grace), (Signal::QUIT, QUIT_PATIENCE)] {
            if self.has_ended(&layout.data) {
                return Ok(());
            }
            signal(self.pid, kind);
            if self.wait_until_gone(layout, Some(patience)) {
                return Ok(());
            }
            tracing::warn!(pid = self.pid.as_raw_pid(), ?patience, "Postgres has not stopped yet");
        }
        Err(EmbeddedPostgresError::StillRunning {
            pid: self.pid.as_raw_pid(),
            log: layout.log.clone(),
        })
    }

    /// Our own child is also reaped here; of others we only know what the system shows.
    fn has_ended(&mut self, data: &Path) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(Some(_))),
            None => !process::is_postmaster(self.pid, data),
        }
    }

    fn wait_until_ready(&mut self, layout: &Layout, patience: Option<Duration>) -> Result<(), EmbeddedPostgresError> {
        let begin = Instant::now();
        let mut report = Reporter::new("Postgres is still recovering; it is waited for");
        loop {
            if read_pid_file(&layout.data) == Some((self.pid, Status::Ready)) {
                return Ok(());
            }
            if self.has_ended(&layout.data) {
                return Err(EmbeddedPostgresError::Exited {
                    log: layout.log.clone(),
                    tail: layout.log_tail(6),
                });
            }
            if let Some(after) = patience.filter(|patience| begin.elapsed() >= *patience) {
                return Err(EmbeddedPostgresError::StillStarting {
                    after,
                    log: layout.log.clone(),
                });
            }
            report.when_due(layout);
            sleep(POLL);
        }
    }

    /// `true` when the process is gone, `false` when it is still there after `patience`.
    fn wait_until_gone(&mut self, layout: &Layout, patience: Option<Duration>) -> bool {
        let begin = Instant::now();
        let mut report = Reporter::new("Postgres is still shutting down; it is waited for");
        while !self.has_ended(&layout.data) {
            if patience.is_some_and(|patience| begin.elapsed() >= patience) {
                return false;
            }
            report.when_due(layout);
            sleep(POLL);
        }
        true
    }
}

/// Says now and then that something slow is still going on, with the newest line of the server's log.
struct Reporter {
    what: &'static str,
    begin: Instant,
    last: Instant,
}

impl Reporter {
    fn new(what: &'static str) -> Self {
        let now = Instant::now();
        Self {
            what,
            begin: now,
            last: now,
        }
    }

    fn when_due(&mut self, layout: &Layout) {
        if self.last.elapsed() >= REPORT_EVERY {
            self.last = Instant::now();
            tracing::info!(seconds = self.begin.elapsed().as_secs(), log = %layout.log_tail(1), "{}", self.what);
        }
    }
}

/// Process and progress from `postmaster.pid`: the ID is on line 1, the status on line 8. While the server comes up, the
/// file is not complete.
fn read_pid_file(data: &Path) -> Option<(Pid, Status)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse::<i32>().ok()?.checked_abs()?)?;
    let status = match text.lines().nth(7).map(str::trim) {
        Some("ready") => Status::Ready,
        Some("stopping") => Status::Stopping,
        // "starting", "standby" (recovering from an archive), or not written yet.
        _ => Status::Starting,
    };
    Some((pid, status))
}

fn signal(pid: Pid, signal: Signal) {
    // The only possible failure is that the process has just ended, which is what a signal is for.
    if let Err(error) = kill_process(pid, signal) {
        tracing::debug!(pid = pid.as_raw_pid(), %error, "the process has ended already");
    }
}

fn remove_if_there(file: &Path) -> Result<(), EmbeddedPostgresError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", file),
        _ => Ok(()),
    }
}
