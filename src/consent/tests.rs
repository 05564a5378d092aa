//! The corpus of labelled texts, texts of our own, and properties of the classifier.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::normalise::{Short, fold_at_length, fold_shortly};
use super::*;

const CORPUS: &str = include_str!("../../tests/data/optout_cases.tsv");

/// Expected TAB text; the same escapes. Written against the grammar, by nobody's customers.
const OWN: &str = include_str!("own_cases.tsv");

struct Case {
    text: String,
    expected: &'static str,
    why: &'static str,
}

fn corpus() -> Vec<Case> {
    let rows = CORPUS.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    rows.map(|row| Case {
        text: unescape(row[0]),
        expected: row[1],
        why: row[2],
    })
    .collect()
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some('u')) => {
                let code: String = chars.by_ref().take(4).collect();
                out.push(char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap());
            }
            ('\\', Some(other)) => out.push(other),
            _ => out.push(c),
        }
    }
    out
}

fn decided(text: &str) -> &'static str {
    classify(text, &Vocabulary::default()).map_or("none", |decision| decision.event.as_str())
}

/// Of each class of the corpus: how many rows are decided rightly, how many there are, and what is wrong with the others.
fn by_class() -> BTreeMap<&'static str, (usize, usize, Vec<String>)> {
    let mut classes = BTreeMap::<_, (usize, usize, Vec<String>)>::new();
    for row in corpus() {
        let (right, rows, wrong) = classes.entry(row.why.split(':').next().unwrap()).or_default();
        let decided = decided(&row.text);
        *rows += 1;
        if decided == row.expected {
            *right += 1;
        } else {
            wrong.push(format!(
                "{:?} is {}, not {decided} ({})",
                row.text, row.expected, row.why
            ));
        }
    }
    classes
}

/// `cargo test --lib consent:: -- --nocapture` shows the figures.
#[test]
fn the_corpus_is_decided_rightly_and_its_figures_do_not_fall() {
    let classes = by_class();
    let mut missing = Vec::new();
    for (class, (right, rows, wrong)) in &classes {
        println!("{class:<7} {right:>3} of {rows:>3} right");
        let wanted = match *class {
            "must" | "should" | "neg" => *rows,
            "nlu" => 38,
            "lang" => 44,
            "policy" => 9,
            other => panic!("a class without a gate: {other}"),
        };
        if *right < wanted {
            missing.extend_from_slice(wrong);
        }
    }
    let rows: usize = classes.values().map(|(_, rows, _)| rows).sum();
    assert!(rows >= 230, "the corpus has lost rows: {rows}");
    assert!(missing.is_empty(), "wrong:\n{}", missing.join("\n"));
}

#[test]
fn our_own_texts_are_decided_without_an_error() {
    let rows = OWN.lines().map(|line| line.split_once('\t').unwrap());
    let wrong: Vec<_> = rows
        .filter(|(expected, text)| decided(&unescape(text)) != *expected)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} wrong: {wrong:#?}",
        wrong.len(),
        OWN.lines().count()
    );
}

fn check(expected: &'static str, texts: &[&str]) {
    let wrong: Vec<_> = texts
        .iter()
        .filter(|text| decided(text) != expected)
        .map(|t| format!("{t:?}: {:?}", classify(t, &Vocabulary::default())))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} are not {expected}:\n{}",
        wrong.len(),
        texts.len(),
        wrong.join("\n")
    );
}

#[test]
fn opt_in_and_help_are_recognised() {
    check(
        "opt_in",
        &[
            "START",
            "start please",
            "start again",
            "un-stop",
            "UNSTOP!",
            "opt back in",
            "resume",
            "старт",
            "订阅",
        ],
    );
    check(
        "help",
        &[
            "HELP",
            "help!!",
            "i need help",
            "AIDE",
            "info",
            "Help please",
            "ayuda por favor",
            "ПОМОЩЬ",
            "帮助",
            "ヘルプ",
            "help help",
        ],
    );
}

#[test]
fn a_decision_names_its_tier_and_its_keyword() {
    let decision = |text: &str| classify(text, &Vocabulary::default()).map(|d| (d.tier, d.keyword.into_owned()));
    assert_eq!(decision("Arrêt!"), Some((1, "arrêt".to_owned())));
    assert_eq!(decision("STOP\n-- \nJohn Smith"), Some((1, "stop".to_owned())));
    assert_eq!(decision("stpo please"), Some((2, "stop".to_owned())));
    assert_eq!(
        decision("Hi, please STOP TEXTING ME!"),
        Some((3, "stop texting me".to_owned()))
    );
}

#[test]
fn a_decision_names_the_language_of_its_word() {
    let language = |text: &str| classify(text, &Vocabulary::default()).map(|decision| decision.language);
    for (text, expected) in [
        ("STOP", None),
        ("ARRET", Some("fr")),
        ("baja por favor", Some("es")),
        ("Abmelden", Some("de")),
        ("unsub", None),
        ("unsubscribe", Some("en")),
        ("\u{1f6d1}", None),
    ] {
        assert_eq!(language(text), Some(expected), "{text}");
    }
    let own = Vocabulary::with(&Additions {
        opt_out: vec!["genug davon".to_owned()],
        ..Additions::default()
    });
    let own = classify("genug davon", &own.unwrap()).unwrap();
    assert_eq!((own.language, &*own.keyword), (None, "genug davon"));
}

#[test]
fn the_version_of_the_rules_tells_an_operators_changes_apart() {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let version = |additions: &Additions| Vocabulary::with(additions).unwrap().rules_version().to_owned();
    let plain = Additions::default();
    assert_eq!(Vocabulary::default().rules_version(), RULES_VERSION);
    assert_eq!(version(&plain), RULES_VERSION);
    let known = Additions {
        opt_out: words(&["Stop!"]),
        ..plain.clone()
    };
    assert_eq!(version(&known), RULES_VERSION, "an addition that adds nothing");
    let one = Additions {
        opt_out: words(&["no promos", "No more of it"]),
        ..plain.clone()
    };
    let digits = version(&one);
    let digits = digits.strip_prefix(&format!("{RULES_VERSION}+")).unwrap();
    assert!(
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "{digits}"
    );
    let same = Additions {
        opt_out: words(&["no more of it!", "NO PROMOS"]),
        ..plain.clone()
    };
    let others = [
        Additions {
            help: one.opt_out.clone(),
            ..plain.clone()
        },
        Additions {
            exempt: words(&["cancel"]),
            ..plain.clone()
        },
        Additions {
            phrases: PhrasePolicy::Review,
            ..plain
        },
    ];
    assert_eq!(version(&one), version(&same), "neither order nor spelling is a change");
    let mut versions: Vec<_> = others.iter().chain([&one]).map(version).collect();
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 4, "{versions:?}");
}

/// The version, and the beginning of SHA-256 over what it decides by.
const RULES: (&str, &str) = ("2", "61b5f8c8b2db5380");

/// What decides: words and code without comments and tests, in one line.
fn rules() -> String {
    let sources = [
        include_str!("words.rs"),
        include_str!("keywords.rs"),
        include_str!("phrases.rs"),
        include_str!("lexicon.rs"),
        include_str!("normalise.rs"),
        include_str!("mod.rs"),
    ];
    let code = sources.map(|source| source.split("#[cfg(test)]\nmod tests {").next().unwrap());
    let lines = code.iter().flat_map(|code| code.lines().map(str::trim));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn evidence_never_names_a_version_that_decided_otherwise() {
    let digits = hex::encode(Sha256::digest(rules()));
    assert_eq!(
        (RULES_VERSION, &digits[..16]),
        RULES,
        "the rules changed: raise RULES_VERSION and put it and this hash into RULES; where no text can be decided \
         otherwise (a renamed function), or where the version was never released, the hash alone"
    );
}

#[test]
fn a_text_costs_its_folded_copy_and_nothing_else() {
    let allocations = |text: &str| {
        let vocabulary = Vocabulary::default();
        let classified = || drop(classify(text, &vocabulary));
        classified();
        allocation_counter::measure(classified).count_total
    };
    let ordinary = "Hi Maria, we are running about ten minutes late because of traffic on the bridge. Could you let the \
                    kitchen know that it is six of us, and that Tom has no nuts?";
    assert_eq!(ordinary.chars().count(), 160);
    for text in [
        ordinary,
        "STOP",
        "s t o p please",
        "Unsubscirbe!!",
        "Arrêt!",
        "СТОП пожалуйста",
        "退订",
        "please don't stop sending the reminders. I do not want to opt out of them. Never remove me from the list!",
        "Добрый день, мы немного опаздываем из-за пробок на мосту",
        "안녕하세요, 다리 위 교통 체증 때문에 십 분 정도 늦을 것 같아요",
        "สวัสดีค่ะ เราจะไปถึงช้าประมาณสิบนาที",
    ] {
        assert_eq!(allocations(text), 1, "{text}");
    }
    assert_eq!(
        allocations("please stop texting me"),
        2,
        "the evidence of a phrase is kept"
    );
}

#[test]
fn words_inside_addresses_ask_for_nothing() {
    check(
        "none",
        &[
            "unsubscribe@acme.com",
            "see www.acme.org/unsubscribe",
            "http://unsubscribe.me/x",
        ],
    );
    check(
        "opt_out",
        &[
            "stop texting me, write to bob@acme.com",
            "unsubscribe me https://acme.com/x?y=1",
        ],
    );
}

#[test]
fn a_negation_turns_a_phrase_around_in_every_main_language_but_a_no_before_it_does_not() {
    check(
        "none",
        &[
            "don't unsubscribe me",
            "no dejen de enviarme mensajes",
            "non smettete di scrivermi",
            "não parem de enviar mensagens",
            "bitte nicht abmelden",
            "ne me désabonnez pas",
            "niet afmelden aub",
            "Löschen Sie meine Nummer nicht",
        ],
    );
    check(
        "opt_out",
        &[
            "No, dejen de enviarme mensajes",
            "Non arrêtez de m'envoyer des messages",
            "nu stoppen met berichten sturen",
            "Não, parem de enviar mensagens",
            "no me manden más mensajes",
            "don't text me",
        ],
    );
}

#[test]
fn an_opt_out_beats_what_else_a_text_asks() {
    assert_eq!(decided("help stop"), "opt_out");
    assert_eq!(decided("start stop"), "opt_out");
}

#[test]
fn an_operator_can_add_words_and_exempt_ambiguous_ones() {
    let additions = Additions {
        opt_out: vec!["No Más Promos!".to_owned()],
        opt_in: vec!["YES".to_owned(), "join".to_owned()],
        help: vec!["menu".to_owned()],
        exempt: vec!["Cancel".to_owned(), "end".to_owned()],
        phrases: PhrasePolicy::Review,
    };
    let vocabulary = Vocabulary::with(&additions).unwrap();
    let event = |text: &str| classify(text, &vocabulary).map(|decision| decision.event);
    assert_eq!(event("no mas promos please"), Some(ConsentEvent::OptOut));
    assert_eq!(event("yes"), Some(ConsentEvent::OptIn));
    assert_eq!(event("Join!"), Some(ConsentEvent::OptIn));
    assert_eq!(event("MENU"), Some(ConsentEvent::Help));
    for text in ["cancel", "CANCEL please", "cancle", "end", "endd"] {
        assert_eq!(event(text), None, "{text}");
    }
    assert_eq!(event("stop"), Some(ConsentEvent::OptOut));
    assert_eq!(event("stop please"), Some(ConsentEvent::OptOut));
    assert_eq!(event("stop texting me"), Some(ConsentEvent::Review));
}

#[test]
fn what_law_fixes_cannot_be_taken_away_and_every_problem_is_reported() {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let additions = Additions {
        opt_out: words(&["👍", "start"]),
        opt_in: words(&["STOP", "unsubscribe"]),
        help: words(&["a word of very many words"]),
        exempt: words(&["Stop", "ARRÊT", "help", "unstop", "cancell my"]),
        phrases: PhrasePolicy::Suppress,
    };
    let problems = Vocabulary::with(&additions).unwrap_err();
    assert_eq!(problems.len(), 10, "{problems:?}");
    assert!(problems.contains(&VocabularyError::Fixed("stop".to_owned())));
}

#[test]
fn normalising_takes_away_what_does_not_make_the_word() {
    for (text, normal) in [
        ("  Don’t\tSTOP! ", "dont stop"),
        ("İPTAL", "iptal"),
        ("ıptal", "iptal"),
        ("ＡＲＲÊＴ", "arret"),
        ("Straße", "strasse"),
        ("ΣΤΟΠΣ", "στοπσ"),
        ("ส่ง ครับ", "ส่ง ครับ"),
        ("बंद करें", "बंद करें"),
        ("ストップ", "ストップ"),
        ("ｽﾄｯﾌﾟ", "ストップ"),
        ("수신거부", "수신거부"),
        ("ST\u{ad}O\u{200d}P\u{fe0f}", "stop"),
        ("1\u{fe0f}\u{20e3}", "1"),
        ("O´Neill o`neill", "oneill oneill"),
        ("\u{0}", ""),
    ] {
        assert_eq!(normalise(text), normal, "{text:?}");
    }
}

#[test]
fn a_very_long_text_is_nobodys_keyword() {
    assert_eq!(decided(&"stop ".repeat(10_000)), "none");
    assert_eq!(decided(&"please stop texting me and ".repeat(30)), "none");
}

/// What people, phones and networks put around a word without meaning anything.
fn padding() -> impl Strategy<Value = String> {
    let bits = [
        "", " ", "!", ".", "...", "\n", "\r\n", "\t", "\u{a0}", "\u{200b}", "\u{feff}", "\u{202a}", "\u{2069}", "*",
        "_", "(", ")", "«", "?", "¡", "🙏", "\u{fe0f}", ", ", " - ", "\u{3000}", "#", ":",
    ];
    proptest::collection::vec(proptest::sample::select(bits.to_vec()), 0..5).prop_map(|bits| bits.concat())
}

fn keyword() -> impl Strategy<Value = &'static str> {
    let all = words::KEYWORDS
        .iter()
        .flat_map(|group| words::list(group.words))
        .collect::<Vec<_>>();
    proptest::sample::select(all)
}

/// What fingers, keyboards and fonts do to one letter.
#[derive(Clone, Copy, Debug)]
enum Noise {
    None,
    Upper,
    /// Combining marks after a letter of an alphabet whose accents are taken off.
    Accent(char),
    /// Something that nobody sees, behind the letter.
    Unseen(char),
    FullWidth,
    /// From the first letter of one of the mathematical alphabets.
    Mathematical(u32),
}

impl Noise {
    fn over(self, c: char) -> String {
        let from = |first: u32| {
            char::from_u32(first + u32::from(c) - u32::from('a'))
                .unwrap()
                .to_string()
        };
        let latin = c.is_ascii_lowercase();
        match self {
            Self::Upper => c.to_uppercase().collect(),
            Self::Accent(mark) if c.is_alphabetic() && c < '\u{530}' => format!("{c}{mark}"),
            Self::Unseen(mark) => format!("{c}{mark}"),
            Self::FullWidth if latin => from(0xff41),
            Self::Mathematical(first) if latin => from(first),
            _ => c.to_string(),
        }
    }
}

fn noise() -> impl Strategy<Value = Noise> {
    let unseen = [
        '\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}', '\u{fe0f}', '\u{200e}', '\u{2069}', '\u{34f}',
    ];
    // Small letters of the bold, the bold sans-serif and the monospaced alphabet, which have no gaps.
    let alphabets = [0x1d41a, 0x1d5ee, 0x1d68a];
    prop_oneof![
        Just(Noise::None),
        Just(Noise::Upper),
        proptest::char::range('\u{300}', '\u{36f}').prop_map(Noise::Accent),
        proptest::sample::select(unseen.to_vec()).prop_map(Noise::Unseen),
        Just(Noise::FullWidth),
        proptest::sample::select(alphabets.to_vec()).prop_map(Noise::Mathematical),
    ]
}

/// Words of ordinary messages, none of which belongs to a keyword or to a phrase.
const ORDINARY: [&str; 20] = [
    "table", "tomorrow", "Maria", "pickup", "blue", "seven", "garage", "window", "coffee", "invoice", "tire", "river",
    "lunch", "door", "paint", "school", "bike", "doctor", "44", "Elm",
];

/// Texts of characters from all over Unicode, and from the neighbourhoods where characters change one another.
fn any_script() -> impl Strategy<Value = String> {
    "\\PC{0,60}|.{0,30}|[ -~\\x{a0}-\\x{2ff}.…]{0,60}|[\\x{0}-\\x{3ff}]{0,40}|[\\x{370}-\\x{52f} .]{0,40}\
     |[\\x{590}-\\x{8ff}\\x{300}-\\x{36f}]{0,40}|[\\x{900}-\\x{e7f}\\x{200b}-\\x{200f}]{0,40}|[\\x{e00}-\\x{e5b} .]{0,40}\
     |[\\x{3040}-\\x{30ff}\\x{ff00}-\\x{ffef}\\x{3099}\\x{309a}]{0,40}|[\\x{1100}-\\x{11ff}\\x{ac00}-\\x{ad00}\\x{3130}-\\x{318f}]{0,40}\
     |[\\x{1f100}-\\x{1faff}\\x{fe00}-\\x{fe0f}a-z ]{0,30}|[\\x{1d400}-\\x{1d7ff}\\x{2000}-\\x{20ff}]{0,30}|[\\x{1e00}-\\x{1fff}\\x{2c60}-\\x{2c7f}\\x{a720}-\\x{a7ff}]{0,30}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn classifying_never_panics(text in "\\PC{0,80}|[ -~\\n]{0,200}|(stop|dont|i|want|to|text|me|opt|out|[.!\n ]){0,30}") {
        let decision = classify(&text, &Vocabulary::default());
        prop_assert!(decision.is_none_or(|decision| (1..=3).contains(&decision.tier)));
    }

    #[test]
    fn what_stands_around_a_keyword_changes_nothing(word in keyword(), before in padding(), after in padding(), upper in any::<bool>()) {
        let plain = classify(word, &Vocabulary::default());
        let cased = if upper { word.to_uppercase() } else { word.to_owned() };
        let wrapped = classify(&format!("{before}{cased}{after}"), &Vocabulary::default());
        prop_assert!(plain.is_some());
        prop_assert_eq!(wrapped, plain);
    }

    #[test]
    fn noise_in_a_keyword_changes_nothing(word in keyword(), noise in proptest::collection::vec(noise(), 40), around in (padding(), padding())) {
        let plain = classify(word, &Vocabulary::default());
        prop_assert_eq!(plain.as_ref().map(|decision| decision.tier), Some(1));
        let noisy: String = word.chars().zip(noise.iter().cycle()).map(|(c, noise)| noise.over(c)).collect();
        let noisy = format!("{}{noisy}{}", around.0, around.1);
        prop_assert_eq!(classify(&noisy, &Vocabulary::default()), plain, "{}", noisy);
    }

    #[test]
    fn two_hundred_ordinary_words_are_no_opt_out(words in proptest::collection::vec(proptest::sample::select(ORDINARY.to_vec()), 1..200)) {
        prop_assert_eq!(classify(&words.join(" "), &Vocabulary::default()), None);
    }

    #[test]
    fn the_short_way_gives_what_the_long_way_gives(text in any_script(), most in 0_usize..100) {
        if let Short::Done(folded) = fold_shortly(&text, most) {
            prop_assert_eq!(folded, fold_at_length(&text, most));
        }
    }

    #[test]
    fn texts_in_ascii_never_take_the_long_way(text in "[\\x00-\\x7f]{0,120}") {
        prop_assert_eq!(fold_shortly(&text, 200), Short::Done(fold_at_length(&text, 200)));
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in any_script()) {
        let once = normalise(&text);
        prop_assert_eq!(normalise(&once), once);
    }
}
