//! `[retention]` and `[privacy]`: how long what is stored is kept, and the key under which erased people are still known.
//!
//! Nothing is deleted that the operator did not ask for: without `[retention]` everything is kept.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{Reader, quantity};
use crate::config::Retention;
use crate::config::file::{self, Quantity, Secret};
use crate::config::secret::{SecretSource, generated_path};
use crate::config::tree::Place;

/// The key's file in the data directory, where the database is there, too.
const GENERATED: &str = "erasure-key";
/// A shorter key could be found by trying, and the numbers with it.
const SHORTEST_KEY: usize = 32;
/// Gateways repeat for days, and a late copy of a message that is gone is a new message.
const SHORTEST_FOR_MESSAGES: Duration = Duration::from_hours(7 * 24);
/// What somebody asked for is disputed weeks later at the earliest.
const SHORTEST_FOR_CONSENT: Duration = Duration::from_hours(30 * 24);

impl Reader<'_> {
    pub(super) fn retention(&mut self, typed: &file::Retention) -> Retention {
        let place = Place::root().key("retention");
        Retention {
            messages: self.age(
                &place.key("messages"),
                typed.messages.as_ref(),
                SHORTEST_FOR_MESSAGES,
                "gateways repeat a message for days, and the copy of one that is gone would be taken for a new one",
            ),
            consent: self.age(
                &place.key("consent"),
                typed.consent.as_ref(),
                SHORTEST_FOR_CONSENT,
                "this is the proof of who asked for what, and a dispute comes months later",
            ),
        }
    }

    fn age(&mut self, place: &Place, typed: Option<&Quantity>, shortest: Duration, why: &str) -> Option<Duration> {
        let Quantity(text) = typed?;
        let days = shortest.as_secs() / 86_400;
        match quantity::age(text) {
            None => {
                let help = format!("write a number of days, such as \"90d\"; at least \"{days}d\"");
                self.error(
                    place,
                    format!("`{text}` is not a time for which something is kept"),
                    help,
                );
                None
            }
            Some(age) if age < shortest => {
                let help = format!("{why}: keep at least \"{days}d\"");
                self.error(place, format!("`{text}` is too short"), help);
                None
            }
            age => age,
        }
    }

    /// What is configured, else a file beside the embedded database. Of one that smshook is yet to make there is nothing to
    /// hash with: another key in its place would make numbers that nobody finds again.
    pub(super) fn erasure_key(&mut self, typed: Option<&Secret>, is_embedded: bool) -> Option<SecretString> {
        let place = Place::root().key("privacy").key("erasure_key");
        let default = Secret::Generated(GENERATED.to_owned());
        let secret = match typed {
            Some(typed) => typed,
            None if is_embedded => &default,
            None => return None,
        };
        if let Secret::Generated(name) = secret
            && let Some(path) = generated_path(&self.data_dir, name)
        {
            if !is_embedded {
                let help = "give every process the same one as { env = \"NAME\" } or { file = \"PATH\" }";
                self.warn(
                    &place,
                    "each data directory has another generated key, and the database needs one",
                    help,
                );
            }
            self.erasure_key_file = Some(path.clone());
            if !path.exists() {
                self.generated_secrets.push(path);
                return None;
            }
        }
        let (source, key) = self.secret(&place, secret)?;
        if key.expose_secret().len() < SHORTEST_KEY && !matches!(source, SecretSource::Generated(_)) {
            let help = format!("make one of at least {SHORTEST_KEY} characters, such as with `openssl rand -hex 32`");
            self.error(&place, "this key is too short: it could be found by trying", help);
            return None;
        }
        Some(key)
    }
}
