//! How an endpoint tells its gateway's deliveries from others: secrets, the URL that is signed, times, and what becomes of a
//! delivery that does not verify.
//!
//! It must not let an endpoint without a secret pass for one that verifies: that takes a word of the operator's.

use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as Plain, StrDeserializer};
use url::Url;

use super::{Reader, quantity};
use crate::config::file::{self, Quantity, SigningSecret};
use crate::config::secret::SecretSource;
use crate::config::tree::{Place, nearest};
use crate::config::{KeepRefused, Mode};
use crate::gateway::Gateway;
use crate::signature::{Algorithm, KeyError, Keys, SecretSpec};

const DAY: Duration = Duration::from_hours(24);

/// What is kept of refused deliveries where the operator wants some kept and says no more.
const KEPT: KeepRefused = KeepRefused {
    count: 100,
    bytes: 1 << 20,
    age: Duration::from_hours(7 * 24),
};
/// Refused deliveries are written by anybody: more than this is a way to fill a disk.
const MOST_KEPT: u32 = 10_000;

/// A secret with where it is from and what it is for.
pub(super) struct Fetched {
    source: SecretSource,
    secret: SecretString,
    algorithm: Option<Algorithm>,
}

impl Reader<'_> {
    /// What becomes of a delivery that does not verify.
    pub(super) fn mode(&mut self, place: &Place, typed: &file::Endpoint) -> Mode {
        let runs_actions = typed.observe_runs_actions;
        let mode_place = place.key("mode");
        if typed.mode != Some(file::Mode::Observe) {
            if runs_actions {
                self.error(
                    &place.key("observe_runs_actions"),
                    "this endpoint does not observe",
                    "add `mode = \"observe\"`, or take this out: what verifies runs its actions anyway",
                );
            }
            return Mode::Enforce;
        }
        if typed.allow_unsigned {
            let help = "keep `mode = \"observe\"` while a signature is being set up, or `allow_unsigned = true` where there \
                        will be none";
            self.error(
                &place.key("allow_unsigned"),
                "this endpoint observes signatures and asks for none",
                help,
            );
            return Mode::Enforce;
        }
        let consequence = if runs_actions {
            "is stored and runs its actions, whoever sent it"
        } else {
            "is stored and marked, whoever sent it"
        };
        self.warn(
            &mode_place,
            format!("THIS ENDPOINT ONLY OBSERVES: what does not verify {consequence}"),
            "set `mode = \"enforce\"` as soon as signatures verify",
        );
        Mode::Observe { runs_actions }
    }

    /// The endpoint's secrets; `None` after a problem. None at all only where unsigned deliveries are allowed or signatures
    /// are only observed.
    pub(super) fn secrets(&mut self, place: &Place, typed: &file::Endpoint, mode: Mode) -> Option<Vec<Fetched>> {
        let secrets_place = place.key("secrets");
        if typed.secrets.is_empty() && !typed.allow_unsigned && mode == Mode::Enforce {
            let help = "add `secrets = [{ env = \"SMS_WEBHOOK_SECRET\" }]`; without one anybody could post messages";
            self.error(
                &secrets_place,
                "this endpoint has no secret to verify signatures with",
                help,
            );
            return None;
        }
        if !typed.secrets.is_empty() && typed.allow_unsigned {
            let help = "take one of them out; with secrets, every delivery must be signed";
            self.error(
                &place.key("allow_unsigned"),
                "this endpoint has secrets and allows unsigned deliveries",
                help,
            );
            return None;
        }
        if typed.allow_unsigned {
            let help = "anybody who finds the URL can post messages; keep it behind something that checks who calls";
            self.warn(&place.key("allow_unsigned"), "deliveries are not verified here", help);
        }
        let fetched = typed.secrets.iter().enumerate();
        let fetched: Vec<_> = fetched
            .map(|(item, typed)| self.signing_secret(&secrets_place.item(item), typed))
            .collect();
        fetched.into_iter().collect()
    }

    fn signing_secret(&mut self, place: &Place, typed: &SigningSecret) -> Option<Fetched> {
        let secret = self.secret(place, &typed.secret);
        let algorithm = self.algorithm(place, typed);
        let (source, secret) = secret?;
        Some(Fetched {
            source,
            secret,
            algorithm: algorithm?,
        })
    }

    /// The algorithm that a secret is for, if it says so; `None` after a problem.
    #[expect(
        clippy::option_option,
        reason = "the inner one is that nothing was said, the outer one that it was wrong"
    )]
    fn algorithm(&mut self, place: &Place, typed: &SigningSecret) -> Option<Option<Algorithm>> {
        let Some(word) = typed.algorithm.as_deref() else {
            return Some(None);
        };
        let word_as_typed: StrDeserializer<'_, Plain> = word.into_deserializer();
        match Algorithm::deserialize(word_as_typed) {
            Ok(algorithm) => Some(Some(algorithm)),
            Err(error) => {
                let said = error.to_string();
                let known: Vec<&str> = said.split('`').skip(1).step_by(2).skip(1).collect();
                let help = match nearest(word, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`? There are: {}", known.join(", ")),
                    None => format!("there are: {}", known.join(", ")),
                };
                self.error(
                    &place.key("algorithm"),
                    format!("there is no algorithm `{}`", word.chars().take(32).collect::<String>()),
                    help,
                );
                None
            }
        }
    }

    /// The keys with where each came from; no keys where there are no secrets. `None` after a problem.
    pub(super) fn keys(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        fetched: Vec<Fetched>,
    ) -> Option<(Option<Keys>, Vec<SecretSource>)> {
        if fetched.is_empty() {
            return Some((None, Vec::new()));
        }
        let specs: Vec<_> = (1..)
            .zip(&fetched)
            .map(|(number, fetched)| fetched.spec(number))
            .collect();
        let sources = fetched.into_iter().map(|fetched| fetched.source).collect();
        match Keys::new(&gateway.signature, &specs) {
            Ok(keys) => Some((Some(keys), sources)),
            Err(error) => {
                self.error(&place.key("secrets"), error.to_string(), help_with(&error));
                None
            }
        }
    }

    /// Secrets that were in force once. One that cannot be had explains nothing, which is no reason not to start.
    pub(super) fn retired(
        &mut self,
        place: &Place,
        typed: &[SigningSecret],
        in_force: &[Fetched],
    ) -> Vec<(Place, Fetched)> {
        let place = place.key("retired_secrets");
        let mut retired = Vec::new();
        for (item, typed) in typed.iter().enumerate() {
            let place = place.item(item);
            let Some(fetched) = self.retired_secret(&place, typed) else {
                continue;
            };
            if in_force.iter().any(|other| other.is_same(&fetched)) {
                let help = "take it out of `secrets` if it is no longer in use, or out of here";
                self.error(&place, "this secret is in force: it stands in `secrets`", help);
                continue;
            }
            retired.push((place, fetched));
        }
        retired
    }

    fn retired_secret(&mut self, place: &Place, typed: &SigningSecret) -> Option<Fetched> {
        let algorithm = self.algorithm(place, typed)?;
        let source = typed.secret.source(&self.data_dir);
        match typed.secret.fetch(&self.data_dir, self.environment) {
            Ok(secret) => Some(Fetched {
                source,
                secret,
                algorithm,
            }),
            Err(error) => {
                let help = "without it, a signature made with it is not told from any other; take it out of here if it \
                            is gone";
                self.warn(place, format!("a retired secret cannot be had: {error}"), help);
                None
            }
        }
    }

    /// The keys of retired secrets; those that this gateway could not have used are left out.
    pub(super) fn retired_keys(&mut self, gateway: &Gateway, retired: Vec<(Place, Fetched)>) -> Option<Keys> {
        let mut specs = Vec::new();
        for (number, (place, fetched)) in (1..).zip(retired) {
            let spec = fetched.spec(number);
            match Keys::new(&gateway.signature, std::slice::from_ref(&spec)) {
                Ok(_) => specs.push(spec),
                Err(error) => self.warn(&place, error.to_string(), help_with(&error)),
            }
        }
        Keys::new(&gateway.signature, &specs).ok()
    }

    /// How the world calls this endpoint, as it is typed: every letter of it may be signed. Empty where nobody said; `None`
    /// after a problem.
    pub(super) fn endpoint_url(
        &mut self,
        place: &Place,
        typed: &file::Endpoint,
        server: Option<&Url>,
    ) -> Option<String> {
        let Some(url) = &typed.public_url else {
            let base = server.map(|server| server.as_str().trim_end_matches('/'));
            return Some(base.map_or_else(String::new, |base| format!("{base}{}", typed.path)));
        };
        let place = place.key("public_url");
        let Some(parsed) = plain_url(url) else {
            let help = "write it as the gateway calls it, such as \"https://sms.example.com/hooks/sms\": http or https, no \
                        user, no query, no `#`";
            self.error(&place, "this is not the URL of an endpoint", help);
            return None;
        };
        if parsed.path() == "/" && typed.path != "/" {
            let what = format!("this URL has no path, and the endpoint's is `{}`", typed.path);
            let help = "write the whole URL that the gateway was given, its path included";
            self.warn(&place, what, help);
        }
        Some(url.clone())
    }

    /// A duration within bounds; `None` if there is none, or after a problem.
    pub(super) fn duration_within(
        &mut self,
        place: &Place,
        typed: Option<&Quantity>,
        bounds: &RangeInclusive<Duration>,
        said: &str,
    ) -> Option<Duration> {
        let Quantity(text) = typed?;
        let read = quantity::duration_or_none(text);
        let within = read.filter(|duration| bounds.contains(duration));
        match (read, within) {
            (None, _) => {
                let help = "write a number and ms, s, m, h or d, such as \"10s\" or \"1.5s\"";
                self.error(place, format!("`{text}` is not a duration"), help);
            }
            (Some(_), None) => self.error(place, format!("`{text}` is out of bounds"), format!("use {said}")),
            (Some(_), Some(_)) => {}
        }
        within
    }

    /// How much is kept of what was refused; nothing unless asked for.
    pub(super) fn keep_refused(&mut self, place: &Place, typed: Option<&file::KeepRefused>) -> Option<KeepRefused> {
        let typed = typed?;
        let place = place.key("keep_refused");
        let count = self.count(&place.key("count"), typed.count, KEPT.count);
        if count > MOST_KEPT {
            self.error(
                &place.key("count"),
                "this is out of bounds",
                format!("use at most {MOST_KEPT}"),
            );
        }
        let age = self.duration_within(
            &place.key("age"),
            typed.age.as_ref(),
            &(Duration::from_secs(1)..=DAY * 90),
            "\"1s\" to \"90d\"",
        );
        Some(KeepRefused {
            count,
            bytes: self.size(&place.key("bytes"), typed.bytes.as_ref(), KEPT.bytes),
            age: age.unwrap_or(KEPT.age),
        })
    }
}

impl Fetched {
    fn spec(&self, number: usize) -> SecretSpec {
        SecretSpec {
            label: match &self.source {
                SecretSource::Inline => format!("number {number} of the list"),
                source => source.to_string(),
            },
            secret: self.secret.clone(),
            algorithm: self.algorithm,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.source != SecretSource::Inline && self.source == other.source)
            || self.secret.expose_secret() == other.secret.expose_secret()
    }
}

const fn help_with(error: &KeyError) -> &'static str {
    match error {
        KeyError::Algorithm { .. } => "take its `algorithm` out, or name one that the gateway's kind of signature has",
        _ => "copy it from the gateway again, or see `secret_encoding` and the secret's `algorithm`",
    }
}

/// A URL of which nothing gets lost when it is compared letter by letter.
fn plain_url(typed: &str) -> Option<Url> {
    let rest = typed
        .strip_prefix("https://")
        .or_else(|| typed.strip_prefix("http://"))?;
    if rest.starts_with('/') || rest.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return None;
    }
    let url = Url::parse(typed).ok()?;
    let is_plain = url.query().is_none() && url.fragment().is_none() && !typed.contains('@');
    (url.has_host() && is_plain).then_some(url)
}
