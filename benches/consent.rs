//! What classifying one text costs: nanoseconds and allocations per text, against two references measured in turn.
//!
//! `cargo bench --bench consent` runs it. It exits with an error where a text allocates more than is promised, and marks what
//! takes longer than is promised: on a busy machine that says nothing, unless the references take as long as ever.
//! The references answer less: a lower-cased text looked up in a set of keywords, and a set of regular expressions with the
//! keywords that are always on. They are there because absolute figures say more about the machine than about the code.
//! The figures of correctness belong to the unit tests of the room; it must not decide anything about them.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark may fail loudly and prints its figures"
)]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use regex::RegexSet;
use smshook::consent::{Vocabulary, classify};

/// Each round measures every way once, in turn; the best round of each counts, for a machine is only ever disturbed towards slower.
const ROUNDS: usize = 15;
/// How long one way is measured in one round.
const SLICE: Duration = Duration::from_millis(20);
/// What a text of 160 characters may take.
const LIMIT_NS: f64 = 3_000.0;

/// The keywords that no setting takes away, for the references.
const KEYWORDS: [&str; 14] = [
    "stop",
    "stopall",
    "stop all",
    "unsubscribe",
    "cancel",
    "end",
    "quit",
    "revoke",
    "opt out",
    "optout",
    "arret",
    "start",
    "unstop",
    "help",
];

/// A kind of text, and how many allocations it may cost: the folded text; for a phrase its evidence; for letters that come
/// apart when marks are taken off, the text put together again.
struct Kind {
    name: &'static str,
    text: String,
    allocations: u64,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, text: &str, allocations| Kind {
        name,
        text: text.to_owned(),
        allocations,
    };
    vec![
        kind("STOP", "STOP", 1),
        kind("Arrêt!", "Arrêt!", 1),
        kind("please stop, thanks", "Please stop, thanks!", 1),
        kind("an emoji", "\u{1f44d}\u{1f3fd}", 1),
        kind(
            "ordinary, 160",
            "Hi Maria, we are running about ten minutes late because of traffic on the bridge. Could you let the \
             kitchen know that it is six of us, and that Tom has no nuts?",
            1,
        ),
        kind(
            "of many triggers, 160",
            "please can you ask them to stop by, I do not want the kids to text or call anyone, you never sent the \
             list of messages to me, so please take the dog out and end",
            1,
        ),
        kind(
            "a phrase at the end, 160",
            "Hi there, this is not my account, I do not know who gave you this number and I have told you people so \
             many times that I really want you all to stop texting me",
            2,
        ),
        kind(
            "negated, 160",
            "please don't stop sending the reminders, I do not want to opt out of them, and never remove me from the \
             list because without your texts I would forget everything",
            1,
        ),
        kind(
            "sentences, 160",
            "Ok. Thanks! See you. Is it at 5? I can do 6. No, wait. The door. It is open. Who has the key? Not me. \
             You? Maybe. Ask Tom. He may. Or Ann. Fine. Bye. See ya! Go.",
            1,
        ),
        kind(
            "accented, 160",
            "Bonjour, nous arriverons vers 19 h à l'hôtel près de la gare où notre équipe a réservé; pourriez-vous \
             préparer la clé, s'il vous plaît ? Ma mère est déjà là-bas",
            1,
        ),
        kind(
            "Cyrillic, 160",
            "Добрый день, мы немного опаздываем из-за пробок на мосту, передайте, пожалуйста, на кухню, что нас будет \
             шестеро и что у одного гостя аллергия на орехи. Приедем в семь",
            1,
        ),
        kind(
            "Chinese, 70",
            "您好，我们因为桥上堵车大概会晚到十分钟左右，请告诉厨房我们一共六个人，其中一位客人对坚果过敏，另外请帮我们预留一个靠窗的位置，非常感谢您",
            1,
        ),
        kind(
            "Korean, 70",
            "안녕하세요, 다리 위 교통 체증 때문에 십 분 정도 늦을 것 같아요. 주방에 여섯 명이라고 전해 주시고 한 분은 견과류 알레르기가 있다고 말씀해",
            1,
        ),
        kind(
            "Thai, 70",
            "สวัสดีค่ะ เราจะไปถึงช้าประมาณสิบนาทีเพราะรถติดบนสะพาน ช่วยบอกครัวด้วยว่ามากัน",
            2,
        ),
        kind("mathematical letters", "𝗣𝗹𝗲𝗮𝘀𝗲 𝘀𝗲𝗻𝗱 𝗺𝗲 𝘁𝗵𝗲 𝗺𝗲𝗻𝘂", 2),
    ]
}

fn main() {
    let vocabulary = Vocabulary::default();
    let keywords: HashSet<String> = KEYWORDS.iter().map(ToString::to_string).collect();
    let patterns = RegexSet::new(KEYWORDS.map(|word| format!(r"(?i)\b{word}\b"))).unwrap();
    let mut broken = Vec::new();
    println!("                           ns per text  allocations  keyword set  regex set   x set   x regex");
    for kind in kinds() {
        let text = kind.text.as_str();
        let ours = || drop(black_box(classify(black_box(text), &vocabulary)));
        let set = || {
            black_box(keywords.contains(&black_box(text).trim().to_lowercase()));
        };
        let regexes = || {
            black_box(patterns.is_match(black_box(text)));
        };
        ours();
        let allocations = allocation_counter::measure(ours).count_total;
        let [mine, by_set, by_regex] = in_turn([&ours, &set, &regexes]);
        println!(
            "{:<26} {mine:>11.0}  {allocations:>11}  {by_set:>11.0}  {by_regex:>9.0}  {:>6.1}  {:>8.1}{}",
            kind.name,
            mine / by_set,
            mine / by_regex,
            if mine > LIMIT_NS { "  too slow" } else { "" }
        );
        if allocations > kind.allocations {
            broken.push(format!(
                "{}: {allocations} allocations, not {}",
                kind.name, kind.allocations
            ));
        }
    }
    if !broken.is_empty() {
        println!("more allocations than promised: {}", broken.join("; "));
        std::process::exit(1);
    }
}

/// Nanoseconds per call of each way, in the best of the rounds.
fn in_turn<const WAYS: usize>(ways: [&dyn Fn(); WAYS]) -> [f64; WAYS] {
    let mut best = [f64::INFINITY; WAYS];
    for _ in 0..ROUNDS {
        for (way, best) in ways.iter().zip(&mut best) {
            *best = best.min(nanoseconds(way));
        }
    }
    best
}

fn nanoseconds(way: &dyn Fn()) -> f64 {
    let (start, mut calls) = (Instant::now(), 0_u32);
    while start.elapsed() < SLICE {
        for _ in 0..64 {
            way();
        }
        calls += 64;
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}
