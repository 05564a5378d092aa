//! A connector file and what it says: one outside system (a CRM, a helpdesk, a chat) as data.
//!
//! This room is pure. Everything that sets one system apart from another is in `connectors/*.toml`: its name must not turn
//! up in code but for the list below. It only says what was typed; what that means for one account is `config`'s business,
//! and doing it that of `actions`.

mod file;
#[cfg(test)]
mod tests;

pub use file::{
    Auth, AuthKind, Connector, EffectWord, ErrorRule, HeaderWait, Knob, KnobType, Lookup, MeaningWord, OneOrMany,
    Operation, PointerWait, Rate, Statuses, TokenRequest, UnitWord, UnknownWord, Wait, WhenValue,
};

/// The built-in connector files by name, as they are in `connectors/`. One line for each.
const BUILTIN: &[(&str, &str)] = &[
    ("zendesk", include_str!("../../connectors/zendesk.toml")),
    ("hubspot", include_str!("../../connectors/hubspot.toml")),
    ("freshdesk", include_str!("../../connectors/freshdesk.toml")),
    ("salesforce", include_str!("../../connectors/salesforce.toml")),
    ("pipedrive", include_str!("../../connectors/pipedrive.toml")),
    ("chatwoot", include_str!("../../connectors/chatwoot.toml")),
    ("rt", include_str!("../../connectors/rt.toml")),
    ("slack", include_str!("../../connectors/slack.toml")),
    ("teams", include_str!("../../connectors/teams.toml")),
    ("discord", include_str!("../../connectors/discord.toml")),
];

/// The text of a built-in connector's file.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of the built-in connectors.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

impl Connector {
    /// Reads a connector file.
    ///
    /// # Errors
    /// Not TOML, or not a connector; says where.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}
