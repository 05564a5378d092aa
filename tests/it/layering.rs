//! The arrows between rooms: who may import whom. A room that needs more than its row allows is in the wrong place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Room → the rooms it may import. The order is that of the map in `src/lib.rs`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("phone", &[]),
    ("message", &["phone"]),
    ("signature", &[]),
    ("gateway", &["message", "phone", "signature"]),
    ("connector", &[]),
    ("consent", &["message"]),
    ("template", &[]),
    ("job", &["message"]),
    ("rules", &["message", "phone", "consent", "template", "job"]),
    (
        "config",
        &[
            "message",
            "phone",
            "signature",
            "gateway",
            "connector",
            "consent",
            "template",
            "rules",
            "job",
        ],
    ),
    ("metrics", &[]),
    ("store", &["message", "phone", "job", "consent", "rules", "metrics"]),
    (
        "actions",
        &["phone", "job", "template", "gateway", "config", "store", "metrics"],
    ),
    ("worker", &["job", "config", "store", "actions", "metrics"]),
    ("notifier", &["job", "config", "store", "actions", "metrics"]),
    ("reassembly", &["message", "consent", "rules", "config", "store"]),
    (
        "http",
        &[
            "message",
            "phone",
            "signature",
            "gateway",
            "consent",
            "rules",
            "config",
            "store",
            "metrics",
        ],
    ),
    ("embedded_postgres", &[]),
    ("telemetry", &[]),
    (
        "app",
        &[
            "config",
            "store",
            "actions",
            "worker",
            "notifier",
            "reassembly",
            "http",
            "metrics",
            "embedded_postgres",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "phone",
            "message",
            "signature",
            "gateway",
            "connector",
            "consent",
            "template",
            "job",
            "rules",
            "config",
            "store",
            "actions",
            "http",
            "app",
            "telemetry",
            "metrics",
        ],
    ),
];

/// Libraries that belong to one room.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("axum", &["http"]),
    ("hyper", &["http"]),
    ("tower_http", &["http"]),
    ("reqwest", &["actions"]),
    ("lettre", &["actions"]),
    ("clap", &["cli"]),
    ("csv", &["cli"]),
    ("minijinja", &["template"]),
    ("hmac", &["signature", "actions", "store"]),
    ("sqlx", &["store", "embedded_postgres", "worker", "app"]),
];

fn sources() -> Vec<(String, PathBuf)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
                let room = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
                if room != "lib" && room != "main" {
                    found.push((room, path));
                }
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The code of a file: no comments, no unit tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.file_stem().is_some_and(|stem| stem == "tests")
}

/// Names right after `crate::`, also those in `crate::{a, b::c}`.
fn imported_rooms(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for after in code.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.push(std::mem::take(&mut name)),
                    _ if depth == 0 && !c.is_whitespace() => name.push(c),
                    _ => {}
                }
            }
            rooms.push(name);
        } else {
            rooms.push(after.to_owned());
        }
    }
    rooms
        .iter()
        .map(|path| {
            path.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_arrow_between_rooms_is_allowed() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (room, path) in sources() {
        if is_test_file(&path) {
            continue;
        }
        let Some(allowed) = table.get(room.as_str()) else {
            wrong.push(format!("{}: room `{room}` is not in the table", path.display()));
            continue;
        };
        for imported in imported_rooms(&code(&path)) {
            if table.contains_key(imported.as_str()) && imported != room && !allowed.contains(&imported.as_str()) {
                wrong.push(format!("{}: `{room}` must not import `{imported}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_library_with_an_owner_is_used_by_its_owner_only() {
    let mut wrong = Vec::new();
    for (room, path) in sources() {
        let code = code(&path);
        for (library, rooms) in ONLY_IN {
            let used = code.contains(&format!("use {library}::"))
                || code.contains(&format!(" {library}::"))
                || code.contains(&format!("({library}::"));
            if used && !rooms.contains(&room.as_str()) {
                wrong.push(format!("{}: `{library}` belongs to {rooms:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql_is_written_in_the_store_only() {
    for (room, path) in sources() {
        let code = code(&path);
        let asks = ["SELECT ", "INSERT INTO ", "UPDATE smshook", "DELETE FROM "]
            .iter()
            .any(|word| code.contains(word));
        // the embedded server creates its own database, which no migration can
        assert!(
            !asks || room == "store" || room == "embedded_postgres",
            "{}: SQL outside the store",
            path.display()
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (_, path) in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} opens without saying what it is for",
            path.display()
        );
    }
}

#[test]
fn the_reader_of_imports_finds_them_in_every_form() {
    let code = "use crate::a::X;\nuse crate::{b, c::{Y, d}, e};\nfn f() { crate::g::h(); }";
    assert_eq!(imported_rooms(code), ["a", "b", "c", "e", "g"]);
}
