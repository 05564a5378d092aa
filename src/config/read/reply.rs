//! How an endpoint answers a sender: the request of its gateway's file with the endpoint's account and server in it.
//!
//! Settings become plain text of the request here, once; no message can change them, and they cannot change where it goes.

use serde::Deserialize as _;

use super::Reader;
use super::gateway::first_line;
use super::http::{Credentials, Guard, Spot, origin};
use crate::config::ReplyChannel;
use crate::config::file;
use crate::config::tree::Place;
use crate::gateway::Gateway;

const MAX_TEXT_CHARS: u32 = 1600;

impl Reader<'_> {
    pub(super) fn reply_channel(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        typed: file::EndpointReply,
    ) -> Option<ReplyChannel> {
        let place = place.key("reply");
        let Some(table) = gateway.reply.clone() else {
            let what = format!("the gateway `{}` has no [reply]", gateway.name);
            self.error(&place, what, "take `reply` out: messages are received all the same");
            return None;
        };
        let token = typed
            .token
            .as_ref()
            .map(|token| self.secret(&place.key("token"), token));
        let mut credentials = Credentials::new();
        match token {
            Some(Some((_, token))) => drop(credentials.insert("token", token)),
            // Said already.
            Some(None) => return None,
            None => {}
        }
        let request = match GatewayReply::from_table(table) {
            Ok(request) => request,
            Err(error) => {
                let what = format!(
                    "the [reply] of the gateway `{}` has a mistake: {}",
                    gateway.name,
                    first_line(&error)
                );
                self.error(
                    &place,
                    what,
                    "the keys of [reply] are those of an `http` action, `base_url` and `max_text_chars`",
                );
                return None;
            }
        };
        let max_text_chars = typed.max_text_chars.or(request.max_text_chars);
        let max_text_chars = self.count(&place.key("max_text_chars"), max_text_chars, MAX_TEXT_CHARS);
        let spot = Spot::gateway(&gateway.name, place.clone());
        let http = self.reply_request(&place, request, typed)?;
        let request = self.http(&spot, http, &credentials)?;
        Some(ReplyChannel {
            request,
            max_text_chars: usize::try_from(max_text_chars).unwrap_or(usize::MAX),
        })
    }

    /// The gateway's request with the endpoint's server in it.
    fn reply_request(
        &mut self,
        place: &Place,
        request: GatewayReply,
        typed: file::EndpointReply,
    ) -> Option<file::Request> {
        let GatewayReply { mut http, base_url, .. } = request;
        let networks = self.networks(&Spot::typed(place.key("allow_private")), &typed.allow_private);
        if let Some(typed_url) = &typed.base_url {
            let guard = Guard {
                allow_http: typed.allow_http,
                allow_private: &networks,
            };
            if let Err(refusal) = origin(typed_url, &guard) {
                self.error(&place.key("base_url"), refusal.what(), refusal.help());
                return None;
            }
        }
        let wants_base = BASE_URL.iter().any(|tag| http.url.contains(tag));
        match typed.base_url.or(base_url) {
            Some(base) if wants_base => {
                let base = base.trim_end_matches('/');
                http.url = BASE_URL.iter().fold(http.url, |url, tag| url.replace(tag, base));
            }
            None if wants_base => {
                let what = "this gateway runs on a server of yours, and its address is missing";
                self.error(place, what, "add `base_url = \"https://…\"`");
                return None;
            }
            _ => {}
        }
        http.allow_http |= typed.allow_http;
        http.allow_private.extend(typed.allow_private);
        Some(http)
    }
}

/// How a gateway's request names the server. Filled in as text here, so that the origin is as static as any other.
const BASE_URL: [&str; 2] = ["{{ base_url }}", "{{base_url}}"];

/// A gateway's `[reply]`: a request, and two keys of its own.
struct GatewayReply {
    http: file::Request,
    base_url: Option<String>,
    max_text_chars: Option<u32>,
}

impl GatewayReply {
    fn from_table(mut table: toml::Table) -> Result<Self, toml::de::Error> {
        let base_url = table.remove("base_url").map(String::deserialize).transpose()?;
        let max_text_chars = table.remove("max_text_chars").map(u32::deserialize).transpose()?;
        Ok(Self {
            http: file::Request::deserialize(table)?,
            base_url,
            max_text_chars,
        })
    }
}
