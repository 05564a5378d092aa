//! `[webhook.NAME]`: who is told of changes of consent.
//!
//! It is a request as an `http` action's, with as much care for where it goes, but nothing of it is a template: what is said
//! is the same for everybody, and decided where it is sent.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::Reader;
use super::http::{Credentials, Names, Spot};
use crate::config::action::StatusSet;
use crate::config::tree::Place;
use crate::config::{WebhookSpec, file};
use crate::template::Context;

/// As Standard Webhooks recommends at least, and no receiver needs more: it only has to write down what it is told.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The lease of an attempt is a little longer than this: for so long nobody else tells that number's next change.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);
/// As much of an answer as is read; only a failure's is of interest, to a person.
const MAX_RESPONSE: usize = 16 << 10;
/// Headers that every notice has from us.
const OURS: [&str; 5] = [
    "content-type",
    "idempotency-key",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

impl Reader<'_> {
    pub(super) fn webhooks(&mut self) -> BTreeMap<String, WebhookSpec> {
        let mut specs = BTreeMap::new();
        for (name, place, typed) in self.named_entries::<file::Webhook>("webhook") {
            self.check_name(&place, "a webhook", &name);
            if let Some(spec) = self.webhook(&name, &place, typed) {
                specs.insert(name, spec);
            }
        }
        specs
    }

    fn webhook(&mut self, name: &str, place: &Place, typed: file::Webhook) -> Option<WebhookSpec> {
        let timeout = self.duration(&place.key("timeout"), typed.timeout.as_ref(), TIMEOUT);
        if timeout > LONGEST_TIMEOUT {
            self.error(&place.key("timeout"), "this is too long", "at most \"1m\"");
        }
        let names = Names {
            all: Context::new(json!({})),
            sparse: None,
            must_be_complete: false,
        };
        let spot = Spot::named(place.clone(), &Rc::new(names));
        let plain_url = self.is_plain(&place.key("url"), &typed.url);
        let headers = self.plain_headers(&place.key("headers"), typed.headers);
        let sign = file::Sign {
            scheme: file::SignScheme::StandardWebhooks,
            secrets: typed.secrets,
        };
        let sign = self.sign(&spot, &sign);
        if !plain_url {
            return None;
        }
        let request = file::Request {
            url: typed.url,
            headers,
            allow_private: typed.allow_private,
            allow_http: typed.allow_http,
            ..file::Request::default()
        };
        let mut request = self.http(&spot, request, &Credentials::new())?;
        request.sign = Some(sign?);
        request.max_response_bytes = MAX_RESPONSE;
        // Whoever misses an opt-out goes on texting: no answer but a 2xx is the end.
        request.retry = StatusSet {
            ranges: vec![(400, 599)],
        };
        Some(WebhookSpec {
            name: name.to_owned(),
            request,
            timeout,
        })
    }

    /// Whether it is no template, noting it if it is.
    fn is_plain(&mut self, place: &Place, text: &str) -> bool {
        let is_template = ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag));
        if is_template {
            let help = "write it as it is: what a notice says, and where it goes, is the same for everybody";
            self.error(place, "a webhook has no templates", help);
        }
        !is_template
    }

    /// Those that may stand here.
    fn plain_headers(
        &mut self,
        place: &Place,
        typed: BTreeMap<String, file::Header>,
    ) -> BTreeMap<String, file::Header> {
        let mut plain = BTreeMap::new();
        for (name, value) in typed {
            let place = place.key(&name);
            if OURS.contains(&name.to_ascii_lowercase().as_str()) {
                self.error(&place, "smshook sets this header itself", "leave it out");
                continue;
            }
            let is_plain = match &value {
                file::Header::Rendered(text) => self.is_plain(&place, text),
                file::Header::Secret { .. } | file::Header::Credential { .. } => true,
            };
            if is_plain {
                plain.insert(name, value);
            }
        }
        plain
    }
}
