//! What an endpoint does about consent: its words, what it answers in which language, and what a change sets going.
//!
//! It must not let an operator take STOP away, and says which law stands against what they may take away.

use std::collections::BTreeMap;

use super::Reader;
use super::http::Spot;
use crate::config::action::ActionSpec;
use crate::config::file::{self, AnswerText};
use crate::config::texts::{self, Answers, Programme, Texts};
use crate::config::tree::Place;
use crate::consent::{Additions, PhrasePolicy, Vocabulary, VocabularyError, language, normalise};
use crate::template::Template;

/// The language of an endpoint that names none.
const ENGLISH: &str = "en";

/// Words that 47 CFR 64.1200(a)(10) calls a revocation whatever else is said, as far as they can be exempt.
const PER_SE: [&str; 4] = ["cancel", "end", "quit", "revoke"];

/// What an endpoint answers; `None` for what it does not.
pub(super) struct ConsentTexts {
    pub(super) opt_out: Option<Texts>,
    pub(super) opt_in: Option<Texts>,
    pub(super) help: Option<Texts>,
    /// Whether one of them is built in and says nothing of who sends it.
    pub(super) is_anonymous: bool,
}

/// What all texts of an endpoint have in common.
struct Common {
    programme: Programme,
    language: String,
}

impl Reader<'_> {
    /// The texts of an endpoint, whose consent is configured at `place`.
    pub(super) fn consent_texts(&mut self, place: &Place, typed: &file::Consent) -> ConsentTexts {
        let common = Common {
            programme: Programme {
                brand: self.name_in_texts(&place.key("brand"), typed.brand.as_deref()),
                contact: self.name_in_texts(&place.key("contact"), typed.contact.as_deref()),
            },
            language: self.own_language(place, typed.language.as_deref()),
        };
        let answered = [
            ("opt_out_text", &typed.opt_out_text, Answers::OptOut),
            ("opt_in_text", &typed.opt_in_text, Answers::OptIn),
            ("help_text", &typed.help_text, Answers::Help),
        ];
        let uses_built_in = |text: &Option<AnswerText>| matches!(text, None | Some(AnswerText::ByLanguage(_)));
        let is_anonymous = typed.brand.is_none() && answered.iter().any(|(_, text, _)| uses_built_in(text));
        let [opt_out, opt_in, help] =
            answered.map(|(key, text, answers)| self.texts(&place.key(key), text.as_ref(), answers, &common));
        ConsentTexts {
            opt_out,
            opt_in,
            help,
            is_anonymous,
        }
    }

    /// A name or a contact that stands in the built-in texts.
    fn name_in_texts(&mut self, place: &Place, typed: Option<&str>) -> Option<String> {
        let typed = typed?;
        let name = typed.trim();
        if name.is_empty()
            || name.chars().any(char::is_control)
            || ["{{", "{%", "{#"].iter().any(|tag| name.contains(tag))
        {
            let help = "write it as people read it, on one line; it is no template";
            self.error(place, "this cannot stand in a text", help);
            return None;
        }
        Some(name.to_owned())
    }

    /// The language of people who have used a word of no language in particular.
    fn own_language(&mut self, place: &Place, typed: Option<&str>) -> String {
        let Some(code) = typed else {
            return ENGLISH.to_owned();
        };
        if is_code(code) {
            return code.to_owned();
        }
        let help = "write two letters of ISO 639-1, such as \"en\" or \"fr\"";
        self.error(&place.key("language"), "this is not the code of a language", help);
        ENGLISH.to_owned()
    }

    /// One text in its languages; `None` for no text, or after a problem.
    fn texts(&mut self, place: &Place, typed: Option<&AnswerText>, answers: Answers, common: &Common) -> Option<Texts> {
        let none = BTreeMap::new();
        let own = match typed {
            Some(AnswerText::None) => return None,
            Some(AnswerText::One(text)) => {
                let template = self.answer_template(place, text)?;
                return Some(Texts::new(template, BTreeMap::new()));
            }
            Some(AnswerText::ByLanguage(texts)) => texts,
            None => &none,
        };
        let mut templates = BTreeMap::new();
        for code in texts::languages().filter(|code| !own.contains_key(*code)) {
            let text = texts::built_in(answers, code, &common.programme).unwrap_or_default();
            templates.insert(code.to_owned(), self.answer_template(place, &text)?);
        }
        let mut is_whole = true;
        for (code, text) in own {
            match self.text_in(place, code, text, common) {
                Some(template) => drop(templates.insert(code.clone(), template)),
                None => is_whole = false,
            }
        }
        let default = templates.remove(&common.language);
        if default.is_none() && is_whole {
            self.no_text_in(place, answers, &common.language);
        }
        Some(Texts::new(default?, templates))
    }

    /// An operator's own text in one language.
    fn text_in(&mut self, place: &Place, code: &str, text: &str, common: &Common) -> Option<Template> {
        if !is_code(code) {
            let what = format!("`{code}` is not the code of a language");
            let help = "write two letters of ISO 639-1, such as `en` or `fr`".to_owned();
            self.error_on_key(place, code, what, help);
            return None;
        }
        let place = place.key(code);
        if language(code).is_none() && code != common.language {
            let what = format!("no word that is built in is of the language `{code}`, so nothing chooses this text");
            let help = format!("write `language = \"{code}\"` if people here speak it, or take the text out");
            self.warn(&place, what, help);
        }
        self.answer_template(&place, text)
    }

    fn no_text_in(&mut self, place: &Place, answers: Answers, language: &str) {
        let known: Vec<&str> = texts::languages().collect();
        let asked = match answers {
            Answers::OptOut => "STOP",
            Answers::OptIn => "START",
            Answers::Help => "HELP",
        };
        let what = format!("there is no answer to {asked} in the language `{language}`, built in or here");
        let help = format!(
            "add one: `{language} = \"…\"`, or a text for every language, or `false`; built in are {}",
            known.join(", ")
        );
        self.error(place, what, help);
    }

    fn answer_template(&mut self, place: &Place, text: &str) -> Option<Template> {
        if text.trim().is_empty() {
            self.error(place, "this text is empty", "write `false` to send none");
            return None;
        }
        self.template(&Spot::typed(place.clone()), text)
    }

    /// Who can answer names itself; `place` is that of the endpoint's consent.
    pub(super) fn check_brand(&mut self, place: &Place) {
        let what = "the answers to STOP, START and HELP do not say who sends them, which CTIA's principles want";
        let help = "add `brand = \"…\"` to its [endpoint.consent]: the name that people know you by";
        self.warn(&place.key("brand"), what, help);
    }

    /// The words of an endpoint.
    pub(super) fn vocabulary(&mut self, place: &Place, typed: &file::Consent) -> Vocabulary {
        let additions = Additions {
            opt_out: typed.opt_out_words.clone(),
            opt_in: typed.opt_in_words.clone(),
            help: typed.help_words.clone(),
            exempt: typed.exempt.clone(),
            phrases: match typed.phrases {
                None | Some(file::Phrases::Suppress) => PhrasePolicy::Suppress,
                Some(file::Phrases::Review) => PhrasePolicy::Review,
            },
        };
        let vocabulary = Vocabulary::with(&additions).unwrap_or_else(|errors| {
            for error in errors {
                let help = "the built-in words are always on and can only be added to; `exempt` takes a few out";
                self.error(&word_at(place, typed, &error), error.to_string(), help);
            }
            Vocabulary::default()
        });
        for (item, word) in typed.exempt.iter().enumerate() {
            self.exempt(&place.key("exempt").item(item), word);
        }
        vocabulary
    }

    /// The law stands against some exemptions, whatever carriers allow.
    fn exempt(&mut self, place: &Place, word: &str) {
        let bare = normalise(word);
        if !PER_SE.contains(&bare.as_str()) {
            return;
        }
        let what = format!(
            "for numbers in the United States `{bare}` revokes consent by itself, exempt or not (47 CFR 64.1200(a)(10))"
        );
        let help = "exempt it only where people are asked to answer with it about an appointment or an order; the \
                    exception of CTIA's principles for such words is not the law's";
        self.warn(place, what, help);
    }

    /// The actions that follow a change of consent.
    pub(super) fn follow_actions(
        &mut self,
        place: &Place,
        typed: &[String],
        actions: &BTreeMap<String, ActionSpec>,
    ) -> Vec<String> {
        self.references(place, "action", typed);
        for (item, name) in typed.iter().enumerate() {
            let place = place.item(item);
            let spec = actions.get(name);
            if typed.iter().take(item).any(|earlier| earlier == name) {
                self.error(&place, format!("`{name}` is here twice"), "take one of them out");
            } else if spec.is_some_and(|spec| spec.effect.sends()) {
                let what = format!("`{name}` replies to the sender, and a change of consent has one answer");
                let help = "take it out: what is answered stands in `opt_out_text` and `opt_in_text`";
                self.error(&place, what, help);
            }
            let after = spec.map(|spec| spec.after.as_slice()).unwrap_or_default();
            for other in after.iter().filter(|other| !typed.contains(other)) {
                let what = format!("`{name}` uses the result of `{other}`, which nothing orders with it");
                self.warn(&place, what, format!("add `{other}` to this list"));
            }
        }
        typed.to_vec()
    }
}

fn is_code(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Where the word stands that an error is about.
fn word_at(place: &Place, typed: &file::Consent, error: &VocabularyError) -> Place {
    let (VocabularyError::Empty(word)
    | VocabularyError::TooLong(word)
    | VocabularyError::Taken { word, .. }
    | VocabularyError::Fixed(word)
    | VocabularyError::Unknown(word)) = error;
    let lists = [
        ("exempt", &typed.exempt),
        ("opt_out_words", &typed.opt_out_words),
        ("opt_in_words", &typed.opt_in_words),
        ("help_words", &typed.help_words),
    ];
    let found = lists.into_iter().find_map(|(key, words)| {
        let item = words
            .iter()
            .position(|typed| typed == word || normalise(typed) == *word)?;
        Some(place.key(key).item(item))
    });
    found.unwrap_or_else(|| place.clone())
}
