//! What the body may have been before something on the way wrote it again.
//!
//! Each guess undoes one thing that proxies, frameworks and people with editors are known to do. It must not hash anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use serde_json::Value;
use url::form_urlencoded;

use super::Change;

/// Guesses at the body as it was signed, the likely ones first; none is the body as it came.
pub(super) fn guesses(body: &[u8]) -> Vec<(Change, Vec<u8>)> {
    let lf = replace(body, b"\r\n", b"\n");
    let mut guesses = vec![
        (Change::BodyTrimmed, body.trim_ascii().to_vec()),
        (Change::BodyLineEnd, [body, b"\n"].concat()),
        (Change::BodyLineEnd, [body, b"\r\n"].concat()),
        (Change::BodyCrlf, replace(&lf, b"\n", b"\r\n")),
        (Change::BodyLf, lf),
        (
            Change::BodyWithoutBom,
            body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).to_vec(),
        ),
    ];
    guesses.extend(of_json(body));
    guesses.extend(of_text(body));
    guesses.extend(of_form(body));
    // Whatever else writing JSON anew may undo has been tried by then.
    let sorted = serde_json::from_slice::<Value>(body).map(|value| value.to_string().into_bytes());
    guesses.extend(sorted.map(|json| (Change::BodySorted, json)));
    guesses.push((Change::BodyEmpty, Vec::new()));
    guesses.retain(|(_, guess)| guess != body);
    guesses
}

fn of_json(body: &[u8]) -> Vec<(Change, Vec<u8>)> {
    let Some(tokens) = tokens(body) else {
        return Vec::new();
    };
    let compact = tokens.concat();
    let mut guesses = vec![
        (Change::BodySpaced, spaced(&tokens)),
        (Change::BodyIndented, indented(&tokens, b"  ")),
        (Change::BodyIndented, indented(&tokens, b"    ")),
        (Change::BodyIndented, indented(&tokens, b"\t")),
        (Change::BodySlashes, replace(body, b"\\/", b"/")),
        (
            Change::BodySlashesEscaped,
            replace(&replace(body, b"\\/", b"/"), b"/", b"\\/"),
        ),
    ];
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        guesses.extend(form_of(&value).map(|form| (Change::BodyFormOfJson, form)));
        let text = value.as_str().or_else(|| value.get("body")?.as_str());
        guesses.extend(text.map(|text| (Change::BodyOfJsonText, text.as_bytes().to_vec())));
    }
    guesses.insert(0, (Change::BodyCompact, compact));
    guesses
}

fn of_text(body: &[u8]) -> Vec<(Change, Vec<u8>)> {
    let mut guesses = Vec::new();
    if let Ok(text) = std::str::from_utf8(body) {
        let is_beyond_ascii = |c: char| !c.is_ascii();
        // Some writers of JSON escape what HTML gives a meaning.
        let is_html = |c: char| !c.is_ascii() || "<>&".contains(c);
        guesses.extend([
            (Change::BodyEscaped, escaped(text, false, is_beyond_ascii)),
            (Change::BodyEscaped, escaped(text, true, is_beyond_ascii)),
            (Change::BodyEscaped, escaped(text, false, |c| "<>&".contains(c))),
            (Change::BodyEscaped, escaped(text, false, is_html)),
        ]);
        guesses.extend(unescaped(text).map(|text| (Change::BodyUnescaped, text)));
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        guesses.extend(bytes.map(|bytes| (Change::BodyLatin1, bytes)));
    } else {
        let text: String = body.iter().copied().map(char::from).collect();
        guesses.push((Change::BodyUtf8, text.into_bytes()));
    }
    guesses.push((Change::BodyPercentDecoded, percent_decode(body).collect()));
    let decoded = STANDARD.decode(body.trim_ascii()).ok();
    guesses.extend(decoded.map(|bytes| (Change::BodyBase64, bytes)));
    guesses
}

fn of_form(body: &[u8]) -> Vec<(Change, Vec<u8>)> {
    let is_form = body.contains(&b'=') && !body.iter().any(|byte| b"{[<\n \"".contains(byte));
    if !is_form {
        return Vec::new();
    }
    let pairs: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    let mut guesses: Vec<_> = form_spellings(&pairs)
        .into_iter()
        .map(|form| (Change::BodyForm, form))
        .collect();
    guesses.push((Change::BodyJsonOfForm, object_of(&pairs)));
    if let [(name, value)] = pairs.as_slice() {
        // A body of JSON that a framework took for a form is a name without a value.
        let field = if value.is_empty() { name } else { value };
        guesses.push((Change::BodyOfField, field.clone().into_bytes()));
    }
    guesses
}

/// What `encodeURIComponent` of ECMAScript leaves as it is, besides letters and digits.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
/// What a form of the URL standard leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');
/// What RFC 3986 calls unreserved.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The pairs as the usual libraries write them.
pub(super) fn form_spellings(pairs: &[(String, String)]) -> Vec<Vec<u8>> {
    let mut spellings = Vec::new();
    for set in [FORM, UNRESERVED, COMPONENT] {
        let one = |text: &str| utf8_percent_encode(text, set).to_string();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", one(name), one(value)))
            .collect();
        let form = pairs.join("&");
        spellings.push(form.replace("%20", "+").into_bytes());
        spellings.push(lower_hex(&form.replace("%20", "+")));
        spellings.push(lower_hex(&form));
        spellings.push(form.into_bytes());
    }
    spellings
}

/// Percent escapes with their letters in lower case.
fn lower_hex(form: &str) -> Vec<u8> {
    let mut bytes = form.as_bytes().to_vec();
    let mut escaped = 0;
    for byte in &mut bytes {
        if *byte == b'%' {
            escaped = 2;
        } else if escaped > 0 {
            byte.make_ascii_lowercase();
            escaped -= 1;
        }
    }
    bytes
}

/// The fields of an object as a form; lists become a pair for each of their values.
fn form_of(value: &Value) -> Option<Vec<u8>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in value.as_object()? {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            form.append_pair(name, &text(value)?);
        }
    }
    Some(form.finish().into_bytes()).filter(|form| !form.is_empty())
}

/// The pairs as an object of texts, in their order.
fn object_of(pairs: &[(String, String)]) -> Vec<u8> {
    let text = |text: &String| Value::String(text.clone()).to_string();
    let fields: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}:{}", text(name), text(value)))
        .collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

/// The tokens of an object or a list, blanks left out; nothing of them is changed. `None` for anything else.
fn tokens(json: &[u8]) -> Option<Vec<&[u8]>> {
    let json = json.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(json).trim_ascii();
    if !matches!(json.first()?, b'{' | b'[' | b'"') {
        return None;
    }
    let mut tokens = Vec::new();
    let mut rest = json;
    while let Some((&first, tail)) = rest.split_first() {
        let length = match first {
            _ if first.is_ascii_whitespace() => {
                rest = tail;
                continue;
            }
            b'"' => text_length(rest)?,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            _ => rest
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || b"{}[],:\"".contains(byte))
                .unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at_checked(length)?;
        tokens.push(token);
        rest = after;
    }
    Some(tokens)
}

/// Bytes from the opening to the closing quote, both included.
fn text_length(json: &[u8]) -> Option<usize> {
    let mut is_escaped = true; // the opening quote ends nothing
    for (place, byte) in json.iter().enumerate() {
        match byte {
            b'"' if !is_escaped => return Some(place + 1),
            b'\\' if !is_escaped => is_escaped = true,
            _ => is_escaped = false,
        }
    }
    None
}

fn spaced(tokens: &[&[u8]]) -> Vec<u8> {
    let mut json = Vec::new();
    for token in tokens {
        json.extend_from_slice(token);
        if matches!(token, [b',' | b':']) {
            json.push(b' ');
        }
    }
    json
}

/// As most libraries indent: a line for each value, and nothing between the brackets of an empty list.
fn indented(tokens: &[&[u8]], indent: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    let mut depth = 0_usize;
    let mut opened = false;
    let line = |json: &mut Vec<u8>, depth: usize| {
        json.push(b'\n');
        json.extend(indent.repeat(depth));
    };
    for token in tokens {
        let closes = matches!(token, [b'}' | b']']);
        if closes {
            depth = depth.saturating_sub(1);
        }
        if closes != opened {
            line(&mut json, depth);
        }
        opened = false;
        json.extend_from_slice(token);
        match token {
            [b'{' | b'['] => {
                depth += 1;
                opened = true;
            }
            [b','] => line(&mut json, depth),
            [b':'] => json.push(b' '),
            _ => {}
        }
    }
    json
}

/// Those characters as `\u` and four digits, in pairs beyond the first 65,536.
fn escaped(text: &str, is_upper: bool, is_meant: impl Fn(char) -> bool) -> Vec<u8> {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_meant(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let digits = format!("{unit:04x}");
                out.push_str("\\u");
                out.push_str(&if is_upper { digits.to_uppercase() } else { digits });
            }
        } else {
            out.push(c);
        }
    }
    out.into_bytes()
}

/// Every `\u` and its four digits written out but those that JSON needs; `None` where an escape stands for no character.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest
            .strip_prefix("\\u")
            .and_then(|tail| Some((u16::from_str_radix(tail.get(..4)?, 16).ok()?, tail.get(4..)?)));
        let is_needed = |unit: u16| unit < 0x20 || unit == 0x22 || unit == 0x5C;
        match unit {
            Some((unit, tail)) if !is_needed(unit) => {
                units.push(unit);
                rest = tail;
            }
            _ => {
                out.push_str(&String::from_utf16(&units).ok()?);
                units.clear();
                let length = match rest.as_bytes() {
                    [b'\\', _, ..] if rest.is_char_boundary(2) => 2,
                    _ => rest.chars().next().map_or(1, char::len_utf8),
                };
                let (piece, tail) = rest.split_at_checked(length)?;
                out.push_str(piece);
                rest = tail;
            }
        }
    }
    out.push_str(&String::from_utf16(&units).ok()?);
    Some(out.into_bytes())
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            replaced.extend_from_slice(to);
            rest = after;
        } else {
            replaced.push(first);
            rest = tail;
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the changes that lead back from what `came` to what was `sent`.
    fn explained(sent: &str, came: &[u8]) -> Vec<Change> {
        let found = guesses(came).into_iter().filter(|(_, guess)| guess == sent.as_bytes());
        found.map(|(change, _)| change).collect()
    }

    #[test]
    fn what_is_done_to_a_body_on_the_way_is_undone() {
        let json = "{\"b\":\"x \\\" y\",\"a\":[1,{}],\"c\":[]}";
        let spaced = "{\"b\": \"x \\\" y\", \"a\": [1, {}], \"c\": []}";
        let indented = "{\n  \"b\": \"x \\\" y\",\n  \"a\": [\n    1,\n    {}\n  ],\n  \"c\": []\n}";
        for (sent, came, change) in [
            ("{}", "{}\n", Change::BodyTrimmed),
            ("{}\n", "{}", Change::BodyLineEnd),
            ("{\r\n}", "{\n}", Change::BodyCrlf),
            ("{\n}", "{\r\n}", Change::BodyLf),
            ("{}", "\u{FEFF}{}", Change::BodyWithoutBom),
            (json, spaced, Change::BodyCompact),
            (json, indented, Change::BodyCompact),
            (spaced, json, Change::BodySpaced),
            (spaced, indented, Change::BodySpaced),
            (indented, json, Change::BodyIndented),
            (
                &json.replace("{}", "{\"d\":1}"),
                &indented.replace("{}", "{\n      \"d\": 1\n    }"),
                Change::BodyCompact,
            ),
            (
                "{\"a\":1,\"b\":{\"c\":2,\"d\":3}}",
                "{\"b\":{\"d\":3,\"c\":2},\"a\":1}",
                Change::BodySorted,
            ),
            ("{\"a\":\"x/y\"}", "{\"a\":\"x\\/y\"}", Change::BodySlashes),
            ("{\"a\":\"x\\/y\"}", "{\"a\":\"x/y\"}", Change::BodySlashesEscaped),
            (
                "{\"a\":\"\\u00e9\\ud83d\\ude00\"}",
                "{\"a\":\"é😀\"}",
                Change::BodyEscaped,
            ),
            ("{\"a\":\"\\u00E9\"}", "{\"a\":\"é\"}", Change::BodyEscaped),
            ("{\"a\":\"\\u003cb\\u003e\"}", "{\"a\":\"<b>\"}", Change::BodyEscaped),
            (
                "{\"a\":\"é😀\\\\u0041\\u0000\"}",
                "{\"a\":\"\\u00e9\\uD83D\\ude00\\\\u0041\\u0000\"}",
                Change::BodyUnescaped,
            ),
            ("{\"a\":\"é\"}", "{\"a\":\"Ã©\"}", Change::BodyLatin1),
            ("a=x+y%26&b=%C3%A9", "a=x%20y%26&b=%c3%a9", Change::BodyForm),
            ("a=x%20y", "a=x+y", Change::BodyForm),
            ("a=%c3%a9", "a=%C3%A9", Change::BodyForm),
            ("a=x~y", "a=x%7Ey", Change::BodyForm),
            ("a=x+y&b=1", "{\"a\":\"x y\",\"b\":1}", Change::BodyFormOfJson),
            ("{\"b\":\"x y\",\"a\":\"1\"}", "b=x+y&a=1", Change::BodyJsonOfForm),
            ("{\"a\":1}", "payload=%7B%22a%22%3A1%7D", Change::BodyOfField),
            ("{\"a\":1}", "%7B%22a%22%3A1%7D=", Change::BodyOfField),
            ("{\"a\":1}", "\"{\\\"a\\\":1}\"", Change::BodyOfJsonText),
            ("{\"a\":1}", "{\"body\":\"{\\\"a\\\":1}\"}", Change::BodyOfJsonText),
            ("{\"a\":1}", "%7B%22a%22%3A1%7D", Change::BodyPercentDecoded),
            ("{\"a\":1}", "eyJhIjoxfQ==", Change::BodyBase64),
            ("", "{}", Change::BodyEmpty),
        ] {
            let found = explained(sent, came.as_bytes());
            assert!(found.contains(&change), "{came} as {sent}: {found:?}");
        }
        assert_eq!(explained("{\"a\":\"é\"}", b"{\"a\":\"\xE9\"}"), [Change::BodyUtf8]);
        assert_eq!(explained("{}", b"{}"), []);
    }

    #[test]
    fn nothing_that_comes_makes_a_guess_panic() {
        for came in [
            &b"\\u"[..],
            b"{\"",
            b"\\ud83d",
            b"%",
            b"a=%e",
            b"\xff",
            b"\"\\",
            "\\é\\u00e".as_bytes(),
            b"[1,",
        ] {
            assert!(!guesses(came).is_empty());
        }
    }
}
