//! Replies as each gateway's API documents them: a text in the gateway's own format, signed as the gateway signs it, and the
//! request that answers it at a stand-in of that API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::SecretString;
use serde_json::{Value, json};
use smshook::config::Endpoint;
use smshook::gateway::{self, Gateway, Sample};
use smshook::signature::{self, Outgoing, Signer};

use crate::helpers::{self, Answer, App, Asked, Fake};

const PERSON: &str = "+15551230001";
const OURS: &str = "+15550009999";
const REPLY_ID: &str = "reply_1";
/// 32 bytes in base64: a key, a seed, or simply a text.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What became of one text and its answer.
struct Replied {
    asked: Vec<Asked>,
    state: String,
    reason: String,
    captures: Value,
}

impl Replied {
    /// The only request, of a job that was done and kept the ID that the API gave.
    #[track_caller]
    fn request(&self) -> &Asked {
        assert_eq!((self.state.as_str(), self.reason.as_str()), ("done", ""));
        assert_eq!(self.captures["id"], REPLY_ID);
        assert_eq!(self.asked.len(), 1);
        &self.asked[0]
    }
}

/// Something that signs as a gateway does, and what to configure for it.
fn signer(scheme: &signature::Scheme) -> (Signer, String) {
    let secret = SecretString::from(SECRET);
    let signer = Signer::new(scheme, &secret, None).unwrap();
    let configured = signer.public_key().unwrap_or_else(|| SECRET.to_owned());
    (signer, configured)
}

/// Where the stand-in is, as keys of `reply`.
fn at(api: &Fake) -> String {
    format!(
        "base_url = \"{}\"\nallow_http = true\nallow_private = [\"127.0.0.0/8\", \"::1\"]",
        api.url("/api")
    )
}

/// An endpoint of `gateway` that answers every text; `reply` has the keys of its `reply`, `more` further tables.
fn configuration(gateway: &str, scheme: &signature::Scheme, reply: &str, more: &str) -> String {
    let (_, secret) = signer(scheme);
    format!(
        r#"
        [worker]
        poll = "50ms"
        [[endpoint]]
        name = "main"
        path = "/hooks/sms"
        public_url = "https://sms.example.com/hooks/sms"
        gateway = "{gateway}"
        secrets = ["{secret}"]
        [endpoint.reply]
        {reply}
        [action.answer]
        reply = {{ text = "Hello \"{{{{ text }}}}\" & more" }}
        [[rule]]
        name = "everything"
        any = true
        actions = ["answer"]
        {more}
        "#
    )
}

/// Posts what the gateway would for one text.
async fn deliver(app: &App, endpoint: &Endpoint) {
    let now = Utc::now();
    let sample = Sample {
        from: PERSON,
        to: OURS,
        text: "hi",
        sent_at: now,
        now,
        id: uuid::Uuid::now_v7(),
    };
    let delivery = endpoint.gateway.sample_delivery(&sample).unwrap();
    let mut outgoing = Outgoing {
        method: delivery.method,
        url: endpoint.url.clone(),
        query: delivery.query,
        headers: HeaderMap::new(),
        body: delivery.body,
        at: now.timestamp_millis(),
    };
    if let Some(content_type) = delivery.content_type {
        let value = HeaderValue::from_static(content_type);
        outgoing.headers.insert(http::header::CONTENT_TYPE, value);
    }
    signature::sign(
        &endpoint.gateway.signature,
        &signer(&endpoint.gateway.signature).0,
        &mut outgoing,
    );
    let mut head = format!("{} {}", outgoing.method, endpoint.path);
    if !outgoing.query.is_empty() {
        head = format!("{head}?{}", outgoing.query);
    }
    head.push_str(" HTTP/1.1\r\nhost: sms.example.com\r\nconnection: close\r\n");
    for (name, value) in &outgoing.headers {
        head = format!("{head}{name}: {}\r\n", value.to_str().unwrap());
    }
    head = format!("{head}content-length: {}\r\n\r\n", outgoing.body.len());
    let answer = helpers::raw(app.address(), &[head.as_bytes(), &outgoing.body].concat()).await;
    assert!(
        (200..300).contains(&answer.status),
        "{}: {answer:?}",
        endpoint.gateway.name
    );
}

/// What an endpoint's API answers, by its own file.
fn sample_answer(endpoint: &Endpoint) -> Answer {
    let channel = endpoint.reply.as_ref().unwrap();
    let body = channel.sample_answer.replace("{reply_id}", REPLY_ID);
    Answer::Now(channel.sample_status, vec![], body)
}

/// One text to an endpoint of this configuration, and how it was answered.
async fn replied(api: &Fake, toml: &str) -> Replied {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = helpers::configuration(directory.path(), None, toml).endpoints.remove(0);
    api.always(sample_answer(&endpoint));
    let app = App::start(toml).await;
    deliver(&app, &endpoint).await;
    app.all_jobs_ended().await;
    let job = "SELECT state, coalesce(reason, ''), coalesce(result -> 'captures', 'null') FROM v1.jobs";
    let (state, reason, captures) = sqlx::query_as(job).fetch_one(app.pool()).await.unwrap();
    Replied {
        asked: api.asked(),
        state,
        reason,
        captures,
    }
}

fn builtin(name: &str) -> Gateway {
    Gateway::from_toml(gateway::builtin(name).unwrap()).unwrap()
}

/// As [`replied`], at a built-in gateway with these keys in `reply`.
async fn replied_through(gateway: &str, keys: &str) -> Replied {
    let api = Fake::start().await;
    let reply = format!("{keys}\n{}", at(&api));
    replied(&api, &configuration(gateway, &builtin(gateway).signature, &reply, "")).await
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A form's fields in order.
fn form(body: &str) -> Vec<(String, String)> {
    let fields = url::form_urlencoded::parse(body.as_bytes());
    fields
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

fn field<'f>(form: &'f [(String, String)], name: &str) -> Option<&'f str> {
    form.iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

const TEXT: &str = "Hello \"hi\" & more";

#[tokio::test]
async fn twilio_is_asked_with_a_form_under_the_account() {
    let replied = replied_through("twilio", "token = \"the auth token\"\naccount = \"AC0123\"").await;
    let asked = replied.request();
    assert_eq!(
        (&asked.method, asked.path.as_str()),
        (&Method::POST, "/api/Accounts/AC0123/Messages.json")
    );
    assert_eq!(asked.headers["authorization"], basic("AC0123", "the auth token"));
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let form = form(&asked.body);
    for (name, value) in [("To", PERSON), ("From", OURS), ("Body", TEXT)] {
        assert_eq!(field(&form, name), Some(value), "{form:?}");
    }
    assert_eq!(field(&form, "MessagingServiceSid"), None, "what is not set is left out");
}

#[tokio::test]
async fn a_setting_chooses_the_sender_and_takes_the_place_of_the_number_that_was_texted() {
    let keys = "token = \"t\"\naccount = \"AC/../x\"\nservice = \"MG7\"\nstatus_callback = \"https://sms.example.com/hooks/sms?a=b&c\"";
    let replied = replied_through("twilio", keys).await;
    let asked = replied.request();
    assert_eq!(
        asked.path, "/api/Accounts/AC%2F..%2Fx/Messages.json",
        "it stays in its segment"
    );
    let form = form(&asked.body);
    assert_eq!(field(&form, "MessagingServiceSid"), Some("MG7"));
    assert_eq!(field(&form, "From"), None);
    assert_eq!(
        field(&form, "StatusCallback"),
        Some("https://sms.example.com/hooks/sms?a=b&c")
    );

    let keys = "token = \"t\"\naccount = \"AC1\"\nfrom = \"ACME\"";
    let own = replied_through("twilio", keys).await;
    let own = self::form(&own.request().body);
    assert_eq!(field(&own, "From"), Some("ACME"));
}

#[tokio::test]
async fn telnyx_is_asked_in_json_with_a_bearer_token() {
    let replied = replied_through("telnyx", "token = \"KEY0123\"").await;
    let asked = replied.request();
    assert_eq!((&asked.method, asked.path.as_str()), (&Method::POST, "/api/messages"));
    assert_eq!(asked.headers["authorization"], "Bearer KEY0123");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.json(), json!({ "from": OURS, "to": PERSON, "text": TEXT }));
}

#[tokio::test]
async fn plivo_is_asked_under_the_account_with_digits_only() {
    let replied = replied_through("plivo", "token = \"the auth token\"\naccount = \"MA0123\"").await;
    let asked = replied.request();
    assert_eq!(
        (&asked.method, asked.path.as_str()),
        (&Method::POST, "/api/Account/MA0123/Message/")
    );
    assert_eq!(asked.headers["authorization"], basic("MA0123", "the auth token"));
    assert_eq!(
        asked.json(),
        json!({ "src": "15550009999", "dst": "15551230001", "text": TEXT, "type": "sms" })
    );
}

#[tokio::test]
async fn clicksend_is_asked_with_a_list_and_a_refusal_in_a_200_is_one() {
    let keys = "token = \"the api key\"\nusername = \"me@example.com\"";
    let replied = replied_through("clicksend", keys).await;
    let asked = replied.request();
    assert_eq!(asked.path, "/api/sms/send");
    assert_eq!(asked.headers["authorization"], basic("me@example.com", "the api key"));
    let message = &asked.json()["messages"][0];
    assert_eq!(
        (&message["to"], &message["from"], &message["body"]),
        (&json!(PERSON), &json!(OURS), &json!(TEXT))
    );
    assert!(message["custom_string"].as_str().unwrap().starts_with("smshook-"));

    let api = Fake::start().await;
    let refused = json!({ "data": { "messages": [{ "status": "INVALID_RECIPIENT" }] } });
    api.then(Answer::Now(200, vec![], refused.to_string()));
    let toml = configuration(
        "clicksend",
        &builtin("clicksend").signature,
        &format!("{keys}\n{}", at(&api)),
        "",
    );
    let replied = self::replied(&api, &toml).await;
    assert_eq!(replied.state, "discarded");
    assert!(replied.reason.contains("INVALID_RECIPIENT"), "{}", replied.reason);
}

#[tokio::test]
async fn infobip_is_asked_in_a_nested_list_with_a_key_of_its_own_kind() {
    let replied = replied_through("infobip", "token = \"k0123\"").await;
    let asked = replied.request();
    assert_eq!(asked.path, "/api/sms/3/messages");
    assert_eq!(asked.headers["authorization"], "App k0123");
    let message = &asked.json()["messages"][0];
    assert_eq!(message["sender"], "15550009999");
    assert_eq!(message["destinations"], json!([{ "to": "15551230001" }]));
    assert_eq!(message["content"], json!({ "text": TEXT }));
}

#[tokio::test]
async fn a_phones_own_server_is_asked_without_tls_where_that_is_allowed() {
    let replied = replied_through("smsgate", "token = \"secret\"\nusername = \"sms\"").await;
    let asked = replied.request();
    assert_eq!(asked.path, "/api");
    assert_eq!(asked.headers["authorization"], basic("sms", "secret"));
    let body = asked.json();
    assert_eq!(body["phoneNumbers"], json!([PERSON]));
    assert_eq!(body["textMessage"], json!({ "text": TEXT }));
}

#[tokio::test]
async fn a_setting_names_the_server_where_the_gateways_base_url_says_so() {
    let api = Fake::start().await;
    let port = url::Url::parse(&api.url("/")).unwrap().port().unwrap();
    let more = format!(
        r#"
        [gateway.mine]
        like = "infobip"
        [gateway.mine.reply]
        base_url = "http://{{{{ host }}}}:{port}/{{{{ host }}}}"
        settings = {{ host = "the first part of the API's host" }}
        "#
    );
    let keys = "token = \"k0123\"\nhost = \"localhost\"\nallow_http = true\nallow_private = [\"127.0.0.0/8\", \"::1\"]";
    let toml = configuration("mine", &builtin("infobip").signature, keys, &more);
    let replied = replied(&api, &toml).await;
    assert_eq!(replied.request().path, "/localhost/sms/3/messages");
    assert_eq!(replied.asked[0].headers["host"], format!("localhost:{port}"));
}

#[tokio::test]
async fn every_built_in_gateway_that_can_reply_sends_the_text_and_keeps_the_id_that_it_gets() {
    let mut replying = 0;
    for name in gateway::builtin_names() {
        let Some(reply) = builtin(name).reply else { continue };
        replying += 1;
        let settings = reply
            .get("settings")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten();
        let settings: Vec<String> = settings.map(|(name, _)| format!("{name} = \"set-{name}\"")).collect();
        let replied = replied_through(name, &format!("token = \"the token\"\n{}", settings.join("\n"))).await;
        assert_eq!(
            (replied.state.as_str(), replied.reason.as_str()),
            ("done", ""),
            "{name}"
        );
        assert_eq!(replied.captures["id"], REPLY_ID, "{name}");
        let asked = &replied.asked[0];
        let text = if asked.headers["content-type"] == "application/json" {
            TEXT.replace('"', "\\\"")
        } else {
            url::form_urlencoded::byte_serialize(TEXT.as_bytes()).collect()
        };
        assert!(asked.body.contains(&text), "{name}: {}", asked.body);
        let said = format!("{} {}", asked.path, asked.body);
        assert!(!said.contains("{{") && !said.contains("the token"), "{name}: {said}");
        let digits = PERSON.trim_start_matches('+');
        assert!(said.contains(digits), "{name}: {said}");
        assert!(
            asked.headers.values().any(|value| value.as_bytes().len() >= 8),
            "{name}"
        );
    }
    assert!(replying >= 14, "only {replying} can reply");
}
