//! The real Request Tracker 5, where `SMSHOOK_TEST_RT=1` asks for it: from Debian's packages (installed if missing), with a
//! database of each test's own, on a loopback port, behind a proxy that can hold an answer back.
//!
//! It must end nothing but the processes that it started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{TOKEN, Vendor, message, rt};
use crate::connectors::matrix;
use crate::connectors::vendor::{Asked, person};
use crate::helpers::{self, Process};
use crate::testkit::TestDatabase;

const SERVER: &str = "/usr/share/request-tracker5/libexec/rt-server";
const FRESH_DATABASE: &str = "/var/lib/dbconfig-common/sqlite3/request-tracker5/rtdb";

/// What smshook's user needs: no more than `docs/connectors/rt.md` says.
const RIGHTS: [&str; 4] = ["AdminUsers", "CreateTicket", "ShowTicket", "ReplyToTicket"];
/// What it needs besides where texts are filed as comments.
const RIGHTS_TO_COMMENT: [&str; 3] = ["CommentOnTicket", "ShowTicketComments", "ModifyTicket"];

/// Whether the real one was asked for; says so if it was not.
fn asked_for(test: &str) -> bool {
    let asked_for = std::env::var("SMSHOOK_TEST_RT").is_ok_and(|value| value == "1");
    if !asked_for {
        crate::connectors::report(&format!(
            "{test}: skipped, because it installs and runs Request Tracker 5; SMSHOOK_TEST_RT=1 asks for that"
        ));
    }
    asked_for
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/request-tracker")
}

/// A Request Tracker of this test's; it ends with it.
struct RealRt {
    server: Child,
    address: SocketAddr,
    /// The tokens of smshook's user, of one who may comment too, and of a person who may do everything.
    token: String,
    commenter: String,
    agent: String,
    _directory: tempfile::TempDir,
}

impl Drop for RealRt {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl RealRt {
    async fn start() -> Self {
        let installed = Command::new("sh").arg(scripts().join("install.sh")).status().unwrap();
        assert!(installed.success(), "Request Tracker could not be installed");
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        configure(directory.path(), port);
        let token = user(directory.path(), "smshook", &RIGHTS);
        let commenter = user(
            directory.path(),
            "commenter",
            &[&RIGHTS[..], &RIGHTS_TO_COMMENT].concat(),
        );
        let agent = user(directory.path(), "agent", &["SuperUser"]);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(SERVER);
        command.args([
            "--server",
            "Standalone",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        let server = environment(&mut command, directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let rt = Self {
            server,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            token,
            commenter,
            agent,
            _directory: directory,
        };
        helpers::eventually("Request Tracker listens", async || {
            TcpStream::connect(rt.address).await.is_ok()
        })
        .await;
        rt
    }

    /// One request of `token`'s owner; `target` follows `/REST/2.0`.
    async fn ask(&self, token: &str, method: &str, target: &str, body: &Value) -> helpers::Response {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let head = format!(
            "{method} /REST/2.0{target} HTTP/1.1\r\nhost: {}\r\nauthorization: token {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        helpers::raw(self.address, format!("{head}{body}").as_bytes()).await
    }

    async fn agent(&self, method: &str, target: &str, body: &Value) -> Value {
        let answer = self.ask(&self.agent, method, target, body).await;
        assert!(
            (200..300).contains(&answer.status),
            "{method} {target}: {}",
            answer.body
        );
        answer.json()
    }

    /// How many users have the sender's name, and the texts on each of the sender's tickets, in order.
    async fn filed(&self, sender: &str) -> (usize, Vec<Vec<String>>) {
        let name = sender.replace('+', "%2B");
        let condition = format!("%5B%7B%22field%22:%22Name%22,%22operator%22:%22=%22,%22value%22:%22{name}%22%7D%5D");
        let users = self
            .agent("GET", &format!("/users?query={condition}"), &Value::Null)
            .await;
        let of = format!("/tickets?query=Requestor.Name='{name}'&orderby=id&per_page=100");
        let tickets = self.agent("GET", &of, &Value::Null).await;
        let mut texts = Vec::new();
        for ticket in tickets["items"].as_array().unwrap() {
            let id = ticket["id"].as_str().unwrap();
            let attachments = format!("/ticket/{id}/attachments?fields=Content&per_page=100");
            let attachments = self.agent("GET", &attachments, &Value::Null).await;
            let contents = attachments["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["Content"].as_str().unwrap().to_owned());
            texts.push(contents.collect());
        }
        (users["items"].as_array().unwrap().len(), texts)
    }

    async fn status(&self, ticket: u64) -> String {
        let ticket = self.agent("GET", &format!("/ticket/{ticket}"), &Value::Null).await;
        ticket["Status"].as_str().unwrap().to_owned()
    }
}

/// A copy of the fresh database, and a configuration that names it and nothing of the machine's own.
fn configure(directory: &Path, port: u16) {
    for folder in ["mason", "sessions", "conf.d"] {
        std::fs::create_dir(directory.join(folder)).unwrap();
    }
    std::fs::copy(FRESH_DATABASE, directory.join("database")).unwrap();
    let at = directory.display();
    let site = format!(
        "Set($rtname, 'test');\nSet($Organization, 'test');\nSet($DatabaseType, 'SQLite');\nSet($DatabaseName, '{at}/database');\n\
         Set($WebDomain, '127.0.0.1');\nSet($WebPort, {port});\nSet($WebPath, '');\nSet($MailCommand, 'testfile');\n\
         Set($LogToSTDERR, 'warning');\nSet($LogToSyslog, undef);\nSet($Timezone, 'UTC');\nSet($MasonDataDir, '{at}/mason');\n\
         Set($WebSessionClass, 'Apache::Session::File');\nSet($MasonSessionDir, '{at}/sessions');\n1;\n"
    );
    std::fs::write(directory.join("site.pm"), site).unwrap();
}

fn environment<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
    command
        .env("RT_SITE_CONFIG", directory.join("site.pm"))
        .env("RT_SITE_CONFIG_DIR", directory.join("conf.d"))
        .env("TMPDIR", directory)
}

/// Makes a user with rights; its token.
fn user(directory: &Path, name: &str, rights: &[&str]) -> String {
    let mut command = Command::new("perl");
    command.arg(scripts().join("user.pl")).arg(name).args(rights);
    let output = environment(&mut command, directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Stands between smshook and Request Tracker, and can keep the answer to one request to itself.
#[derive(Clone)]
struct Proxy {
    address: SocketAddr,
    behind: SocketAddr,
    /// How the request line begins whose answer is held.
    hold: Arc<Mutex<Option<String>>>,
    held: Arc<Notify>,
}

impl Proxy {
    async fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            behind,
            hold: Arc::default(),
            held: Arc::default(),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let proxy = accepting.clone();
                // a client that is killed ends its connection as it likes
                tokio::spawn(async move { proxy.pass(client).await.unwrap_or_default() });
            }
        });
        proxy
    }

    /// One request and its answer; Request Tracker's own server closes the connection after each.
    async fn pass(self, mut client: TcpStream) -> std::io::Result<()> {
        let request = whole_request(&mut client).await?;
        let mut server = TcpStream::connect(self.behind).await?;
        server.write_all(&request).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        let line = String::from_utf8_lossy(&request)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let is_held = self
            .hold
            .lock()
            .unwrap()
            .take_if(|wanted| line.starts_with(wanted.as_str()))
            .is_some();
        if is_held {
            self.held.notify_one();
            // until the client goes away
            return client.read(&mut [0]).await.map(drop);
        }
        client.write_all(&answer).await
    }

    fn hold(&self, request_line: &str) {
        *self.hold.lock().unwrap() = Some(request_line.to_owned());
    }
}

async fn whole_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = client.read(&mut part).await?;
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            if request.len() >= head.len() + 4 + length.unwrap_or(0) {
                return Ok(request);
            }
        }
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The real binary with its action pointed at a Request Tracker.
struct Service {
    database: TestDatabase,
    directory: tempfile::TempDir,
    toml: String,
}

impl Service {
    async fn of(rt: &RealRt, at: SocketAddr) -> Self {
        let keys = format!(
            r#"use = "rt", url = "http://{at}", token = "{}", subject = "{{{{ text }}}}""#,
            rt.token
        );
        Self {
            database: TestDatabase::new().await,
            directory: tempfile::tempdir().unwrap(),
            toml: matrix::configuration(&keys, "8s"),
        }
    }

    async fn start(&self) -> Process {
        let config = helpers::write_configuration(self.directory.path(), Some(&self.database.url()), &self.toml);
        Process::start(&config).await
    }

    async fn text(&self, process: &Process, sender: &str, text: &str) {
        assert_eq!(process.text(&sender[1..], text).await.status, 200);
        helpers::jobs_ended(&self.database.pool).await;
    }

    /// That no job ended otherwise than well.
    async fn all_done(&self) {
        let failed: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT state, reason FROM v1.jobs WHERE state <> 'done'")
                .fetch_all(&self.database.pool)
                .await
                .unwrap();
        assert_eq!(failed, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_request_tracker_gets_each_text_once() {
    if !asked_for("the_real_request_tracker_gets_each_text_once") {
        return;
    }
    let rt = RealRt::start().await;
    let service = Service::of(&rt, rt.address).await;
    let process = service.start().await;
    let sender = person(1);
    let texts = [
        "first: <b>&amp; 'quoted' \\ \u{1f600}",
        "second' OR id > 0 --\nnext line",
        "third",
        "fourth",
    ];
    service.text(&process, &sender, texts[0]).await;
    service.text(&process, &sender, texts[1]).await;
    assert_eq!(
        rt.filed(&sender).await,
        (1, vec![vec![texts[0].to_owned(), texts[1].to_owned()]])
    );
    assert_eq!(
        rt.agent("GET", "/ticket/1", &Value::Null).await["Requestor"][0]["id"],
        sender
    );

    // resolved by a person: the next text opens it again
    rt.agent("PUT", "/ticket/1", &json!({ "Status": "resolved" })).await;
    assert_eq!(rt.status(1).await, "resolved");
    service.text(&process, &sender, texts[2]).await;
    assert_eq!(rt.status(1).await, "open");

    // merged by a person: what follows is filed on the ticket that it is now part of
    let other =
        json!({ "Queue": "General", "Subject": "s", "Requestor": sender, "Content": "", "ContentType": "text/plain" });
    let other = rt.agent("POST", "/ticket", &other).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    rt.agent("PUT", "/ticket/1", &json!({ "MergeInto": other })).await;
    service.text(&process, &sender, texts[3]).await;
    let (users, tickets) = rt.filed(&sender).await;
    assert_eq!((users, tickets.len()), (1, 1));
    let filed: Vec<&str> = tickets[0]
        .iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    assert_eq!(filed, texts);
    service.all_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_the_real_ones_commit_and_our_settlement_file_nothing_twice() {
    if !asked_for("kills_between_the_real_ones_commit_and_our_settlement_file_nothing_twice") {
        return;
    }
    let rt = RealRt::start().await;
    let proxy = Proxy::before(rt.address).await;
    let service = Service::of(&rt, proxy.address).await;
    let mut process = service.start().await;
    let positions = [
        "POST /REST/2.0/user ",
        "POST /REST/2.0/ticket ",
        "POST /REST/2.0/ticket/",
    ];
    for (nth, position) in positions.into_iter().enumerate() {
        let sender = person(nth + 1);
        proxy.hold(position);
        for text in ["one", "two"] {
            assert_eq!(process.text(&sender[1..], text).await.status, 200);
        }
        let held = tokio::time::timeout(helpers::PATIENCE, proxy.held.notified()).await;
        assert!(held.is_ok(), "{position}was never asked");
        process.kill().await;
        process = service.start().await;
        helpers::jobs_ended(&service.database.pool).await;
        let filed = rt.filed(&sender).await;
        assert_eq!(
            filed,
            (1, vec![vec!["one".to_owned(), "two".to_owned()]]),
            "killed after {position}"
        );
    }
    service.all_done().await;
}

/// What of an answer the connector reads, in an order of its own.
fn shape(body: &Value) -> Value {
    let read = |item: &Value| {
        let mut read = json!({});
        for name in ["Name", "MobilePhone", "Status", "Data", "Disabled"] {
            // one that is empty is sometimes left out
            if let Some(value) = item.get(name).filter(|value| **value != json!("")) {
                read[name] = value.clone();
            }
        }
        if let Some(requestors) = item["Requestor"].as_array() {
            read["Requestor"] = requestors.iter().map(|one| one["id"].clone()).collect();
        }
        read
    };
    if let Some(items) = body["items"].as_array() {
        let mut items: Vec<String> = items
            .iter()
            .map(|item| format!("{} {}", read(item), item["Type"]))
            .collect();
        items.sort();
        return json!(items);
    }
    if body.is_array() {
        return body.clone();
    }
    let mut shape = read(body);
    if let Some(message) = body.get("message") {
        shape["message"] = message.clone();
    }
    if let Some(id) = body["id"].as_str() {
        shape["id"] = json!(id);
    }
    shape
}

/// Requests that show what the connector relies on, and every trap that the stand-in has.
#[expect(clippy::too_many_lines, reason = "a list of requests, to be read from top to bottom")]
fn script() -> Vec<(&'static str, &'static str, Value)> {
    let user = |name: &str| json!({ "Name": name, "MobilePhone": name, "Privileged": 0 });
    let ticket = |requestor: &str, more: Value| {
        let mut ticket = json!({ "Queue": "General", "Subject": "s", "Content": "c", "ContentType": "text/plain", "Requestor": requestor });
        ticket
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ticket
    };
    let reply = json!({ "Content": "<i>text", "Subject": "SMS [mark]", "ContentType": "text/plain" });
    let status = |status: &str| json!({ "Status": status });
    vec![
        ("POST", "/user", user("+14155550111")),
        ("POST", "/user", user("+14155550111")),
        ("POST", "/user", user("")),
        ("POST", "/user", json!({ "Name": "+14155550112", "Disabled": 1 })),
        ("POST", "/user", user("+14155550112")),
        ("GET", "/user/%2B14155550112", Value::Null),
        ("GET", "/user/%2B14155550113", Value::Null),
        (
            "GET",
            "/users?fields=Name,MobilePhone&query=[{%22field%22:%22Name%22,%22value%22:%22%2B14155550111%22}]",
            Value::Null,
        ),
        (
            "GET",
            "/users?fields=Name,MobilePhone&query=[{%22field%22:%22Name%22,%22value%22:%22%2B14155550112%22}]",
            Value::Null,
        ),
        // answered with every user
        (
            "GET",
            "/users?fields=Name,MobilePhone&query=[{%22field%22:%22MobilePhone%22,%22value%22:%22%2B14155550111%22}]",
            Value::Null,
        ),
        (
            "POST",
            "/ticket",
            ticket("+14155550111", json!({ "RefersTo": "smshook:mark" })),
        ),
        // no requestor, no word about it
        ("POST", "/ticket", ticket("sms:+14155550111", json!({}))),
        ("GET", "/ticket/1", Value::Null),
        ("GET", "/ticket/2", Value::Null),
        ("POST", "/ticket", ticket("+14155550111", json!({ "Queue": "Nowhere" }))),
        (
            "GET",
            "/tickets?fields=Requestor&query=RefersTo%20=%20'smshook:mark'",
            Value::Null,
        ),
        (
            "GET",
            "/tickets?query=Requestor.Name%20=%20'%2B14155550111'%20AND%20Queue%20=%20'General'%20AND%20Status%20=%20'__Active__'&fields=Requestor",
            Value::Null,
        ),
        (
            "GET",
            "/tickets?query=Requestor.Name%20=%20'%2B14155550111%5C'%20OR%20id%20%3E%200'",
            Value::Null,
        ),
        (
            "GET",
            "/tickets?query=id%20=%201%20AND%20Status%20=%20'__Active__'",
            Value::Null,
        ),
        ("POST", "/ticket/1/correspond", reply.clone()),
        ("POST", "/ticket/1/correspond", json!({ "Content": "no type" })),
        ("POST", "/ticket/1/comment", reply.clone()),
        (
            "GET",
            "/ticket/1/history?fields=Type,Data&per_page=100&page=1",
            Value::Null,
        ),
        (
            "GET",
            "/ticket/1/history?fields=Type,Data&per_page=100&page=2",
            Value::Null,
        ),
        ("PUT", "/ticket/1", status("resolved")),
        ("PUT", "/ticket/1", status("resolved")),
        ("PUT", "/ticket/1", status("no such")),
        (
            "GET",
            "/tickets?query=id%20=%201%20AND%20Status%20=%20'__Active__'",
            Value::Null,
        ),
        ("POST", "/ticket/1/comment", reply.clone()),
        ("GET", "/ticket/1", Value::Null),
        ("POST", "/ticket/1/correspond", reply.clone()),
        ("GET", "/ticket/1", Value::Null),
        ("GET", "/ticket/99", Value::Null),
        ("PUT", "/ticket/99", status("open")),
        ("POST", "/ticket/99/correspond", reply),
        (
            "GET",
            "/tickets?query=id%20=%2099%20AND%20Status%20=%20'__Active__'",
            Value::Null,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_answers_as_the_real_one_does() {
    if !asked_for("the_stand_in_answers_as_the_real_one_does") {
        return;
    }
    let real = RealRt::start().await;
    let mut stand = rt();
    let authorization = format!("token {TOKEN}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let mut differences = Vec::new();
    for (method, target, body) in script() {
        let theirs = real.ask(&real.commenter, method, target, &body).await;
        let ours = stand.answer(&Asked::of(
            method,
            &format!("/REST/2.0{target}"),
            &headers,
            &body.to_string(),
        ));
        let (ours, theirs) = (
            (ours.status, shape(&ours.value())),
            (theirs.status, shape(&theirs.json())),
        );
        if ours != theirs {
            differences.push(format!(
                "{method} {target} {body}\n  ours   {ours:?}\n  theirs {theirs:?}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let stranger = real.ask("1-27-nobodys", "GET", "/rt", &Value::Null).await;
    assert_eq!(
        (stranger.status, stranger.json()),
        (401, message(401, "Unauthorized").value())
    );
}
