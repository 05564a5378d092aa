//! `[retention]` and `[privacy]`: nothing goes unless somebody says so, and nobody is hashed with a key that is lost again.

use super::*;

const DAY: Duration = Duration::from_hours(24);
const DATABASE: &str = "[database]\nurl = { env = \"SMSHOOK_DATABASE_URL\" }\n";

#[test]
fn nothing_is_deleted_unless_the_operator_says_for_how_long_it_is_kept() {
    assert_eq!(loaded(ENDPOINT).config.retention, Retention::default());
    let text = format!("{ENDPOINT}[retention]\nmessages = \"90d\"\nconsent = \"1825d\"\n");
    let expected = Retention {
        messages: Some(90 * DAY),
        consent: Some(1825 * DAY),
    };
    assert_eq!(loaded(&text).config.retention, expected);
}

#[test]
fn a_time_that_is_too_short_is_refused_and_the_error_says_why() {
    shows(
        "[retention]\nmessages = \"6d\"\nconsent = \"29d\"\n",
        r#"
error: `6d` is too short
 --> config.toml:7:12
  |
7 | messages = "6d"
  |            ^^^^
help: gateways repeat a message for days, and the copy of one that is gone would be taken for a new one: keep at least "7d"

error: `29d` is too short
 --> config.toml:8:11
  |
8 | consent = "29d"
  |           ^^^^^
help: this is the proof of who asked for what, and a dispute comes months later: keep at least "30d"

2 errors in the configuration
"#,
    );
    let wrong = refused(&format!("{ENDPOINT}[retention]\nmessages = \"90\"\n"));
    assert!(
        wrong.contains("`90` is not a time for which something is kept"),
        "{wrong}"
    );
}

/// With a data directory that has this file in it.
fn with_key_file(content: Option<&str>, more: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    if let Some(content) = content {
        let file = folder.path().join("erasure-key");
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    loaded(&format!("data_dir = \"{}\"\n{ENDPOINT}{more}", folder.path().display()))
}

#[test]
fn beside_the_embedded_database_the_key_is_a_file_that_is_made_at_the_first_start() {
    let before = with_key_file(None, "");
    assert!(
        before.config.erasure_key.is_none(),
        "a key of the moment would make numbers that nobody finds again"
    );
    assert_eq!(before.warnings, []);
    let file = before.erasure_key_file.unwrap();
    assert!(file.ends_with("erasure-key") && before.generated_secrets == [file]);
    let after = with_key_file(Some("the-key\n"), "");
    assert_eq!(after.config.erasure_key.unwrap().expose_secret(), "the-key");
}

#[test]
fn a_database_of_ones_own_has_the_key_that_is_configured_or_none() {
    assert!(with_key_file(Some("the-key\n"), DATABASE).config.erasure_key.is_none());
    let configured = format!("{DATABASE}[privacy]\nerasure_key = {{ env = \"SMSHOOK_ERASURE_KEY\" }}\n");
    let Loaded { config, warnings, .. } = with_key_file(None, &configured);
    assert_eq!(config.erasure_key.unwrap().expose_secret().len(), 32);
    assert_eq!(warnings, []);
    let generated = format!("{DATABASE}[privacy]\nerasure_key = {{ generated = \"erasure-key\" }}\n");
    let warnings = with_key_file(Some("the-key\n"), &generated).warnings;
    assert!(
        warnings[0].to_string().contains("each data directory has another"),
        "{warnings:?}"
    );
}

#[test]
fn a_key_that_could_be_found_by_trying_is_refused_and_not_shown() {
    let said = refused(&format!("{ENDPOINT}[privacy]\nerasure_key = \"hunter2-hunter2\"\n"));
    assert!(
        said.contains("this key is too short") && !said.contains("hunter2"),
        "{said}"
    );
}
