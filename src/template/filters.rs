//! Filters that make a stranger's text fit for the place it is put into: a page, a chat, a query.
//!
//! Each says whose rules it follows. Null stays null, so that a member with nothing in it can still be left out.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::text_of;

/// Characters that `plain` lets through when the template does not say how many.
const PLAIN_CHARS: usize = 160;

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("plain", plain);
    environment.add_filter("html", |value: Value| mapped(&value, html));
    environment.add_filter("slack", |value: Value| mapped(&value, slack));
    environment.add_filter("discord", |value: Value| mapped(&value, discord));
    environment.add_filter("markdown", |value: Value| mapped(&value, markdown));
    environment.add_filter("soql", |value: Value| mapped(&value, soql));
    environment.add_filter("sosl", |value: Value| mapped(&value, sosl));
    environment.add_filter("ticketsql", |value: Value| mapped(&value, ticketsql));
    environment.add_filter("digits", |value: Value| mapped(&value, digits));
    environment.add_filter("line", |value: Value| mapped(&value, line));
    environment.add_filter("cut", |value: Value, chars: usize| {
        mapped(&value, |text| cut(text, chars))
    });
    environment.add_filter("as_ids", |value: Value, name: String| as_ids(&value, &name));
}

/// The value as text, changed; null stays null.
fn mapped(value: &Value, change: impl Fn(&str) -> String) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        ValueKind::None => Ok(Value::from(())),
        _ => Ok(Value::from(change(&text_of(value)))),
    }
}

/// Text for HTML, in elements and quoted attributes; line breaks stay visible.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in unix_lines(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>"),
            c => out.push(c),
        }
    }
    out
}

/// Slack's three control characters (docs.slack.dev, "Formatting message text", "Escaping text"): without them there is no
/// mention, channel or link.
fn slack(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// Discord's markdown as plain text, and no mention in it. `allowed_mentions` in the request is what guards against
/// mentions; this keeps the text readable.
fn discord(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_~`|>#-[]():<".contains(c) {
            out.push('\\');
        }
        out.push(c);
        if c == '@' {
            out.push('\u{200b}');
        }
    }
    out
}

/// The markdown of Adaptive Cards' text blocks as plain text; a line break is two there.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, line) in unix_lines(text).split('\n').enumerate() {
        if number > 0 {
            out.push_str("\n\n");
        }
        let mut numbers_a_list = true;
        for c in line.trim_start().chars() {
            let ends_number = numbers_a_list && c == '.';
            if ends_number || "\\`*_{}[]()#+-!|>~<&".contains(c) {
                out.push('\\');
            }
            numbers_a_list &= c.is_ascii_digit();
            out.push(c);
        }
    }
    out
}

/// Text inside `'…'` in SOQL ("SOQL and SOSL Reference", "Quoted String Escape Sequences").
fn soql(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Text inside `FIND {…}` in SOSL (the same reference, `FIND {SearchQuery}`, reserved characters).
fn sosl(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "?&|!{}[]()^~*:\\\"'+-".contains(c) {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

/// Text inside `'…'` in Request Tracker's `TicketSQL`, where a backslash takes the next character as it is.
fn ticketsql(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '\'' | '"') {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// One line for a subject or a header: line ends, control characters and what turns the reading direction are gone.
fn line(text: &str) -> String {
    let breaks =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let words: Vec<&str> = text.split(breaks).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// At most so many characters, the `…` that says there was more among them.
fn cut(text: &str, chars: usize) -> String {
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    let Some(kept) = chars.checked_sub(1) else {
        return String::new();
    };
    let mut out: String = text.chars().take(kept).collect();
    out.push('…');
    out
}

/// `["1", "2"]` → `[{"id": "1"}, {"id": "2"}]`; a lone value is a list of one.
fn as_ids(value: &Value, name: &str) -> Result<Value, Error> {
    let wrapped = |value: Value| Value::from_pairs([(name.to_owned(), value)]);
    match value.kind() {
        ValueKind::None => Ok(Value::from(())),
        ValueKind::Seq | ValueKind::Iterable => Ok(value.try_iter()?.map(wrapped).collect()),
        ValueKind::String | ValueKind::Number => Ok(Value::from_iter([wrapped(value.clone())])),
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "as_ids takes a list of IDs")),
    }
}

fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Makes a stranger's text fit to be echoed: links, control characters and all beyond `chars` characters are gone. Who
/// echoes text as it came lets anybody send anything to anybody through our number.
fn plain(text: &str, chars: Option<usize>) -> String {
    let visible: String = text.chars().map(|c| if is_invisible(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = visible
        .split_whitespace()
        .map(|word| if is_link(word) { "[link]" } else { word })
        .collect();
    words.join(" ").chars().take(chars.unwrap_or(PLAIN_CHARS)).collect()
}

/// Control characters, and the bidirectional overrides that make a text read otherwise than it is.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether a phone would make a link of the word: a scheme, `www.`, or a dot between a name and two letters or more.
fn is_link(word: &str) -> bool {
    let word = word.to_lowercase();
    let dotted = |(at, _): (usize, &str)| {
        let before = word
            .get(..at)
            .and_then(|head| head.chars().next_back())
            .is_some_and(char::is_alphanumeric);
        let after = word.get(at + 1..).unwrap_or_default();
        before && after.chars().take(2).filter(|c| c.is_alphabetic()).count() == 2
    };
    word.contains("://") || word.contains("www.") || word.match_indices('.').any(dotted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Context, Template, Tree};

    #[track_caller]
    fn gives(filter: &str, text: &str, expected: &str) {
        let template = Template::compile(&format!("{{{{ text | {filter} }}}}")).unwrap();
        let rendered = template.render(&Context::new(json!({ "text": text }))).unwrap();
        assert_eq!(rendered, expected, "{filter}");
    }

    #[test]
    fn html_is_shown_and_not_run() {
        gives(
            "html",
            "<script>alert(\"x\")</script> & 'it'\r\nnext\n\nlast\r",
            "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;it&#39;<br>next<br><br>last<br>",
        );
        gives(
            "html",
            "\" onmouseover='x' &lt; é 🙂\t",
            "&quot; onmouseover=&#39;x&#39; &amp;lt; é 🙂\t",
        );
    }

    #[test]
    fn slack_sees_no_mention_and_no_link() {
        gives(
            "slack",
            "<!channel> <@U1> <https://x|y> & *b* &amp;",
            "&lt;!channel&gt; &lt;@U1&gt; &lt;https://x|y&gt; &amp; *b* &amp;amp;",
        );
    }

    #[test]
    fn discord_sees_no_markup_and_no_mention() {
        gives(
            "discord",
            "@everyone <@123> <#4> <:x:5>",
            "@\u{200b}everyone \\<@\u{200b}123\\> \\<\\#4\\> \\<\\:x\\:5\\>",
        );
        gives(
            "discord",
            "**b** __u__ ~~s~~ `c` ||x|| > q\n# h\n- l [a](b) \\",
            "\\*\\*b\\*\\* \\_\\_u\\_\\_ \\~\\~s\\~\\~ \\`c\\` \\|\\|x\\|\\| \\> q\n\\# h\n\\- l \\[a\\]\\(b\\) \\\\",
        );
        gives("discord", "plain, text! 1.5 é", "plain, text! 1.5 é");
    }

    #[test]
    fn markdown_is_taken_as_it_stands() {
        gives(
            "markdown",
            "**b** _i_ [a](https://x) # h > q `c` ![i](u) \\ <b> &amp;",
            "\\*\\*b\\*\\* \\_i\\_ \\[a\\]\\(https://x\\) \\# h \\> q \\`c\\` \\!\\[i\\]\\(u\\) \\\\ \\<b\\> \\&amp;",
        );
        gives(
            "markdown",
            "1. one\r\n  22. two\n- 1.5\n3.",
            "1\\. one\n\n22\\. two\n\n\\- 1.5\n\n3\\.",
        );
    }

    #[test]
    fn queries_keep_their_shape() {
        gives(
            "soql",
            "' OR Name != '\\\"\n\r\t\u{8}\u{c}\u{0}é",
            "\\' OR Name != \\'\\\\\\\"\\n\\r\\t\\b\\f é",
        );
        gives("soql", "\\' x", "\\\\\\' x");
        gives(
            "sosl",
            "?&|!{}[]()^~*:\\\"'+-\n1",
            "\\?\\&\\|\\!\\{\\}\\[\\]\\(\\)\\^\\~\\*\\:\\\\\\\"\\'\\+\\- 1",
        );
        gives(
            "ticketsql",
            "x' OR Id > 0 OR Subject = '\\\n",
            "x\\' OR Id > 0 OR Subject = \\'\\\\ ",
        );
        gives("ticketsql", "\\'", "\\\\\\'");
    }

    #[test]
    fn digits_are_ascii() {
        gives("digits", "+1 (415) 555-0100 ext. ٣", "14155550100");
        gives("digits", "none", "");
    }

    #[test]
    fn a_line_is_one_line() {
        gives(
            "line",
            "  Hello\r\nBcc: x@example.com\n\n\tthere\u{2028}and\u{85}on\u{0}\u{202e}x ",
            "Hello Bcc: x@example.com there and on x",
        );
        gives("line", "👨\u{200d}👩\u{200d}👧 é", "👨\u{200d}👩\u{200d}👧 é");
        gives("line", "\n", "");
    }

    #[test]
    fn cut_counts_characters_and_says_that_there_was_more() {
        gives("cut(5)", "grüße", "grüße");
        gives("cut(5)", "grüßen", "grüß…");
        gives("cut(1)", "ab", "…");
        gives("cut(0)", "ab", "");
        gives("cut(3)", "", "");
        gives("line | cut(4)", "a\nb\nc", "a b…");
    }

    #[test]
    fn ids_become_objects_and_null_stays_null() {
        let context = Context::new(json!({ "found": ["1", 2], "one": "7", "none": null, "map": {} }));
        let render = |source: &str| Tree::compile(&json!(source)).unwrap().render(&context);
        assert_eq!(
            render("{{ found | as_ids('id') }}").unwrap(),
            json!([{ "id": "1" }, { "id": 2 }])
        );
        assert_eq!(
            render("{{ one | as_ids('value') }}").unwrap(),
            json!([{ "value": "7" }])
        );
        assert_eq!(render("{{ none | as_ids('id') }}").unwrap(), json!(null));
        assert!(render("{{ map | as_ids('id') }}").is_err());
        for filter in [
            "html",
            "slack",
            "discord",
            "markdown",
            "soql",
            "sosl",
            "ticketsql",
            "digits",
            "line",
            "cut(3)",
            "as_ids('id')",
        ] {
            assert_eq!(
                render(&format!("{{{{ none | {filter} }}}}")).unwrap(),
                json!(null),
                "{filter}"
            );
            assert!(render(&format!("{{{{ nothing | {filter} }}}}")).is_err(), "{filter}");
            assert!(
                render(&format!("{{{{ map.nothing | {filter} }}}}")).is_err(),
                "{filter}"
            );
        }
        assert_eq!(render("{{ 4711 | line }}").unwrap(), json!("4711"));
    }

    #[test]
    fn plain_takes_the_sting_out_of_an_echoed_text() {
        gives("plain", "see https://evil.example/x now", "see [link] now");
        gives(
            "plain",
            "EVIL.example/a or www.a or it.Ok",
            "[link] or [link] or [link]",
        );
        gives("plain", "at 9.30 a.m. for 1.5 h...", "at 9.30 a.m. for 1.5 h...");
        gives("plain", "a\u{202e}b\u{0}c\n\nd", "a b c d");
        gives("plain", &"x".repeat(500), &"x".repeat(160));
        gives("plain(3)", "grüße", "grü");
    }

    #[test]
    fn what_is_escaped_is_still_encoded_in_a_url() {
        let template = Template::compile_url("https://x.example/?q={{ text | soql }}").unwrap();
        let rendered = template.render(&Context::new(json!({ "text": "a'&b" }))).unwrap();
        assert_eq!(rendered, "https://x.example/?q=a%5C%27%26b");
    }
}
