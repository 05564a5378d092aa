//! Endpoints: names and paths, numbers, and what the rooms beside this one make of the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::Reader;
use super::gateway::OwnGateways;
use crate::config::action::ActionSpec;
use crate::config::file::{self, AnswerText};
use crate::config::secret::SecretSource;
use crate::config::tree::Place;
use crate::config::{Endpoint, Mode};
use crate::gateway::{Gateway, Reading};
use crate::phone::NumberFormat;
use crate::rules::EndpointPolicy;
use crate::signature::Keys;

/// Long enough for the parts that a gateway sends one after another, short enough for an answer.
const REASSEMBLY_WAIT: Duration = Duration::from_secs(10);

impl Reader<'_> {
    /// All of them; `server` is how the world reaches the public listener, `actions` what they may set going.
    pub(super) fn endpoints(&mut self, server: Option<&Url>, actions: &BTreeMap<String, ActionSpec>) -> Vec<Endpoint> {
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
            endpoints.extend(self.endpoint(&place, typed, &own, (server, actions)));
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
        (server, actions): (Option<&Url>, &BTreeMap<String, ActionSpec>),
    ) -> Option<Endpoint> {
        let numbers = self.numbers(place, &typed);
        let recipients = self.recipients(&place.key("recipients"), &typed.recipients);
        let consent_place = place.key("consent");
        let texts = self.consent_texts(&consent_place, &typed.consent);
        let vocabulary = self.vocabulary(&consent_place, &typed.consent);
        let on_opt_out = self.follow_actions(&consent_place.key("on_opt_out"), &typed.consent.on_opt_out, actions);
        let on_opt_in = self.follow_actions(&consent_place.key("on_opt_in"), &typed.consent.on_opt_in, actions);
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
        let has_help_text = !matches!(typed.consent.help_text, None | Some(AnswerText::None));
        if reply.is_some() && texts.is_anonymous {
            self.check_brand(&consent_place);
        } else if !has_reply && has_help_text {
            let help = "add `reply = { token = { env = \"SMS_API_TOKEN\" } }` to the endpoint";
            self.warn(
                &consent_place.key("help_text"),
                "this endpoint cannot reply, so this is never sent",
                help,
            );
        }
        let policy = EndpointPolicy {
            endpoint: typed.name.clone(),
            vocabulary,
            groups,
            on_opt_out,
            on_opt_in,
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
