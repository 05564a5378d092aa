//! The README is true: every command in a `sh` block runs, in order, beside a service with the built-in defaults; what
//! cannot run here (`console` blocks) is a known list that `.ci/run` or an operator's machine covers.

use std::process::Command;

use crate::helpers::{self, Process};

const README: &str = include_str!("../../README.md");

/// The blocks of one language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    README
        .split(opening.as_str())
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[tokio::test]
async fn every_command_of_the_readme_runs_beside_a_service_with_the_defaults() {
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let mut serve = helpers::smshook(&["serve"]);
    serve
        .current_dir(directory.path())
        .env("SMSHOOK_DATA_DIR", directory.path().join("data"))
        .env("SMSHOOK_LISTEN", "127.0.0.1:0")
        .env("SMSHOOK_ADMIN_LISTEN", "127.0.0.1:0")
        .env_remove("SMSHOOK_CONFIG");
    let mut service = Process::of(serve, directory.path()).await;
    let commands: Vec<&str> = blocks("sh").iter().flat_map(|block| block.lines()).collect();
    assert!(commands.len() >= 12, "the README lost its commands");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_smshook"));
    let mut path = binary.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    for command in commands {
        // the README's own PATH is that of a release build in a checkout
        if command.starts_with("export PATH=") {
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(directory.path())
            .env("PATH", &path)
            .env("SMSHOOK_DATA_DIR", directory.path().join("data"))
            .env("SMSHOOK_LISTEN", service.address.to_string())
            .env("SMSHOOK_ADMIN_LISTEN", service.admin.to_string())
            .env_remove("DATABASE_URL")
            .env_remove("SMSHOOK_CONFIG")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{command}` failed: {said}");
        assert!(!said.contains("panicked"), "{said}");
        match command {
            c if c.contains("--bad-signature") => assert!(said.starts_with("401"), "{said}"),
            c if c.contains("--burst") => assert!(
                said.contains("200        100") || said.contains("200      100"),
                "{said}"
            ),
            c if c.contains("--duplicate") => assert!(said.contains("\"status\":\"duplicate\""), "{said}"),
            c if c.contains("smshook phone") => {
                assert!(said.contains("\n    We are open Mon-Sat 9-6.\n"), "{said}");
                assert!(
                    said.contains("`hours` is cancelled: the sender has opted out"),
                    "{said}"
                );
            }
            c if c.starts_with("smshook send") => assert!(said.contains("\"status\":\"stored\""), "{said}"),
            c if c.starts_with("smshook jobs show 1") => assert!(said.contains("We are open Mon-Sat 9-6."), "{said}"),
            c if c.starts_with("smshook rules test") => assert!(said.contains("would run `hours`"), "{said}"),
            c if c.starts_with("smshook verify") => {
                assert!(
                    said.contains("it has another length than a digest of SHA-256"),
                    "{said}"
                );
                assert!(said.contains("hint: pass the value whole"), "{said}");
            }
            _ => {}
        }
    }
    service.signal(rustix::process::Signal::TERM);
    assert_eq!(service.ended().await, Some(0));
}

#[test]
fn what_the_readme_shows_without_running_is_known() {
    let shown: Vec<&str> = blocks("console")
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    let known = ["./dev run", "psql -h", "./dev test", "SMSHOOK_DOMAIN="];
    assert_eq!(shown.len(), known.len(), "{shown:?}");
    for (line, known) in shown.iter().zip(known) {
        assert!(line.starts_with(known), "{line}");
    }
}

#[test]
fn the_configuration_of_the_readme_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, blocks("toml")[0]).unwrap();
    let environment = |name: &str| {
        matches!(name, "SMS_WEBHOOK_SECRET" | "SMS_API_TOKEN" | "ZENDESK_SECRET").then(|| "something".to_owned())
    };
    let loaded = smshook::config::load(&smshook::config::Source::File(file), &environment);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn the_configuration_that_compose_mounts_is_one() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config.toml");
    let environment = |name: &str| (name == "SMS_WEBHOOK_SECRET").then(|| "something".to_owned());
    let loaded = smshook::config::load(&smshook::config::Source::File(file), &environment);
    assert!(
        loaded
            .unwrap_or_else(|problems| panic!("{problems}"))
            .warnings
            .is_empty()
    );
}
