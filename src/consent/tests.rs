//! The corpus of labelled texts, texts of our own, and properties of the classifier.

use proptest::prelude::*;

use super::normalise::{fold_ascii, fold_unicode};
use super::*;

const CORPUS: &str = include_str!("../../tests/data/optout_cases.tsv");

struct Case {
    text: String,
    expected: &'static str,
    why: &'static str,
}

fn corpus() -> Vec<Case> {
    let rows = CORPUS.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    rows.map(|row| Case { text: unescape(row[0]), expected: row[1], why: row[2] }).collect()
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

/// The rows of these classes that are decided wrongly, and how many rows there are.
fn wrong(classes: &[&str]) -> (Vec<String>, usize) {
    let rows: Vec<Case> = corpus().into_iter().filter(|row| classes.contains(&row.why.split(':').next().unwrap())).collect();
    let describe = |row: &Case| format!("{:?} is {}, not {} ({})", row.text, row.expected, decided(&row.text), row.why);
    let wrong = rows.iter().filter(|row| decided(&row.text) != row.expected).map(describe).collect();
    (wrong, rows.len())
}

#[test]
fn the_corpus_of_law_carriers_and_languages_is_decided_without_an_error() {
    let (wrong, rows) = wrong(&["must", "neg", "should", "lang"]);
    assert!(rows > 180, "the corpus has lost rows: {rows}");
    assert!(wrong.is_empty(), "{} of {rows} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_of_free_wording_and_of_policy_is_decided_without_an_error() {
    let (wrong, rows) = wrong(&["nlu", "policy"]);
    assert!(rows > 40, "the corpus has lost rows: {rows}");
    assert!(wrong.is_empty(), "{} of {rows} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(expected: &'static str, texts: &[&str]) {
    let wrong: Vec<_> = texts.iter().filter(|text| decided(text) != expected).map(|t| format!("{t:?}: {:?}", classify(t, &Vocabulary::default()))).collect();
    assert!(wrong.is_empty(), "{} of {} are not {expected}:\n{}", wrong.len(), texts.len(), wrong.join("\n"));
}

#[test]
fn our_own_opt_outs_are_recognised() {
    check("opt_out", &[
        "stop all", "STOPALL", "opt-out", "OPT.OUT", "TD", "unsub", "ARRETT", "s t o p", "S. T. O. P.", "s t o p please", "STOP\u{200b}", "**STOP**", "\"stop\"", "STOP\u{fffd}", "𝐒𝐓𝐎𝐏", "Ⓢⓣⓞⓟ", "stop!!!!!! ", "Stop. Thank you", "stop, thank you",
        "yes stop", "PLEASE STOP NOW", "stop right now", "STOP IT NOW", "Reply STOP", "text stop", "stop to end", "STOP 2 END", "stopp", "stooop", "ST OP", "stopnow", "unsubscrube", "UNSUBCRIBE", "unsuscribe plz", "cancel please", "end thanks", "quit!!",
        "please stop sending text reminders", "Please stop sending me text messages", "lose my number", "Lose this number!", "delete my number", "cease and desist", "Wrong number, stop texting me", "do not contact me", "DO NOT CONTACT", "leave me alone", "no more texts", "No more text messages please", "quit sending me messages",
        "opt me out please", "I want to opt out", "I would like to unsubscribe", "how do i unsubscribe", "how do I opt out of this?", "I said stop", "I sent STOP twice already", "I've asked you to stop texting me", "i told you to stop", "I have asked multiple times to be removed from this list",
        "take my number off your list", "Please take me off of your texting list", "get me off this list", "remove this number from your database", "Please delete my phone number", "i dont want to receive any more texts", "I no longer wish to receive messages", "no longer want to receive these", "I don't want to be contacted again",
        "do not text this number again", "Don't ever text me again", "never contact me again", "stop contacting me or I will call my lawyer", "STOP SENDING ME THIS CRAP", "Stop sending me stuff", "stop spamming me", "STOP SPAM", "no more spam", "stop with the texts", "enough with the messages", "please stop these reminders",
        "I withdraw my consent", "I revoke my consent to receive texts", "you do not have my permission to text me", "I do not consent to these messages", "put me on your do not call list", "add me to the do not contact list", "make it stop", "can you please stop", "Could you stop sending these?", "i want you to stop", "you need to stop texting this number",
        "Wrong number. Stop.", "Who is this? STOP", "Not interested. Please stop", "stop wrong number", "not interested stop", "no thank you stop", "STOP. I never signed up for this", "why won't you stop texting me", "Why do you keep texting me after I said stop?", "cancel text alerts", "cancel sms", "turn off these notifications", "How do I turn these texts off",
        "unsubscribe from all messages", "please unsubscribe this number", "I need to be removed from your texts", "go away", "fuck off", "get lost", "stop calling and texting me", "Stop texting my phone", "i've already opted out", "I unsubscribed already! Stop",
        "STOP\n\nSent from my Galaxy", "stop Get Outlook for Android", "Stop - sent from my iPhone", "STOP\n__\nJane Doe, CPA", "You people need to stop", "no quiero recibir más mensajes", "por favor dejen de enviarme mensajes", "quiero darme de baja", "no me manden más mensajes", "dame de baja", "ya no quiero recibir mensajes", "no me contacten", "no mas mensajes", "No mas",
        "arrêtez de m'envoyer des messages", "je ne veux plus recevoir de sms", "arrêtez les messages svp", "Stop SMS", "STOP PUB", "supprimez mon numéro", "laissez moi tranquille", "me désabonner", "keine weiteren nachrichten", "bitte keine SMS mehr", "hören Sie auf", "bitte abmelden", "ich möchte keine Nachrichten mehr", "schreiben sie mir nicht mehr", "geen berichten meer", "basta sms", "non voglio più ricevere messaggi", "non mandatemi più messaggi",
        "pare de me enviar mensagens", "não me mande mais mensagens", "me tire da lista", "sluta skicka sms", "ikke send flere meldinger", "nie chcę więcej wiadomości", "proszę mnie wypisać", "не присылайте мне больше", "отпишите меня", "не пишите мне", "хватит слать смс", "удалите мой номер", "не надсилайте мені", "mesaj atmayın", "mesaj göndermeyin", "bana mesaj atma",
        "لا ترسل لي رسائل", "توقف عن إرسال الرسائل", "תסירו אותי", "תפסיקו לשלוח לי הודעות", "मैसेज मत भेजो", "मुझे मैसेज मत भेजो", "msg mat bhejo", "message band karo", "jangan kirim sms lagi", "đừng nhắn tin nữa", "请退订", "退订谢谢", "不要再发短信了", "配信を停止してください", "수신거부 해주세요", "문자 보내지 마세요", "ยกเลิกครับ", "🛑🛑", "ΣΤΟΠ παρακαλώ", "dừng lại",
    ]);
}

#[test]
fn our_own_other_texts_are_left_alone() {
    check("none", &[
        "We have got to STOP this terrible bill", "cancel my subscription to the gym", "cancel my reservation for two", "I want to cancel", "Loved “Reply STOP to unsubscribe”", "Emphasized \"STOP\"", "Reacted 😂 to “stop”", "👍 to “ Text STOP to opt out ”", "Reply STOP to opt out", "Text STOP to end", "Txt STOP 2 end, HELP 4 help",
        "non stop", "no stop", "nonstop flights", "Can you stop by tomorrow?", "stop by the office", "end of month works", "How do I end the call", "remove the onions", "please remove the item from my cart", "Please remove me from the waitlist", "Take me off the schedule Friday", "take me off hold", "is this a stop on the way",
        "stop calling me Bob", "stop texting and driving", "I can't stop texting you", "I can't stop thinking about it", "don't stop texting me", "please don't ever stop sending these", "I don't want to unsubscribe", "I don't want you to stop sending the reminders", "I didn't mean to unsubscribe", "never opt me out", "I did not opt out",
        "Don't text me until 5", "Don't call me before 9am", "don't text me the address, email it", "you never text me back", "he doesn't text me", "why don't you text me", "Do not call the office, call my cell", "do not contact the tenant until Monday", "don't send the invoice yet", "I don't want to receive the package today", "don't want the blue one", "no more tickets left?",
        "is it your son or daughter", "Son", "acha", "por fin", "the light at the stop sign", "full stop.", "Where does the bus stop?", "Stop and smell the roses", "please stop payment", "stop order on 44 shares", "My messages stopped coming", "I'm not getting your messages", "why did my texts stop", "unsubscribe link is broken", "send me your number", "remove the stain from my number plate",
        "delete my appointment", "delete my account number from the invoice", "I quit my job", "The end", "weekend", "endless", "exit 42 is closed", "which exit", "start date?", "start over", "resume attached", "my resume", "subscribe button", "info on prices", "Can you send info", "help wanted sign", "helpful!", "No", "nope", "yes please", "go", "lol stop it", "haha ok. stop it! you're too funny",
        "no me dejes", "no me llames tarde", "cancelar mi cita por favor", "quiero cancelar mi pedido", "no quiero pan", "no quiero esperar más", "quiero más información", "para el martes", "a parada do ônibus", "cancelar meu pedido", "não quero cebola", "não recebi mais nada", "pare na próxima esquina", "je ne veux plus de fromage", "je veux annuler mon rendez-vous", "arrêt de bus", "où est l'arrêt", "ne pas arrêter", "bitte nicht abbestellen", "ich möchte keine Zwiebeln", "Termin abbestellen", "nicht mehr lange",
        "non voglio cipolle", "basta così", "voglio disdire l'appuntamento", "не хочу лук", "остановка автобуса", "не останавливайтесь", "я больше не хочу ждать", "取消我的订单", "停止营业了吗", "キャンセルできますか", "예약 취소해 주세요", "บริษัท", "randevumu iptal etmek istiyorum", "mesaj aldım", "jangan lupa", "tidak mau pedas", "không ăn cay", "الغاء الموعد من فضلك", "भेज दो", "Wrong number", "who is this", "not interested", "no thanks",
        "Your message could not be delivered. Text STOP to unsubscribe", "You have been opted out and will receive no further messages.", "If I text STOP will I lose my points?", "should I reply stop?", "when does the sale end", "ends today?", "can I get a text reminder", "take me off at the next stop", "stop here", "stop watch", "stop loss", "STOP 5 mg of the medication?",
    ]);
}

#[test]
fn opt_in_and_help_are_recognised() {
    check("opt_in", &["START", "start please", "start again", "un-stop", "UNSTOP!", "opt back in", "resume", "старт", "订阅"]);
    check("help", &["HELP", "help!!", "i need help", "AIDE", "info", "Help please", "ayuda por favor", "ПОМОЩЬ", "帮助", "ヘルプ", "help help"]);
}

#[test]
fn a_decision_names_its_tier_and_its_keyword() {
    let decision = |text: &str| classify(text, &Vocabulary::default()).map(|d| (d.tier, d.keyword.into_owned()));
    assert_eq!(decision("Arrêt!"), Some((1, "arrêt".to_owned())));
    assert_eq!(decision("STOP\n-- \nJohn Smith"), Some((1, "stop".to_owned())));
    assert_eq!(decision("stpo please"), Some((2, "stop".to_owned())));
    assert_eq!(decision("Hi, please STOP TEXTING ME!"), Some((3, "stop texting me".to_owned())));
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
        phrases: PhrasePolicy::Off,
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
    assert_eq!(event("stop texting me"), None);
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
    let bits = ["", " ", "!", ".", "...", "\n", "\r\n", "\t", "\u{a0}", "\u{200b}", "\u{feff}", "\u{202a}", "\u{2069}", "*", "_", "(", ")", "«", "?", "¡", "🙏", "\u{fe0f}", ", ", " - ", "\u{3000}", "#", ":"];
    proptest::collection::vec(proptest::sample::select(bits.to_vec()), 0..5).prop_map(|bits| bits.concat())
}

fn keyword() -> impl Strategy<Value = &'static str> {
    let all = words::KEYWORDS.iter().flat_map(|group| group.words.iter().copied()).collect::<Vec<_>>();
    proptest::sample::select(all)
}

/// Words of ordinary messages, none of which belongs to a keyword or to a phrase.
const ORDINARY: [&str; 20] = [
    "table", "tomorrow", "Maria", "pickup", "blue", "seven", "garage", "window", "coffee", "invoice", "tire", "river", "lunch", "door", "paint", "school", "bike", "doctor", "44", "Elm",
];

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
    fn two_hundred_ordinary_words_are_no_opt_out(words in proptest::collection::vec(proptest::sample::select(ORDINARY.to_vec()), 1..200)) {
        prop_assert_eq!(classify(&words.join(" "), &Vocabulary::default()), None);
    }

    #[test]
    fn the_short_way_for_ascii_gives_what_the_long_way_gives(text in "[\\x00-\\x7f]{0,120}", sentences in any::<bool>()) {
        prop_assert_eq!(fold_ascii(&text, sentences), fold_unicode(&text, sentences));
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in "\\PC{0,60}|[\\x{0}-\\x{2ff}\\x{e00}-\\x{e7f}\\x{3040}-\\x{30ff}\\x{ac00}-\\x{ad00}]{0,40}") {
        let once = normalise(&text);
        prop_assert_eq!(normalise(&once), once);
    }
}
