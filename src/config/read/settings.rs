//! The settings of a gateway's reply request, filled in as plain text before anything is compiled.
//!
//! What is filled in is the operator's: it never is a template, it stays inside the path segment it stands in, and it is part
//! of a server's name only where the gateway's `base_url` says so. No message has a say in any of it.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use serde_json::json;

use super::knobs::is_label;
use crate::config::file::{Header, Request};
use crate::template::{Context, Template};

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is set and what may be but is not.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) set: BTreeMap<String, String>,
    /// What stands for nothing: a field that is nothing else is left out.
    pub(super) unset: BTreeSet<String>,
}

/// What the text around a setting is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Text,
    Url,
}

/// The names in an expression with where each begins: no members, no filters, nothing within quotes.
fn words(expression: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut quote = None;
    let mut before = ' ';
    let mut at = 0;
    while let Some(c) = expression.get(at..).and_then(|rest| rest.chars().next()) {
        let mut length = c.len_utf8();
        match quote {
            Some(_) if c == '\\' => {
                let escaped = expression.get(at + 1..).and_then(|rest| rest.chars().next());
                length += escaped.map_or(0, char::len_utf8);
            }
            Some(open) => quote = quote.filter(|_| c != open),
            None if c == '"' || c == '\'' => quote = Some(c),
            None if is_part_of_word(c) => {
                let rest = expression.get(at..).unwrap_or_default();
                length = rest.find(|c| !is_part_of_word(c)).unwrap_or(rest.len());
                if !matches!(before, '.' | '|') {
                    words.push((at, rest.get(..length).unwrap_or_default()));
                }
            }
            None => {}
        }
        if !c.is_whitespace() {
            before = c;
        }
        at += length;
    }
    words
}

const fn is_part_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `{{ … }}` or `{% … %}`.
struct Tag<'t> {
    whole: &'t str,
    inner: &'t str,
    is_block: bool,
}

/// Splits at the first tag: what is before it, it, what comes after it.
fn first_tag(text: &str) -> Option<(&str, Tag<'_>, &str)> {
    let (start, is_block) = [("{{", false), ("{%", true)]
        .into_iter()
        .filter_map(|(open, is_block)| Some((text.find(open)?, is_block)))
        .min()?;
    let (before, at) = text.split_at(start);
    let length = at.find(if is_block { "%}" } else { "}}" })? + 2;
    let (whole, after) = at.split_at(length);
    let inner = whole.get(2..length - 2)?;
    Some((before, Tag { whole, inner, is_block }, after))
}

/// The names in the tags of `text`.
pub(super) fn names_in(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some((_, tag, after)) = first_tag(rest) {
        names.extend(words(tag.inner).into_iter().map(|(_, word)| word.to_owned()));
        rest = after;
    }
    names
}

/// Whether a tag can name it: letters, digits and `_`, no digit first.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_part_of_word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Where the server of a URL ends: before its path, if it has a scheme.
fn end_of_server(url: &str) -> usize {
    let Some(start) = url.find("://").map(|at| at + 3) else {
        return 0;
    };
    let path = url.get(start..).and_then(|rest| rest.find(['/', '?', '#']));
    path.map_or(url.len(), |path| start + path)
}

impl Settings {
    /// A gateway's base URL; the name of a setting that cannot be part of a server's name.
    pub(super) fn in_base_url(&self, url: &str) -> Result<String, String> {
        let (server, path) = url.split_at(end_of_server(url));
        let mut filled = String::new();
        let mut rest = server;
        while let Some((before, tag, after)) = first_tag(rest) {
            let name = tag.inner.trim();
            let value = self.set.get(name).filter(|value| is_label(value));
            filled.push_str(before);
            filled.push_str(value.ok_or_else(|| name.to_owned())?);
            rest = after;
        }
        filled.push_str(rest);
        filled.push_str(&self.filled(path, Around::Url));
        Ok(filled)
    }

    /// A URL, all but its server.
    fn in_url(&self, url: &str) -> String {
        let (server, path) = url.split_at(end_of_server(url));
        format!("{server}{}", self.filled(path, Around::Url))
    }

    /// All of a request but its base URL, which stands in its URL by now.
    pub(super) fn in_request(&self, request: &mut Request) {
        request.url = self.in_url(&request.url);
        self.in_fields(&mut request.query);
        if let Some(form) = &mut request.form {
            self.in_fields(form);
        }
        if let Some(body) = &mut request.body {
            *body = self.in_text(body);
        }
        request.json = request.json.take().and_then(|json| self.in_value(json));
        request
            .headers
            .retain(|_, header| !matches!(header, Header::Rendered(text) if self.is_nothing(text)));
        for header in request.headers.values_mut() {
            match header {
                Header::Rendered(text)
                | Header::Secret { prefix: text, .. }
                | Header::Credential { prefix: text, .. } => *text = self.in_text(text),
            }
        }
    }

    fn in_fields(&self, fields: &mut BTreeMap<String, String>) {
        fields.retain(|_, text| !self.is_nothing(text));
        for text in fields.values_mut() {
            *text = self.in_text(text);
        }
    }

    fn in_value(&self, value: toml::Value) -> Option<toml::Value> {
        Some(match value {
            toml::Value::String(text) if self.is_nothing(&text) => return None,
            toml::Value::String(text) => toml::Value::String(self.in_text(&text)),
            toml::Value::Array(items) => {
                toml::Value::Array(items.into_iter().filter_map(|item| self.in_value(item)).collect())
            }
            toml::Value::Table(table) => {
                let kept = table.into_iter();
                let kept = kept.filter_map(|(key, value)| Some((key, self.in_value(value)?)));
                toml::Value::Table(kept.collect())
            }
            plain => plain,
        })
    }

    fn in_text(&self, text: &str) -> String {
        self.filled(text, Around::Text)
    }

    /// Whether a field with settings in it comes to nothing, whatever the message.
    fn is_nothing(&self, text: &str) -> bool {
        let has_settings = names_in(text).iter().any(|name| self.value(name).is_some());
        let rendered = |text: &str| Template::compile(text).ok()?.render(&Context::new(json!({}))).ok();
        has_settings && rendered(&self.in_text(text)).is_some_and(|text| text.trim().is_empty())
    }

    /// What a name stands for, be it for nothing; `None` if it is no setting.
    fn value(&self, name: &str) -> Option<&str> {
        let nothing = self.unset.contains(name).then_some("");
        self.set.get(name).map(String::as_str).or(nothing)
    }

    /// The tag with values as literals in the place of their names. JSON's literals are among those of templates.
    fn in_expression(&self, tag: &str) -> String {
        let mut filled = String::with_capacity(tag.len());
        let mut end = 0;
        for (start, word) in words(tag) {
            let Some(value) = self.value(word) else { continue };
            filled.push_str(tag.get(end..start).unwrap_or_default());
            // A tag ends at the first `}}`, be it in a literal.
            let literal = serde_json::Value::from(value).to_string().replace('}', "\\u007d");
            filled.push_str(&literal);
            end = start + word.len();
        }
        filled.push_str(tag.get(end..).unwrap_or_default());
        filled
    }

    fn filled(&self, text: &str, around: Around) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, tag, after)) = first_tag(rest) {
            filled.push_str(before);
            let alone = if tag.is_block { "" } else { tag.inner.trim() };
            match self.value(alone) {
                Some(value) if around == Around::Url => filled.extend(utf8_percent_encode(value, RESERVED)),
                // A brace could make a template of it, with what stands beside it.
                Some(value) if !value.contains(['{', '}']) => filled.push_str(value),
                _ => filled.push_str(&self.in_expression(tag.whole)),
            }
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::sample_reply;

    fn settings(value: &str) -> Settings {
        Settings {
            set: BTreeMap::from([("account".to_owned(), value.to_owned())]),
            unset: BTreeSet::from(["service".to_owned()]),
        }
    }

    /// What a text with the setting in it comes to, once it is rendered.
    fn rendered(value: &str, text: &str) -> String {
        let filled = settings(value).in_text(text);
        Template::compile(&filled).unwrap().render(&sample_reply()).unwrap()
    }

    #[test]
    fn a_setting_is_text_whatever_it_looks_like() {
        for value in [
            "AC1",
            "a \"b\" \\ c",
            "{{ to }}",
            "{% if to %}x{% endif %}",
            "{",
            "}}",
            "ö }} {#",
            "{{{{",
        ] {
            assert_eq!(rendered(value, "<{{ account }}>"), format!("<{value}>"));
            assert_eq!(rendered(value, "{ {{ account }} }"), format!("{{ {value} }}"));
            assert_eq!(
                rendered(value, "{{account}} {{- account -}} x"),
                format!("{value}{value}x")
            );
            assert_eq!(rendered(value, "{{ account | lower }}"), value.to_lowercase());
        }
    }

    #[test]
    fn only_its_own_name_is_a_setting() {
        assert_eq!(rendered("x", "{{ to | digits }} {{account}}"), "14155550100 x");
        for other in [
            "{{ accounts }} {{ a.account }} {{ to|account }}",
            "{{ 'account' }}",
            "{% if accounts %}",
            "{{ account",
        ] {
            assert_eq!(settings("x").in_text(other), other);
        }
        assert_eq!(
            rendered("x", "{{ service or account }}{{ \"it's account\" ~ account }}"),
            "xit's accountx"
        );
        let choice = "{% if account == 'x' %}one{% elif not service %}two{% else %}three{% endif %}";
        assert_eq!(
            (rendered("x", choice), rendered("%}", choice)),
            ("one".to_owned(), "two".to_owned())
        );
        let named: Vec<_> = names_in("{{ a | b }} {{ c.d or e }} f {{ 'g' ~ h }}")
            .into_iter()
            .collect();
        assert_eq!(named, ["a", "c", "e", "h", "or"]);
    }

    #[test]
    fn in_a_url_a_setting_stays_in_its_segment_and_out_of_the_server() {
        let filled = settings("a/b?c#d e%2f").in_url("https://{{ account }}.example/{{ account }}/x?y={{account}}");
        let encoded = "a%2Fb%3Fc%23d%20e%252f";
        assert_eq!(
            filled,
            format!("https://{{{{ account }}}}.example/{encoded}/x?y={encoded}")
        );
    }

    #[test]
    fn a_setting_is_part_of_a_servers_name_only_as_one_label_of_it() {
        let base = "https://{{ account }}.api.example/v1/{{ account }}";
        assert_eq!(
            settings("ab-1").in_base_url(base).unwrap(),
            "https://ab-1.api.example/v1/ab-1"
        );
        for wrong in ["a.b", "evil.example/", "a:1", "a@b", "", "-a", "A", "a\\", "ä"] {
            assert_eq!(settings(wrong).in_base_url(base), Err("account".to_owned()), "{wrong}");
        }
        assert_eq!(
            settings("a").in_base_url("https://{{ to }}.example/"),
            Err("to".to_owned())
        );
        assert!(
            settings("a")
                .in_base_url("https://{{ account | lower }}.example/")
                .is_err()
        );
    }

    #[test]
    fn a_field_that_is_a_setting_nobody_set_is_left_out() {
        let mut request = Request {
            url: "https://x.example/".to_owned(),
            form: Some(BTreeMap::from([
                ("Service".to_owned(), "{{ service }}".to_owned()),
                ("Both".to_owned(), "{{ service }}-{{ account }}".to_owned()),
                (
                    "Neither".to_owned(),
                    "{% if not account %}{{ to }}{% endif %}".to_owned(),
                ),
                ("Or".to_owned(), "{% if not service %}{{ to }}{% endif %}".to_owned()),
                ("Text".to_owned(), "{{ reply_text }}".to_owned()),
                ("Empty".to_owned(), String::new()),
            ])),
            json: Some(toml::toml! { a = ["{{service}}", { b = "{{ service }}", c = 1 }] }.into()),
            headers: BTreeMap::from([("X".to_owned(), Header::Rendered("{{ service }}".to_owned()))]),
            ..Request::default()
        };
        settings("AC1").in_request(&mut request);
        let form = request.form.unwrap();
        assert_eq!(form.keys().collect::<Vec<_>>(), ["Both", "Empty", "Or", "Text"]);
        assert_eq!(form["Both"], "-AC1");
        assert_eq!(request.json.unwrap(), toml::toml! { a = [{ c = 1 }] }.into());
        assert!(request.headers.is_empty());
    }
}
