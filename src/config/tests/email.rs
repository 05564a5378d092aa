//! Mail actions: their defaults, and what is refused.

use super::*;
use crate::config::action::{EmailSpec, EmailTls};

fn action(keys: &str) -> String {
    format!("[action.a]\nemail = {{ from = \"SMS <sms@example.com>\", to = [\"a@example.com\"], {keys} }}\n")
}

fn spec(keys: &str) -> EmailSpec {
    let mut config = loaded(&format!("{ENDPOINT}{}", action(keys))).config;
    let Effect::Email(spec) = config.actions.remove("a").unwrap().effect else {
        panic!("a is a mail action")
    };
    *spec
}

#[test]
fn a_mail_needs_a_server_and_addresses_only() {
    let mail = spec("host = \"smtp.example.com\"");
    assert_eq!(
        (mail.port, mail.tls, mail.on_unknown),
        (587, EmailTls::StartTls, OnUnknown::Resend)
    );
    assert!(mail.credentials.is_none() && mail.ca_pem.is_none());
    assert_eq!(mail.subject.source(), "SMS from {{ sender }}");
    let text = mail.text.render(&crate::template::sample()).unwrap();
    assert!(text.starts_with("Hello\n") && text.contains("+14155550100"), "{text}");
    assert_eq!(mail.to, ["a@example.com"]);
    assert_eq!(spec("host = \"x.example\", tls = \"tls\"").port, 465);
    assert_eq!(spec("host = \"127.0.0.1\", tls = \"none\"").port, 25);
    assert_eq!(spec("host = \"10.1.1.1\", tls = \"none\", port = 2525").port, 2525);
    assert_eq!(
        spec("host = \"mail.internal\", tls = \"none\", allow_plain = true").tls,
        EmailTls::None
    );
    let signed_in =
        spec("host = \"x.example\", username = \"u\", password = { env = \"SECRET\" }, on_unknown = \"skip\"");
    let (user, password) = signed_in.credentials.unwrap();
    assert_eq!((user.as_str(), password.expose_secret()), ("u", "value-of-SECRET"));
    assert_eq!(signed_in.on_unknown, OnUnknown::Skip);
}

#[test]
fn a_mail_that_cannot_be_sent_or_shows_a_secret_is_refused() {
    says(&action("host = \"https://x\""), "not the name of a server");
    says(&action("host = \"x\", port = 0"), "no port 0");
    says(&action("host = \"x.example\", tls = \"none\""), "without TLS everybody");
    says(
        &action("host = \"localhost\", tls = \"none\", username = \"u\", password = { env = \"SECRET\" }"),
        "does not go out without TLS",
    );
    says(&action("host = \"x\", username = \"u\""), "no password");
    says(&action("host = \"x\", password = { env = \"SECRET\" }"), "no user name");
    says(
        &action("host = \"x\", subject = \"{{ sbject }}\""),
        "`sbject` is undefined",
    );
    says(&action("host = \"x\", ca_file = \"/nowhere.pem\""), "cannot be read");
    says(
        &action("host = \"x\"").replace("a@example.com", "a"),
        "not a mail address",
    );
    says(
        &action("host = \"x\"").replace("sms@example.com>", "sms>"),
        "not a mail address",
    );
    says(
        &action("host = \"x\"").replace("\"a@example.com\"", ""),
        "goes to nobody",
    );
    let inline = refused(&format!(
        "{ENDPOINT}{}",
        action("host = \"x\", username = \"u\", password = \"hunter2\", prot = 5")
    ));
    assert!(
        inline.contains("did you mean `port`?") && !inline.contains("hunter2"),
        "{inline}"
    );
}

#[test]
fn a_certificate_is_one_in_pem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let keys = format!("host = \"x.example\", ca_file = \"{}\"", file.display());
    assert!(spec(&keys).ca_pem.unwrap().starts_with(b"-----BEGIN"));
    std::fs::write(&file, "no certificate").unwrap();
    says(&action(&keys), "holds no certificate in PEM");
}
