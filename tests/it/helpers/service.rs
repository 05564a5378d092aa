//! The real binary over a database of its own, called with bytes written by hand; its log is read as its operator reads it.

use std::path::PathBuf;

use serde_json::Value;
use sqlx::PgPool;

use super::{Process, Response, eventually, get, raw, smshook, write_configuration};
use crate::testkit::TestDatabase;

/// A running service, and commands beside it with the same configuration.
pub(crate) struct Service {
    pub(crate) database: TestDatabase,
    pub(crate) process: Process,
    directory: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Service {
    pub(crate) async fn start(toml: &str) -> Self {
        let (database, directory) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
        let config = write_configuration(directory.path(), Some(&database.url()), toml);
        let process = Process::start(&config).await;
        Self {
            database,
            process,
            directory,
        }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Sends one request; `headers` are whole lines.
    pub(crate) async fn request(&self, method: &str, target: &str, headers: &[String], body: &[u8]) -> Response {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: sms.example.com\r\nconnection: close\r\n");
        for header in headers {
            head += header;
            head += "\r\n";
        }
        let length = format!("content-length: {}\r\n\r\n", body.len());
        raw(
            self.process.address,
            &[head.as_bytes(), length.as_bytes(), body].concat(),
        )
        .await
    }

    pub(crate) async fn post(&self, target: &str, headers: &[String], body: &[u8]) -> Response {
        self.request("POST", target, headers, body).await
    }

    /// The log's lines with this message.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        let text = self.process.log_text();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["message"].as_str().is_some_and(|said| said.starts_with(message)))
            .collect()
    }

    /// The lines of requests, as soon as there are so many.
    pub(crate) async fn requests(&self, count: usize) -> Vec<Value> {
        self.as_many(count, "request").await
    }

    /// The lines with this message, as soon as there are so many.
    pub(crate) async fn as_many(&self, count: usize, message: &str) -> Vec<Value> {
        eventually("the log has the lines", async || self.lines(message).len() >= count).await;
        self.lines(message)
    }

    /// The line of the one request that is sent now.
    pub(crate) async fn line_of(&self, sending: impl Future<Output = Response>) -> (Response, Value) {
        let before = self.lines("request").len();
        let answer = sending.await;
        let line = self.requests(before + 1).await.pop().unwrap();
        (answer, line)
    }

    pub(crate) async fn metrics(&self) -> String {
        get(self.process.admin, "/metrics").await.body
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn counts(&self, line: &str) {
        eventually(line, async || self.metrics().await.lines().any(|found| found == line)).await;
    }

    /// Writes the configuration anew; a running service keeps what it has read.
    pub(crate) fn reconfigure(&self, toml: &str) {
        write_configuration(self.directory.path(), Some(&self.database.url()), toml);
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs a command with the configuration.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        let config = self.directory.path().join("config.toml");
        let mut command = smshook(&["--config", config.to_str().unwrap()]);
        command.args(arguments).env_remove("SMSHOOK_CONFIG");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}
