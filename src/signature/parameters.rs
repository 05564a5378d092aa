//! Names and values of a delivery as a signature sees them: of the query, a form, or the top level of a JSON object.
//!
//! It must not know what any of them means. What is read here is not verified yet: it only ever goes into a digest, or is a
//! signature itself.

use std::borrow::Cow;

use http::Method;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{Outgoing, Received};

/// A name and its value, decoded.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a query or a form, decoded, in their order.
pub(super) fn of_form(text: &[u8]) -> Vec<Pair<'_>> {
    form_urlencoded::parse(text).collect()
}

/// The parameters of a delivery: those of the query for GET, else those of the body, a form or a JSON object.
pub(super) fn of_payload<'a>(received: &Received<'a>) -> Vec<Pair<'a>> {
    if received.method == Method::GET {
        return of_form(received.query.unwrap_or_default().as_bytes());
    }
    let body: &'a [u8] = received.body;
    if !is_object(body) {
        return of_form(body);
    }
    let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    fields
        .into_iter()
        .map(|(name, value)| (name.into(), text(value).into()))
        .collect()
}

/// The value of a parameter that is there once; `Err` with how often where it is not.
pub(super) fn only<'p, 'a>(pairs: &'p [Pair<'a>], name: &str) -> Result<&'p Cow<'a, str>, usize> {
    let mut values = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
    match (values.next(), values.count()) {
        (Some(value), 0) => Ok(value),
        (first, others) => Err(usize::from(first.is_some()) + others),
    }
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// Twilio's canonical form: pairs sorted by name, each name and value put together without anything between. Of a name that
/// is there several times each value counts once, in order, as the vendor's libraries do it.
pub(super) fn sorted_and_joined(mut pairs: Vec<Pair<'_>>) -> String {
    pairs.sort();
    pairs.dedup();
    pairs.iter().flat_map(|(name, value)| [&**name, &**value]).collect()
}

/// Vonage's canonical form: `&name=value` of each pair but `without`, sorted by name, with `&` and `=` in a value as `_`.
/// Nothing for a name that is there twice: its libraries keep one of the two, and which one a reader takes is another matter.
pub(super) fn sorted_for_vonage(mut pairs: Vec<Pair<'_>>, without: Option<&str>) -> Option<String> {
    pairs.retain(|(name, _)| Some(&**name) != without);
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    if pairs
        .iter()
        .zip(pairs.iter().skip(1))
        .any(|(one, next)| one.0 == next.0)
    {
        return None;
    }
    let mut text = String::new();
    for (name, value) in &pairs {
        text.extend(["&", name, "=", &value.replace(['&', '='], "_")]);
    }
    Some(text)
}

/// A query without a parameter, the rest byte for byte.
pub(super) fn without(query: &str, name: &str) -> String {
    let is_other = |segment: &&str| form_urlencoded::parse(segment.as_bytes()).all(|(known, _)| known != name);
    query.split('&').filter(is_other).collect::<Vec<_>>().join("&")
}

/// Sets a parameter of a request that we make up.
pub(super) fn set(outgoing: &mut Outgoing, name: &str, value: &str) {
    if outgoing.method == Method::GET {
        outgoing.query = replaced(outgoing.query.as_bytes(), name, value);
    } else if is_object(&outgoing.body) {
        let mut fields: Map<String, Value> = serde_json::from_slice(&outgoing.body).unwrap_or_default();
        fields.insert(name.to_owned(), value.into());
        outgoing.body = Value::Object(fields).to_string().into_bytes();
    } else {
        outgoing.body = replaced(&outgoing.body, name, value).into_bytes();
    }
}

/// Sets a parameter of the query, whatever the method.
pub(super) fn set_in_query(outgoing: &mut Outgoing, name: &str, value: &str) {
    outgoing.query = replaced(outgoing.query.as_bytes(), name, value);
}

fn replaced(form: &[u8], name: &str, value: &str) -> String {
    let others = form_urlencoded::parse(form).filter(|(known, _)| known != name);
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(others)
        .append_pair(name, value)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_given_twice_counts_each_value_once_and_in_order() {
        let pairs = of_form(b"B=2&A=x&B=1&B=2&C=a%26b+c");
        assert_eq!(sorted_and_joined(pairs), "AxB1B2Ca&b c");
    }

    #[test]
    fn vonages_separators_inside_values_become_underscores_and_its_own_parameter_is_left_out() {
        let pairs = of_form(b"text=a%3Db%26c&sig=00&msisdn=1");
        assert_eq!(sorted_for_vonage(pairs, Some("sig")).unwrap(), "&msisdn=1&text=a_b_c");
        assert_eq!(sorted_for_vonage(of_form(b"text=a&text=b"), None), None);
    }

    #[test]
    fn a_query_loses_only_the_secret() {
        assert_eq!(without("a=%41&token=s&b=+&to%6ben=t", "token"), "a=%41&b=+");
        assert_eq!(without("token=s", "token"), "");
    }
}
