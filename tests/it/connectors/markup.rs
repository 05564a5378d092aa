//! What a person sees of HTML that a system shows: enough to tell whether a text stayed a text.
//!
//! It must not be lenient: a tag that is not a line break is counted, not forgiven.

/// HTML as it is seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) text: String,
    /// The tags that are no line breaks, as they were written.
    pub(crate) tags: Vec<String>,
}

/// Reads HTML the way a browser does: tags are not seen, `<br>` breaks the line, references stand for their characters.
pub(crate) fn seen(html: &str) -> Seen {
    let mut seen = Seen::default();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        seen.text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = if rest.starts_with('<') {
            rest.find('>')
        } else {
            rest.find(';').filter(|&end| end <= 8)
        };
        let Some(end) = end else {
            seen.text.push_str(&rest[..1]);
            rest = &rest[1..];
            continue;
        };
        let piece = &rest[..=end];
        rest = &rest[end + 1..];
        match piece {
            "<br>" | "<br/>" | "<br />" => seen.text.push('\n'),
            tag if tag.starts_with('<') => seen.tags.push(tag.to_owned()),
            reference => match character(reference) {
                Some(character) => seen.text.push(character),
                None => seen.text.push_str(reference),
            },
        }
    }
    seen.text.push_str(rest);
    seen
}

fn character(reference: &str) -> Option<char> {
    match reference {
        "&amp;" => Some('&'),
        "&lt;" => Some('<'),
        "&gt;" => Some('>'),
        "&quot;" => Some('"'),
        "&apos;" => Some('\''),
        _ => {
            let number = reference.strip_prefix("&#")?.strip_suffix(';')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

/// A text without the mark that ends it: `⟦sms:` and 26 characters.
pub(crate) fn unmarked(text: &str) -> String {
    match text.rfind("⟦sms:") {
        Some(at) => {
            let mark = text[at..].trim_start_matches("⟦sms:").trim_end_matches('⟧');
            assert!(
                mark.len() == 26 && mark.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')),
                "not a mark: {}",
                &text[at..]
            );
            text[..at].trim_end_matches('\n').to_owned()
        }
        None => text.to_owned(),
    }
}

#[test]
fn html_is_read_as_a_browser_shows_it() {
    let read = seen("a &lt;b&gt; &amp;amp; &#39;&#x2f;<br>c & d<script>x</script>");
    assert_eq!(read.text, "a <b> &amp; '/\nc & dx");
    assert_eq!(read.tags, ["<script>", "</script>"]);
    assert_eq!(unmarked("hello\n⟦sms:abcdefghijklmnopqrstuvwxyz⟧"), "hello");
}
