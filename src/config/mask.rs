//! A copy of a configuration's text that may be shown: as long as the original, with every secret value starred out.
//!
//! It works on text that may not even be TOML, since syntax errors show lines too; so it knows only keys, strings, braces
//! and brackets, and where it cannot tell it masks. It must not be used to read a configuration.

/// Keys whose names contain one of these hold secrets.
const SECRET: [&str; 12] = [
    "secret",
    "token",
    "passw",
    "authorization",
    "api_key",
    "api-key",
    "apikey",
    "cookie",
    "private_key",
    "auth-key",
    "webhook_url",
    "erasure_key",
];

/// Words that a mistyped key may have been meant to be.
const MISTYPED: [&str; 3] = ["secrets", "token", "password"];

/// Whether the value of `key` is a secret by the key's name, near misses included.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET.iter().any(|word| key.contains(word))
        || MISTYPED.iter().any(|word| strsim::damerau_levenshtein(word, &key) <= 2)
}

/// `text` with secrets starred out and comments blanked, byte for byte as long; `suspects` are further keys whose values
/// must not be shown (unknown ones may be misspelt secrets).
pub(super) fn mask(text: &str, suspects: &[String]) -> String {
    let mut mask = Mask {
        suspects,
        rest: text,
        out: String::with_capacity(text.len()),
        section: String::new(),
        key: String::new(),
        open: Vec::new(),
        expects_key: true,
    };
    while mask.step() {}
    mask.out
}

/// An open bracket, with the key in force outside it.
enum Open {
    Brace(String),
    Bracket,
}

struct Mask<'a> {
    suspects: &'a [String],
    rest: &'a str,
    out: String,
    section: String,
    key: String,
    open: Vec<Open>,
    expects_key: bool,
}

impl<'a> Mask<'a> {
    /// Copies or masks one token; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        match first {
            '#' => {
                let comment = self.take_until(|c| c == '\n');
                self.blank(comment, ' ');
            }
            '"' | '\'' => self.string(first),
            '\n' => self.newline(),
            '[' if self.open.is_empty() && self.expects_key => self.header(),
            '{' | '[' | '}' | ']' | ',' | '=' => self.punctuation(first),
            c if c.is_whitespace() => self.copy_one(first),
            _ => self.word(),
        }
        true
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn take_until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        self.take(self.rest.find(end).unwrap_or(self.rest.len()))
    }

    fn copy_one(&mut self, c: char) {
        let taken = self.take(c.len_utf8());
        self.out.push_str(taken);
    }

    /// Replaces all but line ends, byte for byte, so that spans keep their meaning.
    fn blank(&mut self, text: &str, by: char) {
        for c in text.chars() {
            match c {
                '\n' => self.out.push('\n'),
                c => self.out.extend(std::iter::repeat_n(by, c.len_utf8())),
            }
        }
    }

    fn newline(&mut self) {
        self.copy_one('\n');
        if self.open.is_empty() {
            self.key.clear();
        }
        // A bracket that was never closed must not hide the keys of the lines below it, unless it holds secrets itself.
        self.expects_key = !(matches!(self.open.last(), Some(Open::Bracket)) && self.is_secret());
    }

    fn header(&mut self) {
        let header = self.take_until(|c| c == '\n' || c == '#');
        header.trim().trim_matches(['[', ']']).clone_into(&mut self.section);
        self.out.push_str(header);
    }

    fn punctuation(&mut self, c: char) {
        self.copy_one(c);
        match c {
            '{' => self.open.push(Open::Brace(self.key.clone())),
            '[' => self.open.push(Open::Bracket),
            ']' => drop(self.open.pop()),
            '}' => {
                if let Some(Open::Brace(outer)) = self.open.pop() {
                    self.key = outer;
                }
            }
            _ => {}
        }
        self.expects_key = c == '{' || (c == ',' && matches!(self.open.last(), Some(Open::Brace(_))));
    }

    fn word(&mut self) {
        let word = self.take_until(|c| c.is_whitespace() || "=,[]{}\"'#".contains(c));
        if self.expects_key && self.is_key_next() {
            self.name(word.rsplit('.').next().unwrap_or(word));
            self.out.push_str(word);
        } else {
            self.value(word);
        }
    }

    fn string(&mut self, quote: char) {
        let triple = if quote == '"' { "\"\"\"" } else { "'''" };
        let length = if self.rest.starts_with(triple) {
            self.rest
                .get(3..)
                .and_then(|rest| rest.find(triple))
                .map_or(self.rest.len(), |at| at + 6)
        } else {
            string_length(self.rest, quote)
        };
        let literal = self.take(length);
        if self.expects_key && self.is_key_next() {
            self.name(literal.trim_matches(quote));
            self.out.push_str(literal);
        } else {
            self.value(literal);
        }
    }

    fn is_key_next(&self) -> bool {
        self.rest.trim_start_matches([' ', '\t']).starts_with(['=', '.'])
    }

    fn name(&mut self, key: &str) {
        // `token = { env = "X" }` names a place, `token = { evn = "X" }` or a nested secret must stay hidden.
        let parent_is_secret = self
            .open
            .iter()
            .any(|open| matches!(open, Open::Brace(key) if self.hides(key)));
        let names_a_place = [
            "env",
            "file",
            "generated",
            "prefix",
            "credential",
            "scheme",
            "algorithm",
        ]
        .contains(&key);
        self.key = if parent_is_secret && !names_a_place {
            format!("secret.{key}")
        } else {
            key.to_owned()
        };
    }

    fn value(&mut self, value: &str) {
        if self.is_secret() {
            let quotes = value.len() - value.trim_start_matches(['"', '\'']).len();
            let inner = value.get(quotes..).unwrap_or_default();
            let end = inner.trim_end_matches(['"', '\'']).len();
            self.out.push_str(value.get(..quotes).unwrap_or_default());
            self.blank(inner.get(..end).unwrap_or_default(), '*');
            self.out.push_str(inner.get(end..).unwrap_or_default());
        } else {
            self.without_userinfo(value);
        }
        self.expects_key = false;
    }

    /// A URL's `user:password@` is a secret under any key.
    fn without_userinfo(&mut self, value: &str) {
        let parts = value.split_once("://").and_then(|(scheme, rest)| {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let at = authority.rfind('@')?;
            Some((scheme, rest.get(..at)?, rest.get(at..)?))
        });
        if let Some((scheme, userinfo, rest)) = parts {
            self.out.push_str(scheme);
            self.out.push_str("://");
            self.blank(userinfo, '*');
            self.out.push_str(rest);
        } else {
            self.out.push_str(value);
        }
    }

    fn is_secret(&self) -> bool {
        self.hides(&self.key)
    }

    fn hides(&self, key: &str) -> bool {
        is_secret_key(key)
            || self.suspects.iter().any(|suspect| suspect == key)
            || (key == "url" && self.section == "database")
    }
}

/// The bytes of a one-line string literal with its quotes; to the line's end if it is not closed.
fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(text: &str, expected: &str) {
        let masked = mask(text, &[]);
        assert_eq!(masked, expected);
        assert_eq!(masked.len(), text.len());
    }

    #[test]
    fn secrets_are_starred_out_and_names_of_places_are_not() {
        shows(
            "secrets = [{ env = \"A\" }, \"hunter2\"]\nname = \"main\"",
            "secrets = [{ env = \"A\" }, \"*******\"]\nname = \"main\"",
        );
        shows(
            "reply = { token = 'abc', base_url = 'x' }",
            "reply = { token = '***', base_url = 'x' }",
        );
        shows("a.token = '''ab\nc'''", "a.token = '''**\n*'''");
        shows(
            "token = { file = '/x', evn = 'abc' }",
            "token = { file = '/x', evn = '***' }",
        );
        shows(
            "headers = { \"X-Api-Key\" = 'abc' }",
            "headers = { \"X-Api-Key\" = '***' }",
        );
    }

    #[test]
    fn what_is_not_toml_is_masked_all_the_same() {
        shows("token = hunter2", "token = *******");
        shows("token = hunter=2", "token = ******=*");
        shows("secrets = [\n  \"abc\n  def\nhg", "secrets = [\n  \"***\n  ***\n**");
        shows("actions = [\"a\"\ntoken = \"abc\"", "actions = [\"a\"\ntoken = \"***\"");
        shows("tokn = \"abc\"", "tokn = \"***\"");
    }

    #[test]
    fn database_urls_userinfo_and_comments_are_masked() {
        shows("[database]\nurl = \"pg\" # x", "[database]\nurl = \"**\"    ");
        shows("url = \"https://a:b@c/d@e\"", "url = \"https://***@c/d@e\"");
        shows(
            "[action.a.http]\nurl = \"https://c/d\"",
            "[action.a.http]\nurl = \"https://c/d\"",
        );
    }

    #[test]
    fn an_unknown_key_may_be_a_misspelt_secret() {
        assert_eq!(mask("hush = \"abc\"", &["hush".to_owned()]), "hush = \"***\"");
    }
}
