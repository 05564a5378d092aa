//! The texts that the law asks for, by language: what an operator wrote, and what is built in.
//!
//! A built-in text fits into one SMS of the GSM alphabet even with a long name and contact in it, and offers nothing. It
//! must not read as a request to stop or to start, in case a machine sends it back.

use std::collections::BTreeMap;

use crate::template::Template;

/// A text in several languages.
#[derive(Debug)]
pub struct Texts {
    /// In the endpoint's own language, or the same for all.
    default: Template,
    /// By language, ISO 639-1.
    others: BTreeMap<String, Template>,
}

impl Texts {
    /// `default` for every language but those of `others`.
    pub(super) fn new(default: Template, others: BTreeMap<String, Template>) -> Self {
        Self { default, others }
    }

    /// The text for somebody who wrote in this language (ISO 639-1); in the endpoint's own where there is none, or where
    /// what they wrote is of no language in particular.
    pub fn for_language(&self, language: Option<&str>) -> &Template {
        language
            .and_then(|language| self.others.get(language))
            .unwrap_or(&self.default)
    }
}

/// What a text answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answers {
    OptOut,
    OptIn,
    Help,
}

/// Who the built-in texts say they are from.
#[derive(Clone, Default, Debug)]
pub(super) struct Programme {
    /// What people know it by.
    pub(super) brand: Option<String>,
    /// Where they get help: a number, a mail address, a page.
    pub(super) contact: Option<String>,
}

/// The languages of the built-in texts.
pub(super) fn languages() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|language| language.code)
}

/// The built-in text in a language, if there is one. The name goes before it (CTIA, Messaging Principles 5.1.3: the
/// confirmation and the answer to HELP say which programme they are of).
pub(super) fn built_in(answers: Answers, language: &str, programme: &Programme) -> Option<String> {
    let words = BUILT_IN.iter().find(|words| words.code == language)?;
    let text = match (answers, &programme.contact) {
        (Answers::OptOut, _) => words.opt_out.to_owned(),
        (Answers::OptIn, _) => words.opt_in.to_owned(),
        (Answers::Help, None) => words.help.to_owned(),
        (Answers::Help, Some(contact)) => words.help_at.replace("{contact}", contact),
    };
    Some(match &programme.brand {
        Some(brand) => format!("{brand}: {text}"),
        None => text,
    })
}

struct Words {
    code: &'static str,
    opt_out: &'static str,
    opt_in: &'static str,
    /// The answer to HELP where there is a contact, in the place of `{contact}`.
    help_at: &'static str,
    /// And where there is none.
    help: &'static str,
}

/// Without the letters that the GSM alphabet lacks, so that no text costs three. STOP and START work in every language.
const BUILT_IN: [Words; 7] = [
    Words {
        code: "en",
        opt_out: "You have been unsubscribed and will get no more messages from us. Reply START to subscribe again.",
        opt_in: "You are subscribed again. Reply STOP to unsubscribe.",
        // "Msg & data rates may apply" is what carriers in the United States want said.
        help_at: "For help, contact {contact}. Msg & data rates may apply. Reply STOP to unsubscribe.",
        help: "This is an automated text messaging service. Msg & data rates may apply. Reply STOP to unsubscribe.",
    },
    Words {
        code: "fr",
        opt_out: "Votre désinscription est enregistrée. Vous ne recevrez plus de messages de notre part. \
                  Répondez START pour vous réinscrire.",
        opt_in: "Vous recevrez de nouveau nos messages. Répondez STOP pour vous désinscrire.",
        help_at: "Besoin d'aide ? Contactez {contact}. Répondez STOP pour vous désinscrire.",
        help: "Ceci est un service de messages automatiques. Répondez STOP pour vous désinscrire.",
    },
    Words {
        code: "es",
        opt_out: "Se ha dado de baja y no le enviaremos nuevos mensajes. Responda START para darse de alta de nuevo.",
        opt_in: "Se ha dado de alta de nuevo. Responda STOP para darse de baja.",
        help_at: "Si necesita ayuda, contacte con {contact}. Responda STOP para darse de baja.",
        help: "Este es un servicio de mensajes de texto automatizado. Responda STOP para darse de baja.",
    },
    Words {
        code: "de",
        opt_out: "Sie sind abgemeldet und erhalten keine weiteren Nachrichten von uns. \
                  Antworten Sie START, um sich wieder anzumelden.",
        opt_in: "Sie sind wieder angemeldet. Antworten Sie STOP, um sich abzumelden.",
        help_at: "Hilfe erhalten Sie hier: {contact}. Antworten Sie STOP, um sich abzumelden.",
        help: "Dies ist ein automatischer Nachrichtendienst. Antworten Sie STOP, um sich abzumelden.",
    },
    Words {
        code: "pt",
        // Words that are the same in Brazil and in Portugal.
        opt_out: "Cancelamento confirmado: deixaremos de enviar mensagens para este telefone. \
                  Responda START para voltar a receber.",
        opt_in: "Voltaremos a enviar mensagens para este telefone. Responda STOP para cancelar.",
        help_at: "Para obter ajuda: {contact}. Responda STOP para deixar de receber mensagens.",
        help: "Estas mensagens chegam de forma automatizada. Responda STOP para deixar de receber mensagens.",
    },
    Words {
        code: "it",
        opt_out: "Iscrizione annullata: non riceverà altri messaggi da noi. Risponda START per iscriversi di nuovo.",
        opt_in: "La sua iscrizione è di nuovo attiva. Risponda STOP per annullarla.",
        help_at: "Per assistenza: {contact}. Risponda STOP per annullare l'iscrizione.",
        help: "Questo è un servizio automatico di messaggi. Risponda STOP per annullare l'iscrizione.",
    },
    Words {
        code: "nl",
        opt_out: "U bent afgemeld: wij sturen u niets meer. Antwoord START om u weer aan te melden.",
        opt_in: "U bent weer aangemeld. Antwoord STOP om u af te melden.",
        help_at: "Hulp nodig? Neem contact op via {contact}. Antwoord STOP om u af te melden.",
        help: "Dit is een automatische berichtendienst. Antwoord STOP om u af te melden.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::{Vocabulary, classify};

    /// The GSM alphabet (3GPP TS 23.038, 6.2.1), without the escape.
    const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                       abcdefghijklmnopqrstuvwxyzäöñüà";
    /// What one SMS holds of it.
    const ONE_SMS: usize = 160;

    fn all(programme: &Programme) -> Vec<(&'static str, String)> {
        let answers = [Answers::OptOut, Answers::OptIn, Answers::Help];
        let texts =
            languages().flat_map(|code| answers.map(|answers| (code, built_in(answers, code, programme).unwrap())));
        texts.collect()
    }

    #[test]
    fn every_built_in_text_is_one_sms_with_a_brand_and_a_contact_of_twenty_characters() {
        let long = Programme {
            brand: Some("B".repeat(20)),
            contact: Some("+1 (800) 555-0100 x1".to_owned()),
        };
        assert_eq!(long.contact.as_ref().unwrap().len(), 20);
        for (code, text) in all(&long).into_iter().chain(all(&Programme::default())) {
            let strange: String = text.chars().filter(|c| !GSM.contains(*c)).collect();
            assert!(strange.is_empty(), "{code}: {strange:?} in {text}");
            let septets = text.chars().count();
            assert!((30..=ONE_SMS).contains(&septets), "{code}: {septets} in {text}");
            assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text}");
        }
    }

    #[test]
    fn a_machine_that_sends_a_built_in_text_back_neither_stops_nor_starts_anything() {
        let named = Programme {
            brand: Some("Acme".to_owned()),
            contact: Some("+1 800 555 0100".to_owned()),
        };
        for (code, text) in all(&named).into_iter().chain(all(&Programme::default())) {
            let taken_for = classify(&text, &Vocabulary::default());
            assert_eq!(taken_for, None, "{code}: {text}");
        }
    }

    #[test]
    fn the_page_shows_every_built_in_text() {
        let page = include_str!("../../docs/answers.md");
        let at = Programme {
            brand: None,
            contact: Some("{contact}".to_owned()),
        };
        for (code, text) in all(&at).into_iter().chain(all(&Programme::default())) {
            assert!(page.contains(&text), "{code}: {text}");
        }
    }

    #[test]
    fn there_is_no_built_in_text_in_a_language_that_is_not_named() {
        assert_eq!(built_in(Answers::Help, "sv", &Programme::default()), None);
    }
}
