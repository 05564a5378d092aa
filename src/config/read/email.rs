//! Mail actions: a server, addresses, and what stands in the mail.
//!
//! It must not connect to anything; whether the server takes what is written here is seen when a mail goes out.

use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

use secrecy::SecretString;
use url::Host;

use super::Reader;
use super::http::{Names, Spot, private_address};
use crate::config::action::{EmailSpec, EmailTls, OnUnknown};
use crate::config::file;
use crate::config::tree::Place;

const SUBJECT: &str = "SMS from {{ sender }}";
const TEXT: &str = "{{ text }}\n\n-- \nFrom {{ sender }} to {{ recipient }}, received {{ message.received_at }}\n";

impl Reader<'_> {
    /// A mail action: `place` is its `email`, `names` what its templates may use.
    pub(super) fn email(&mut self, place: &Place, typed: &file::Email, names: &Rc<Names>) -> Option<EmailSpec> {
        let tls = match typed.tls {
            None | Some(file::EmailTls::Starttls) => EmailTls::StartTls,
            Some(file::EmailTls::Tls) => EmailTls::Tls,
            Some(file::EmailTls::None) => EmailTls::None,
        };
        self.mail_server(place, typed, tls);
        let credentials = self.mail_credentials(place, typed, tls);
        let ca_pem = typed.ca_file.as_deref();
        let ca_pem = ca_pem.and_then(|file| self.certificate(&place.key("ca_file"), file));
        self.address(&place.key("from"), &typed.from);
        let to = &typed.to.0;
        let to_place = place.key("to");
        if to.is_empty() {
            self.error(&to_place, "this mail goes to nobody", "add an address");
        }
        let is_list = self.document.items(&to_place).is_some();
        for (item, address) in to.iter().enumerate() {
            let place = if is_list { to_place.item(item) } else { to_place.clone() };
            self.address(&place, address);
        }
        let spot = Spot::named(place.clone(), names);
        let subject = self.template(&spot.key("subject"), typed.subject.as_deref().unwrap_or(SUBJECT));
        let text = self.template(&spot.key("text"), typed.text.as_deref().unwrap_or(TEXT));
        Some(EmailSpec {
            host: typed.host.clone(),
            port: typed.port.unwrap_or(match tls {
                EmailTls::StartTls => 587,
                EmailTls::Tls => 465,
                EmailTls::None => 25,
            }),
            tls,
            credentials,
            ca_pem,
            from: typed.from.clone(),
            to: to.clone(),
            subject: subject?,
            text: text?,
            on_unknown: typed.on_unknown.map_or(OnUnknown::Resend, OnUnknown::from),
        })
    }

    fn mail_server(&mut self, place: &Place, typed: &file::Email, tls: EmailTls) {
        let host = host(&typed.host);
        if host.is_none() {
            let help = "write a name or an address alone, such as \"smtp.example.com\"; `port` has a key of its own";
            self.error(&place.key("host"), "this is not the name of a server", help);
        }
        if typed.port == Some(0) {
            self.error(
                &place.key("port"),
                "a server has no port 0",
                "leave it out for the default",
            );
        }
        let is_near = host.is_some_and(|host| match host {
            Host::Domain(name) => private_address(&Host::Domain(name.as_str())).is_some(),
            Host::Ipv4(address) => private_address(&Host::Ipv4(address)).is_some(),
            Host::Ipv6(address) => private_address(&Host::Ipv6(address)).is_some(),
        });
        if tls == EmailTls::None && !is_near && !typed.allow_plain {
            let help = "use \"starttls\" or \"tls\"; if the way there is private, add `allow_plain = true`";
            let what = "without TLS everybody on the way can read the messages";
            self.error(&place.key("tls"), what, help);
        }
    }

    fn mail_credentials(
        &mut self,
        place: &Place,
        typed: &file::Email,
        tls: EmailTls,
    ) -> Option<(String, SecretString)> {
        match (&typed.username, &typed.password) {
            (Some(username), Some(password)) => {
                if tls == EmailTls::None {
                    let help = "use \"starttls\" or \"tls\", or take the password out";
                    let what = "a password does not go out without TLS";
                    self.error(&place.key("password"), what, help);
                }
                let (_, password) = self.secret(&place.key("password"), password)?;
                Some((username.clone(), password))
            }
            (Some(_), None) => {
                let help = "add `password = { env = \"SMTP_PASSWORD\" }`, or take `username` out";
                self.error(&place.key("username"), "there is a user name and no password", help);
                None
            }
            (None, Some(_)) => {
                let help = "add `username`, or take `password` out";
                self.error(&place.key("password"), "there is a password and no user name", help);
                None
            }
            (None, None) => None,
        }
    }

    fn certificate(&mut self, place: &Place, file: &Path) -> Option<Vec<u8>> {
        let shown = file.display();
        match std::fs::read(file) {
            Ok(pem) if pem.windows(PEM.len()).any(|window| window == PEM) => Some(pem),
            Ok(_) => {
                let what = format!("`{shown}` holds no certificate in PEM");
                self.error(place, what, "it has a line `-----BEGIN CERTIFICATE-----` in it");
                None
            }
            Err(error) => {
                let help = "relative paths start at the working directory";
                self.error(place, format!("`{shown}` cannot be read: {error}"), help);
                None
            }
        }
    }

    fn address(&mut self, place: &Place, typed: &str) {
        if !is_address(typed) {
            let help = "write it as \"sms@example.com\" or \"SMS <sms@example.com>\"";
            self.error(place, "this is not a mail address", help);
        }
    }
}

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// A host's name or address alone.
fn host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(match address {
            IpAddr::V4(v4) => Host::Ipv4(v4),
            IpAddr::V6(v6) => Host::Ipv6(v6),
        });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let sound = !text.is_empty() && text.len() <= 253 && text.chars().all(plain);
    sound.then(|| Host::parse(text).ok()).flatten()
}

/// `local@domain`, alone or in `<…>` after a name. What exactly a server takes it decides itself.
fn is_address(text: &str) -> bool {
    let text = text.trim();
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
        None => text,
    };
    let (local, domain) = address.split_once('@').unwrap_or_default();
    let strange = |c: char| c.is_control() || c.is_whitespace() || "<>,;\"".contains(c);
    !text.chars().any(char::is_control)
        && (1..=64).contains(&local.len())
        && !local.contains(strange)
        && host(domain).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_at_sign_and_nothing_that_could_start_a_header() {
        for address in [
            "a@example.com",
            "SMS <sms@example.com>",
            "a.b+c@sub.example.com",
            "ä@localhost",
        ] {
            assert!(is_address(address), "{address}");
        }
        for other in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@b@c",
            "a b@example.com",
            "a@example.com\r\nBcc: b@example.com",
            "X <a@example.com",
            "a@example.com, b@example.com",
            "a@exa mple.com",
            "X\n <a@example.com>",
        ] {
            assert!(!is_address(other), "{other:?}");
        }
    }

    #[test]
    fn servers_are_named_without_scheme_and_port() {
        for name in ["smtp.example.com", "127.0.0.1", "::1", "localhost", "mail_1.internal"] {
            assert!(host(name).is_some(), "{name}");
        }
        for other in ["", "smtp://x", "x:25", "a b", "x/y", "[::1]"] {
            assert!(host(other).is_none(), "{other}");
        }
    }
}
