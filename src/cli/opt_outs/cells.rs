//! Cells of a CSV file that a spreadsheet will open: none of them may be a formula there, and each is read back as it was.
//!
//! A cell that begins as a formula does gets an apostrophe before it, and so does one that begins with an apostrophe before
//! such a beginning; reading takes one such apostrophe off again.

use std::borrow::Cow;

/// What a spreadsheet takes for the beginning of a formula, or skips before looking for one.
fn begins_a_formula(c: char) -> bool {
    matches!(
        c,
        '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠'
    )
}

/// Whether reading would take an apostrophe before `text` off.
fn is_escaped(text: &str) -> bool {
    text.starts_with(|c| begins_a_formula(c) || c == '\'')
}

/// `text` as it is written into a cell.
pub(super) fn written(text: &str) -> Cow<'_, str> {
    if is_escaped(text) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What was written into a cell.
pub(super) fn read(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if is_escaped(text) => text,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_cell_begins_as_a_formula_does() {
        assert_eq!(written("+12025550143"), "'+12025550143");
        assert_eq!(written("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(written("'+1"), "''+1");
        assert_eq!(written("asked by phone"), "asked by phone");
        assert_eq!(read("'tis what he said"), "'tis what he said");
    }

    proptest! {
        #[test]
        fn every_cell_is_safe_and_read_as_it_was(text in "[=+@'\\-\t\r\n a＝]{0,4}.{0,6}") {
            let cell = written(&text);
            prop_assert!(!cell.starts_with(begins_a_formula));
            prop_assert_eq!(read(&cell), text.as_str());
        }
    }
}
