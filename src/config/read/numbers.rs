//! Numbers of ours: what the gateway says in their place, which programme each belongs to, and all of them together.
//!
//! It must not judge numbers of other people, and no problem shows a whole number.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::DeValue;

use super::Reader;
use crate::config::file;
use crate::config::tree::Place;
use crate::phone::{self, Address, Kind, NumberFormat};
use crate::rules::Groups;

/// How a number of ours is written.
const AS_OURS: &str = "write it with `+` and the country's code, such as \"+15551234567\", or as a short code";

impl Reader<'_> {
    /// Our numbers by what the gateway says in their place.
    pub(super) fn recipients(&mut self, place: &Place, typed: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        for (said, number) in typed {
            if said.trim().is_empty() {
                let help = "write what the gateway says in its place, such as a device's ID";
                self.error(&place.key(said), "this number stands for nothing", help);
            } else if let Some(number) = ours(number) {
                self.own_numbers.insert(number.suppression_key());
            } else {
                self.error(&place.key(said), "this is not a number of yours", AS_OURS);
            }
        }
        typed.clone()
    }

    /// The suppression groups of the endpoint at `place`: its own, and those of some of our numbers.
    pub(super) fn groups(&mut self, place: &Place, typed: &file::Endpoint) -> Groups {
        let own = typed.suppression_group.as_ref().unwrap_or(&typed.name);
        if typed.suppression_group.is_some() {
            self.check_name(&place.key("suppression_group"), "a suppression group", own);
        }
        let mut groups = Groups::all(own);
        let place = place.key("suppression_groups");
        // In the order of the file, so that the second of two is the one that is pointed at.
        for said in self.document.keys(&place) {
            let Some(group) = typed.suppression_groups.get(&said) else {
                continue;
            };
            self.check_name(&place.key(&said), "a suppression group", group);
            let Some(number) = ours(&said) else {
                let what = "this is not a number of yours".to_owned();
                self.error_on_key(&place, &said, what, AS_OURS.to_owned());
                continue;
            };
            let key = number.suppression_key();
            self.own_numbers.insert(key.clone());
            if groups.by_recipient.insert(key, Arc::from(group.as_str())).is_some() {
                let what = "this number is here twice, in two spellings".to_owned();
                self.error_on_key(&place, &said, what, "take one of them out".to_owned());
            }
        }
        groups
    }

    /// Notes the number that an endpoint's replies come from, where it is one and not a sender's name.
    pub(super) fn reply_number(&mut self, place: &Place, format: NumberFormat) {
        let Some(from) = self.document.get(&place.key("reply").key("from")) else {
            return;
        };
        let from = match from.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => return,
        };
        // Accounts are often set up with the digits alone, whatever the gateway's deliveries have.
        let read = [format, NumberFormat::Auto(None)].map(|format| phone::normalise(&from, &format));
        let number = read
            .iter()
            .find(|address| matches!(address.kind(), Kind::Number | Kind::Short));
        self.own_numbers.extend(number.map(Address::suppression_key));
    }
}

/// A number as this configuration has ours: in full with its `+`, or a short code.
fn ours(typed: &str) -> Option<Address> {
    let address = phone::normalise(typed, &NumberFormat::E164);
    match address.kind() {
        Kind::Number => typed.trim_start().starts_with('+'),
        kind => kind == Kind::Short,
    }
    .then_some(address)
}
