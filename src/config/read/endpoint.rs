//! Endpoints: names and paths, numbers, consent texts, and what the rooms beside this one make of the rest.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::Reader;
use super::gateway::OwnGateways;
use super::http::Spot;
use crate::config::file::{self, TextOrNone};
use crate::config::secret::SecretSource;
use crate::config::tree::Place;
use crate::config::{Endpoint, Mode};
use crate::consent::{Additions, PhrasePolicy, Vocabulary, VocabularyError, normalise};
use crate::gateway::{Gateway, Reading};
use crate::phone::NumberFormat;
use crate::rules::EndpointPolicy;
use crate::signature::Keys;
use crate::template::Template;

/// Sent once to somebody who opted out; it must be final and must not advertise.
const OPT_OUT_TEXT: &str =
    "You have been unsubscribed and will get no more messages from us. Reply START to subscribe again.";
/// Sent to somebody who opted in again.
const OPT_IN_TEXT: &str = "You are subscribed again. Reply STOP to unsubscribe.";

/// Long enough for the parts that a gateway sends one after another, short enough for an answer.
const REASSEMBLY_WAIT: Duration = Duration::from_secs(10);

impl Reader<'_> {
    /// All of them; `server` is how the world reaches the public listener.
    pub(super) fn endpoints(&mut self, server: Option<&Url>) -> Vec<Endpoint> {
        let own = self.own_gateways();
        let mut seen: Vec<(String, String)> = Vec::new();
        let mut endpoints = Vec::new();
        for (place, typed) in self.entries::<file::Endpoint>("endpoint") {
            self.check_name(&place.key("name"), "an endpoint", &typed.name);
            self.path(&place.key("path"), &typed.path);
            for (name, path) in &seen {
                if *name == typed.name {
                    self.error(
                        &place.key("name"),
                        format!("there is an endpoint `{name}` already"),
                        "choose another name",
                    );
                }
                if *path == typed.path {
                    let what = format!("the endpoint `{name}` has this path already");
                    self.error(&place.key("path"), what, "each endpoint needs a path of its own");
                }
            }
            seen.push((typed.name.clone(), typed.path.clone()));
            endpoints.extend(self.endpoint(&place, typed, &own, server));
        }
        if self.document.items(&Place::root().key("endpoint")).unwrap_or_default() == 0 {
            self.error(
                &Place::root().key("endpoint"),
                "there is no [[endpoint]]",
                "add one: see config.example.toml",
            );
        }
        endpoints
    }

    fn endpoint(
        &mut self,
        place: &Place,
        typed: file::Endpoint,
        own: &OwnGateways,
        server: Option<&Url>,
    ) -> Option<Endpoint> {
        let numbers = self.numbers(place, &typed);
        let recipients = self.recipients(&place.key("recipients"), &typed.recipients);
        let texts = self.texts(&place.key("consent"), &typed.consent);
        let vocabulary = self.vocabulary(&place.key("consent"), &typed.consent);
        let reassembly_wait = self.duration_within(
            &place.key("reassembly_wait"),
            typed.reassembly_wait.as_ref(),
            &(Duration::from_secs(1)..=Duration::from_mins(1)),
            "\"1s\" to \"1m\"",
        );
        let keep_refused = self.keep_refused(place, typed.keep_refused.as_ref());
        let groups = self.groups(place, &typed);
        let verified = self.verified(place, &typed, own, server)?;
        let gateway = verified.gateway;
        self.reply_number(place, numbers.unwrap_or(gateway.numbers));
        let has_reply = typed.reply.is_some();
        let reply = typed
            .reply
            .as_ref()
            .and_then(|reply| self.reply_channel(place, &gateway, reply));
        if !has_reply && texts.help.is_some() {
            let help = "add `reply = { token = { env = \"SMS_API_TOKEN\" } }` to the endpoint";
            self.warn(
                &place.key("consent").key("help_text"),
                "this endpoint cannot reply, so this is never sent",
                help,
            );
        }
        let policy = EndpointPolicy {
            endpoint: typed.name.clone(),
            vocabulary,
            groups,
            on_opt_out: typed.consent.on_opt_out.clone(),
            on_opt_in: typed.consent.on_opt_in.clone(),
            can_reply: reply.is_some(),
            confirm_opt_out: texts.opt_out.is_some(),
            confirm_opt_in: texts.opt_in.is_some(),
            answer_help: texts.help.is_some(),
            skip_reply_if_gateway_rule_matched: typed.skip_reply_if_gateway_rule_matched,
        };
        Some(Endpoint {
            name: typed.name,
            path: typed.path,
            url: verified.url,
            reading: Reading {
                numbers: numbers.unwrap_or(gateway.numbers),
                recipients,
            },
            mode: verified.mode,
            retired: verified.retired,
            keep_refused,
            reassembly_wait: reassembly_wait.unwrap_or(REASSEMBLY_WAIT),
            gateway: Arc::new(gateway),
            keys: verified.keys,
            secret_sources: verified.sources,
            policy,
            reply,
            opt_out_text: texts.opt_out,
            opt_in_text: texts.opt_in,
            help_text: texts.help,
            skip_reply_if_gateway_rule_matched: typed.skip_reply_if_gateway_rule_matched,
            store_text: typed.store_text.unwrap_or(true),
        })
    }

    /// The gateway and everything that its deliveries are verified with; `None` after a problem.
    fn verified(
        &mut self,
        place: &Place,
        typed: &file::Endpoint,
        own: &OwnGateways,
        server: Option<&Url>,
    ) -> Option<Verified> {
        let mode = self.mode(place, typed);
        let secrets = self.secrets(place, typed, mode);
        let retired = self.retired(place, &typed.retired_secrets, secrets.as_deref().unwrap_or_default());
        let url = self.endpoint_url(place, typed, server);
        let gateway = self.gateway(place, typed, own, url.as_deref())?;
        let (keys, sources) = self.keys(place, &gateway, secrets?)?;
        Some(Verified {
            retired: self.retired_keys(&gateway, retired),
            gateway,
            keys,
            sources,
            mode,
            url: url?,
        })
    }

    fn texts(&mut self, place: &Place, typed: &file::Consent) -> Texts {
        Texts {
            opt_out: self.text(
                &place.key("opt_out_text"),
                typed.opt_out_text.as_ref(),
                Some(OPT_OUT_TEXT),
            ),
            opt_in: self.text(&place.key("opt_in_text"), typed.opt_in_text.as_ref(), Some(OPT_IN_TEXT)),
            help: self.text(&place.key("help_text"), typed.help_text.as_ref(), None),
        }
    }

    fn path(&mut self, place: &Place, path: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let sound = path.starts_with('/') && path.len() <= 200 && path.chars().all(plain);
        if !sound || path.split('/').any(|segment| matches!(segment, "." | "..")) {
            self.error(
                place,
                "this is not a plain path",
                "write it as \"/hooks/sms\": letters, digits and -._~/",
            );
        }
    }

    fn numbers(&mut self, place: &Place, typed: &file::Endpoint) -> Option<NumberFormat> {
        let parsed = typed.numbers.as_deref()?.parse();
        parsed
            .inspect_err(|error: &crate::phone::FormatError| {
                let help = "leave it out to read numbers as the gateway's file says";
                self.error(&place.key("numbers"), error.to_string(), help);
            })
            .ok()
    }

    fn vocabulary(&mut self, place: &Place, typed: &file::Consent) -> Vocabulary {
        let additions = Additions {
            opt_out: typed.opt_out_words.clone(),
            opt_in: typed.opt_in_words.clone(),
            help: typed.help_words.clone(),
            exempt: typed.exempt.clone(),
            phrases: match typed.phrases {
                None | Some(file::Phrases::Suppress) => PhrasePolicy::Suppress,
                Some(file::Phrases::Review) => PhrasePolicy::Review,
            },
        };
        Vocabulary::with(&additions).unwrap_or_else(|errors| {
            for error in errors {
                let help = "the built-in words are always on and can only be added to; `exempt` takes a few out";
                self.error(&word_at(place, typed, &error), error.to_string(), help);
            }
            Vocabulary::default()
        })
    }

    fn text(&mut self, place: &Place, typed: Option<&TextOrNone>, default: Option<&str>) -> Option<Template> {
        match typed {
            Some(TextOrNone::None) => None,
            Some(TextOrNone::Text(text)) if text.trim().is_empty() => {
                self.error(place, "this text is empty", "write `false` to send none");
                None
            }
            Some(TextOrNone::Text(text)) => self.template(&Spot::typed(place.clone()), text),
            None => self.template(&Spot::typed(place.clone()), default?),
        }
    }
}

/// Where the word stands that an error is about.
fn word_at(place: &Place, typed: &file::Consent, error: &VocabularyError) -> Place {
    let (VocabularyError::Empty(word)
    | VocabularyError::TooLong(word)
    | VocabularyError::Taken { word, .. }
    | VocabularyError::Fixed(word)
    | VocabularyError::Unknown(word)) = error;
    let lists = [
        ("exempt", &typed.exempt),
        ("opt_out_words", &typed.opt_out_words),
        ("opt_in_words", &typed.opt_in_words),
        ("help_words", &typed.help_words),
    ];
    let found = lists.into_iter().find_map(|(key, words)| {
        let item = words
            .iter()
            .position(|typed| typed == word || normalise(typed) == *word)?;
        Some(place.key(key).item(item))
    });
    found.unwrap_or_else(|| place.clone())
}

struct Texts {
    opt_out: Option<Template>,
    opt_in: Option<Template>,
    help: Option<Template>,
}

/// What came of an endpoint's gateway and secrets.
struct Verified {
    gateway: Gateway,
    keys: Option<Keys>,
    sources: Vec<SecretSource>,
    retired: Option<Keys>,
    mode: Mode,
    url: String,
}
