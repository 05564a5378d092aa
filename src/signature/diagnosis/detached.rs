//! Why a signature that stands beside what it covers does not match.
//!
//! What may be wrong is in five dimensions: which value is the signature, what it covers, the body, the URL and the secret.
//! Each has guesses; the search goes through those where one dimension is off, then two, then three, and stops at the first
//! level where something makes the signature right, or when the budget is spent.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use super::super::algorithm::{Algorithm, Digest, Ready};
use super::super::content::{Content, Material, Part, is_hash_of};
use super::super::moment::{Unit, is_near};
use super::super::signed::{Place, Signed, TimestampPlace};
use super::super::{Received, Refusal, parameters};
use super::presented::Candidate;
use super::{Case, Change, Finding, bodies, presented, secrets, urls};

/// What one attempt costs besides the bytes hashed: keying the MAC and the blocks that end it.
const COST_OF_AN_ATTEMPT: u64 = 256;
/// Dimensions that are off at once.
const MOST_OFF: usize = 3;
/// Fewer than this is not a search.
const LEAST_OFF: usize = 2;
/// Timestamps out of other headers.
const MOST_TIMESTAMPS: usize = 4;

/// Everything that can be said. Never empty.
pub(super) fn findings(signed: &Signed, case: &Case<'_>, refusal: Refusal) -> Vec<Finding> {
    let received = &case.received;
    if let Some(clock) = clock(signed, received)
        && refusal == Refusal::TimestampOutside
    {
        let (off_ms, tolerance_ms) = clock;
        return vec![Finding::Clock { off_ms, tolerance_ms }];
    }
    let (mut findings, candidates) = presented::read(signed, case.keys, received);
    findings.extend(about_the_time(signed, received, refusal));
    findings.extend(about_the_parts(signed, received, refusal));
    findings.extend(about_the_body(signed, received));
    if candidates.is_empty() {
        // Without a signature there is nothing to explain.
        if refusal != Refusal::Missing {
            findings.push(Finding::Unexplained);
        }
        return findings;
    }
    let mut search = Search::of(signed, case, &candidates, refusal);
    match search.run() {
        Some(found) => {
            findings.push(found.finding());
            if let Some((off_ms, tolerance_ms)) = clock(signed, received) {
                findings.push(Finding::ClockToo { off_ms, tolerance_ms });
            }
        }
        None => findings.extend(unexplained(signed, received, search.is_exhausted)),
    }
    findings
}

fn unexplained(signed: &Signed, received: &Received<'_>, is_exhausted: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_exhausted {
        findings.push(Finding::Exhausted);
    }
    findings.push(if signed.content.needs_url() {
        Finding::UnexplainedWithUrl
    } else {
        Finding::Unexplained
    });
    let pairs = parameters::of_payload(received);
    let account = ["AccountSid", "account_sid", "account_id", "api-key"]
        .into_iter()
        .find(|name| pairs.iter().any(|(known, _)| known == name));
    findings.extend(account.map(|parameter| Finding::Account { parameter }));
    findings
}

/// How far off the time is, if it is further than it may be.
fn clock(signed: &Signed, received: &Received<'_>) -> Option<(i64, u64)> {
    let tolerance = signed.tolerance?;
    let time = signed.unit.read(&signed.timestamp(received).ok()??).ok()?;
    let tolerance_ms = u64::try_from(tolerance.as_millis()).unwrap_or(u64::MAX);
    (!is_near(time, received.at, Some(tolerance))).then(|| (received.at.saturating_sub(time), tolerance_ms))
}

fn about_the_time(signed: &Signed, received: &Received<'_>, refusal: Refusal) -> Vec<Finding> {
    if !matches!(refusal, Refusal::TimestampMissing | Refusal::TimestampMalformed) {
        return Vec::new();
    }
    let text = timestamp_text(signed, received).unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unit = |given, expected| Some(Finding::TimestampUnit { given, expected });
    let shape = match (signed.unit, text.len()) {
        (Unit::Seconds, 13) if is_number => unit("milliseconds", "seconds"),
        (Unit::Milliseconds, 10) if is_number => unit("seconds", "milliseconds"),
        (_, 16) if is_number => Some(Finding::TimestampShape("in microseconds")),
        (_, 19) if is_number => Some(Finding::TimestampShape("in nanoseconds")),
        _ if text.starts_with(['+', '-']) => Some(Finding::TimestampShape("a number with a sign")),
        _ if text.contains(['-', ':']) => Some(Finding::TimestampShape("a date")),
        _ if text.contains('.') => Some(Finding::TimestampShape("a number with a fraction")),
        _ if text.contains([' ', '"']) => Some(Finding::TimestampShape("in blanks or quotes")),
        _ => None,
    };
    std::iter::once(Finding::Timestamp(refusal)).chain(shape).collect()
}

/// The timestamp's text at its own place, whatever it is.
fn timestamp_text(signed: &Signed, received: &Received<'_>) -> Option<String> {
    match signed.timestamp.as_ref()? {
        TimestampPlace::Headers(names) => {
            let value = names.iter().find_map(|name| received.headers.get(name))?;
            value.to_str().ok().map(str::to_owned)
        }
        TimestampPlace::Key(key) => {
            let values = signed
                .headers()
                .iter()
                .filter_map(|name| received.headers.get(name)?.to_str().ok());
            let mut pairs = values
                .flat_map(|value| value.split(','))
                .filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(known, _)| known == key).map(|(_, value)| value.to_owned())
        }
        TimestampPlace::Param(name) => {
            let pairs = parameters::of_payload(received);
            let own = pairs.into_iter().find(|(known, _)| known == name);
            own.map(|(_, value)| value.into_owned())
        }
    }
}

/// Headers and parameters besides the signature and its time that are not as they have to be.
fn about_the_parts(signed: &Signed, received: &Received<'_>, refusal: Refusal) -> Option<Finding> {
    match refusal {
        Refusal::PartMissing => {
            let count = |name: &HeaderName| received.headers.get_all(name).iter().count();
            let of_content = signed.content.0.iter().filter_map(|part| match part {
                Part::Header(names) => Some(names.as_slice()),
                _ => None,
            });
            let nonce = signed.nonce_header.as_ref().map(std::slice::from_ref);
            let mut wanted = of_content.chain(nonce);
            let header = wanted
                .find(|names| names.iter().map(count).sum::<usize>() != 1)?
                .first()?;
            Some(Finding::PartMissing { header: header.clone() })
        }
        Refusal::BodyHash => body_hash(signed, received),
        _ => None,
    }
}

/// The parameter that vouches for the body does not; the search is then for a signature over the rest.
fn body_hash(signed: &Signed, received: &Received<'_>) -> Option<Finding> {
    let parameter = signed.body_hash_param.clone()?;
    let query = parameters::of_form(received.query?.as_bytes());
    let hash = parameters::only(&query, &parameter).ok()?;
    let guesses = bodies::guesses(received.body);
    let right = guesses.into_iter().find(|(_, body)| is_hash_of(hash, body));
    Some(Finding::BodyHash {
        parameter,
        changes: right.map(|(change, _)| change).into_iter().collect(),
    })
}

fn about_the_body(signed: &Signed, received: &Received<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if received.method != Method::GET && signed.content.binds_body() {
        if received.body.is_empty() {
            findings.push(Finding::EmptyBody);
        }
        findings.extend(compression(received));
    }
    if signed.content.needs_url() && received.url.is_empty() {
        findings.push(Finding::NoUrl);
    }
    findings
}

/// What the headers and the first bytes say about compression. Nothing is decompressed.
fn compression(received: &Received<'_>) -> Option<Finding> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    if received.body.starts_with(GZIP) {
        return Some(Finding::Compressed);
    }
    let coding = received.headers.get(http::header::CONTENT_ENCODING)?.to_str().ok()?;
    let coding = ["gzip", "deflate", "br", "zstd"]
        .into_iter()
        .find(|known| coding.eq_ignore_ascii_case(known))?;
    let is_plain = received
        .body
        .first()
        .is_some_and(|byte| b"{[\"".contains(byte) || byte.is_ascii_alphanumeric());
    is_plain.then_some(Finding::Decompressed(coding))
}

/// One guess at what is signed: its pieces and its time.
struct Covered {
    changes: Vec<Change>,
    content: Content,
    time: Vec<u8>,
}

/// The fewest changes that make one of the candidates right.
struct Found {
    secret: String,
    is_own: bool,
    changes: Vec<Change>,
}

impl Found {
    fn finding(self) -> Finding {
        let Self { secret, changes, .. } = self;
        match (changes.is_empty(), self.is_own) {
            (true, true) => Finding::OtherwiseRight { secret },
            (true, false) => Finding::OtherSecret { secret },
            (false, _) => Finding::WouldMatch { secret, changes },
        }
    }
}

struct Search<'a> {
    signed: &'a Signed,
    case: &'a Case<'a>,
    candidates: &'a [Candidate],
    secrets: Vec<secrets::Guess>,
    covered: Vec<Covered>,
    bodies: Vec<(Vec<Change>, Bytes)>,
    urls: Vec<urls::Guess>,
    left: u64,
    is_exhausted: bool,
}

impl<'a> Search<'a> {
    fn of(signed: &'a Signed, case: &'a Case<'a>, candidates: &'a [Candidate], refusal: Refusal) -> Self {
        let received = &case.received;
        let covered = if refusal == Refusal::BodyHash {
            without_the_form(signed)
        } else {
            covered(signed, received)
        };
        let mut guessed = vec![(Vec::new(), received.body.clone())];
        guessed.extend(
            bodies::guesses(received.body)
                .into_iter()
                .map(|(change, body)| (vec![change], body.into())),
        );
        let mut urls = urls::guesses(received.url, received.query, received.headers);
        if urls.is_empty() {
            urls.push(urls::Guess {
                changes: Vec::new(),
                url: String::new(),
                query: received.query.map(str::to_owned),
            });
        }
        Self {
            signed,
            case,
            candidates,
            secrets: secrets::guesses(signed.secret_encoding, case.keys, case.others),
            covered,
            bodies: guessed,
            urls,
            left: case.budget,
            is_exhausted: false,
        }
    }

    fn run(&mut self) -> Option<Found> {
        for off in 0..=MOST_OFF {
            let found = self.level(off);
            if found.is_some() {
                return found;
            }
            if self.left == 0 {
                self.is_exhausted = off <= LEAST_OFF;
                return None;
            }
        }
        None
    }

    /// Every combination in which exactly this many dimensions are off.
    fn level(&mut self, off: usize) -> Option<Found> {
        let mut best: Option<Found> = None;
        for covered in 0..self.covered.len() {
            for body in 0..self.bodies.len() {
                for url in 0..self.urls.len() {
                    let Some(found) = self.combination(off, covered, body, url) else {
                        continue;
                    };
                    if best
                        .as_ref()
                        .is_none_or(|best| found.changes.len() < best.changes.len())
                    {
                        best = Some(found);
                    }
                }
            }
        }
        best
    }

    fn combination(&mut self, off: usize, covered: usize, body: usize, url: usize) -> Option<Found> {
        let (covered, url) = (self.covered.get(covered)?, self.urls.get(url)?);
        let (body_changes, body) = self.bodies.get(body)?;
        let so_far = [
            !covered.changes.is_empty(),
            !body_changes.is_empty(),
            !url.changes.is_empty(),
        ];
        let so_far = so_far.into_iter().filter(|is_off| *is_off).count();
        // Which is not off enough even with the signature and the secret off, or too far off already.
        if self.left == 0 || so_far > off || so_far + 2 < off {
            return None;
        }
        let (takes_body, takes_url) = (covered.content.binds_body(), covered.content.needs_url());
        let is_idle = (!takes_body && !body_changes.is_empty()) || (!takes_url && !url.changes.is_empty());
        if is_idle {
            return None;
        }
        let received = Received {
            url: &url.url,
            query: url.query.as_deref(),
            body,
            ..self.case.received
        };
        let own = match &self.signed.place {
            Place::Param(name) => Some(name.as_str()),
            Place::Headers(_) | Place::Keys(..) => None,
        };
        let (time, hash) = (Cow::Borrowed(&*covered.time), self.signed.body_hash_param.as_deref());
        let material = Material::gather(&covered.content, &received, time, own, hash).ok()?;
        let bytes: Vec<u8> = covered.content.pieces(&material).flatten().copied().collect();
        let cost = u64::try_from(bytes.len())
            .unwrap_or(u64::MAX)
            .saturating_add(COST_OF_AN_ATTEMPT);
        let changes = || {
            let url = url.changes.iter().cloned().map(Change::Url);
            covered.changes.iter().chain(body_changes).cloned().chain(url)
        };
        for secret in &self.secrets {
            let is_other = !secret.is_own || !secret.changes.is_empty();
            for candidate in self.candidates {
                let is_respelt = !candidate.changes.is_empty();
                if so_far + usize::from(is_other) + usize::from(is_respelt) != off {
                    continue;
                }
                self.left = self.left.saturating_sub(cost);
                let Some(algorithm) = matching(&secret.bytes, secret.algorithm, &bytes, &candidate.digest) else {
                    continue;
                };
                let algorithm = (algorithm != secret.algorithm).then_some(Change::Algorithm(algorithm));
                // Another algorithm has another prefix; saying so twice helps nobody.
                let is_said = |change: &Change| *change == Change::Spelling && algorithm.is_some();
                let respelt = candidate.changes.iter().filter(|change| !is_said(change)).cloned();
                return Some(Found {
                    secret: secret.label.clone(),
                    is_own: secret.is_own,
                    changes: respelt
                        .chain(secret.changes.iter().cloned())
                        .chain(changes())
                        .chain(algorithm.clone())
                        .collect(),
                });
            }
        }
        None
    }
}

/// The algorithm by which this secret makes this signature; of those with its length, the configured one first.
fn matching(secret: &[u8], configured: Algorithm, bytes: &[u8], digest: &Digest) -> Option<Algorithm> {
    let fits = |algorithm: &Algorithm| algorithm.signature_bytes() == digest.bytes().len();
    let others = Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != configured);
    std::iter::once(configured)
        .chain(others)
        .filter(fits)
        .find(|algorithm| {
            let ready = Ready::new(*algorithm, secret);
            ready.is_some_and(|ready| bool::from(ready.verifies(std::iter::once(bytes), digest)))
        })
}

/// What the signature covers where a parameter of the query vouches for the body.
fn without_the_form(signed: &Signed) -> Vec<Covered> {
    let rest = signed.content.0.iter().filter(|part| **part != Part::FormSorted);
    vec![Covered {
        changes: Vec::new(),
        content: Content(rest.cloned().collect()),
        time: Vec::new(),
    }]
}

/// What the signature may cover: as configured, in another order, with another time.
fn covered(signed: &Signed, received: &Received<'_>) -> Vec<Covered> {
    let own = timestamp_text(signed, received);
    let mut times: Vec<(Option<Change>, Vec<u8>)> = Vec::new();
    times.extend(own.iter().map(|text| (None, text.clone().into_bytes())));
    times.extend(
        own.as_deref()
            .and_then(in_the_other_unit)
            .map(|(change, text)| (Some(change), text)),
    );
    let others = received.headers.iter().filter(|(_, value)| is_unix_time(value));
    times.extend(others.take(MOST_TIMESTAMPS).map(|(name, value)| {
        let change = signed.timestamp.is_some().then(|| Change::TimestampOf(name.clone()));
        (change, value.as_bytes().to_vec())
    }));
    let mut all: Vec<Covered> = Vec::new();
    let mut add = |change: Option<Change>, content: &Content| {
        let is_timed = content.has(&Part::Timestamp);
        let nothing = [(None, Vec::new())];
        for (time_change, time) in if is_timed { &times[..] } else { &nothing } {
            let is_known = all.iter().any(|known| known.content == *content && known.time == *time);
            if !is_known {
                all.push(Covered {
                    changes: change.iter().chain(time_change).cloned().collect(),
                    content: content.clone(),
                    time: time.clone(),
                });
            }
        }
    };
    add(None, &signed.content);
    for content in reordered(&signed.content) {
        add(Some(named(&content)), &content);
    }
    for template in OTHER_CONTENTS {
        if let Ok(content) = Content::parse(template) {
            add(Some(named(&content)), &content);
        }
    }
    all
}

/// What gateways are known to sign, the most usual first.
const OTHER_CONTENTS: [&str; 13] = [
    "{body}",
    "{body}{timestamp}",
    "{timestamp}.{body}",
    "{body}.{timestamp}",
    "{timestamp}{body}",
    "{timestamp}|{body}",
    "{timestamp}:{body}",
    "{timestamp}\n{body}",
    "v0:{timestamp}:{body}",
    "{header:webhook-id|svix-id}.{timestamp}.{body}",
    "{url}{form_sorted}",
    "{url}{body}",
    "{url}",
];

fn is_unix_time(value: &HeaderValue) -> bool {
    Unit::Auto.read(value.as_bytes()).is_ok()
}

/// Seconds as milliseconds, and the other way round.
fn in_the_other_unit(text: &str) -> Option<(Change, Vec<u8>)> {
    let milliseconds = Unit::Auto.read(text.as_bytes()).ok()?;
    Some(match text.len() {
        13 => (Change::TimestampSeconds, (milliseconds / 1000).to_string().into_bytes()),
        _ => (Change::TimestampMilliseconds, milliseconds.to_string().into_bytes()),
    })
}

/// The pieces of a content in every other order, with what stands between them, or with nothing between.
fn reordered(content: &Content) -> Vec<Content> {
    let is_plain = |part: &Part| matches!(part, Part::Literal(_));
    let pieces: Vec<&Part> = content.0.iter().filter(|part| !is_plain(part)).collect();
    let between = content.0.iter().find(|part| is_plain(part));
    if !(2..=3).contains(&pieces.len()) {
        return Vec::new();
    }
    let separators = [between.cloned(), None, Some(Part::Literal(".".to_owned()))];
    let mut all: Vec<Content> = Vec::new();
    for order in orders(&pieces) {
        for separator in &separators {
            let mut parts: Vec<Part> = Vec::new();
            for (place, piece) in order.iter().enumerate() {
                parts.extend(separator.iter().filter(|_| place > 0).cloned());
                parts.push((*piece).clone());
            }
            let reordered = Content(parts);
            if reordered != *content && !all.contains(&reordered) {
                all.push(reordered);
            }
        }
    }
    all
}

/// Every order of at most three things.
fn orders<'p>(pieces: &[&'p Part]) -> Vec<Vec<&'p Part>> {
    match pieces {
        [] => vec![Vec::new()],
        pieces => pieces
            .iter()
            .enumerate()
            .flat_map(|(place, first)| {
                let mut rest = pieces.to_vec();
                rest.remove(place);
                orders(&rest).into_iter().map(move |mut order| {
                    order.insert(0, *first);
                    order
                })
            })
            .collect(),
    }
}

/// The change to this content.
fn named(content: &Content) -> Change {
    let template: String = content.0.iter().map(written).collect();
    match template.as_str() {
        "{body}" => Change::ContentBody,
        "{body}{timestamp}" => Change::ContentBodyTimestamp,
        "{timestamp}.{body}" => Change::ContentTimestampBody,
        _ => Change::Content(template),
    }
}

/// A piece as a gateway file has it.
fn written(part: &Part) -> String {
    match part {
        Part::Body => "{body}".to_owned(),
        Part::Timestamp => "{timestamp}".to_owned(),
        Part::Header(names) => {
            let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
            format!("{{header:{}}}", names.join("|"))
        }
        Part::Url => "{url}".to_owned(),
        Part::BaseUrl => "{base_url}".to_owned(),
        Part::BodySha256 => "{body_sha256}".to_owned(),
        Part::FormSorted => "{form_sorted}".to_owned(),
        Part::ParamsVonage => "{params_vonage}".to_owned(),
        Part::Literal(text) => text.escape_default().to_string(),
    }
}
