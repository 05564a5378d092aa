//! Why a signature failed: in the log line of the request, and from `smshook verify`. Never in the answer.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;

use crate::helpers::{SECRET, Service, signature, sms};

const TOKEN: &str = "the auth token of the tests";
const SENDER: &str = "15550001234";
const FORM: &str = "From=%2B15550001234&Body=say+hi&MessageSid=SM1";

const CONFIG: &str = r#"
[[endpoint]]
name = "main"
path = "/hooks/sms"
gateway = "mobile-api-connect"
secrets = ["whsec_of the tests"]
retired_secrets = ["the secret of last year"]

[[endpoint]]
name = "other"
path = "/hooks/other"
gateway = "mobile-api-connect"
secrets = ["the secret of another device"]

[[endpoint]]
name = "form"
path = "/hooks/form"
gateway = "twilio"
public_url = "https://sms.example.com/hooks/form"
secrets = ["the auth token of the tests"]

[[endpoint]]
name = "phone"
path = "/hooks/phone"
gateway = "smsgate"
secrets = ["the signing key"]

[[endpoint]]
name = "token"
path = "/hooks/token"
gateway = "httpsms"
public_url = "https://sms.example.com/hooks/token"
secrets = ["the signing key"]

[[endpoint]]
name = "nonce"
path = "/hooks/nonce"
gateway = "plivo"
public_url = "https://sms.example.com/hooks/nonce"
secrets = ["the signing key"]

[[endpoint]]
name = "basic"
path = "/hooks/basic"
gateway = "bandwidth"
secrets = ["user:geheim"]
"#;

fn header(secret: &str, body: &str) -> String {
    format!("x-mac-signature: {}", signature(secret, body.as_bytes()))
}

/// Twilio's signature over `url` and the fields of [`FORM`], computed here.
fn form_header(url: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("{url}Bodysay hiFrom+15550001234MessageSidSM1").as_bytes());
    format!("x-twilio-signature: {}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// A capcom6 signature: the body and then the time.
fn phone_headers(content: &str, at: i64) -> [String; 2] {
    let digest = signature("the signing key", content.as_bytes()).replace("sha256=", "");
    [format!("x-signature: {digest}"), format!("x-timestamp: {at}")]
}

fn token_header(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(b"the signing key").unwrap();
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("authorization: Bearer {signed}.{signature}")
}

/// Where it goes, its headers, its body, and what is wrong with it.
type Mistake = (&'static str, Vec<String>, String, &'static str);

fn mistakes(body: &str) -> Vec<Mistake> {
    let body = body.to_owned();
    let spaced = body.replace("\":", "\": ").replace(",\"", ", \"");
    let now = chrono::Utc::now().timestamp();
    let main = "/hooks/sms";
    vec![
        (
            main,
            vec![],
            body.clone(),
            "there is no header x-mac-signature or x-webhook-signature",
        ),
        (
            main,
            vec![header("the secret of last year", &body)],
            body.clone(),
            "the signature was made with the retired secret (number 1 of the list)",
        ),
        (
            main,
            vec![header("the secret of another device", &body)],
            body.clone(),
            "the signature was made with the secret of the endpoint other (number 1 of the list)",
        ),
        (
            main,
            vec![header(SECRET, &body)],
            spaced,
            "the signature would be right with number 1 of the list and the body as compact JSON (something on the way formatted it)",
        ),
        (
            main,
            vec![header(SECRET, &body).replace("sha256=", "")],
            body.clone(),
            "the header x-mac-signature is not as the gateway writes it: the prefix is missing or spelt otherwise; \
             the signature would be right with number 1 of the list and the signature spelt as the scheme says",
        ),
        (
            "/hooks/form",
            vec![form_header("http://sms.example.com/hooks/form")],
            FORM.to_owned(),
            "the signature would be right with number 1 of the list and `public_url` with http",
        ),
        (
            "/hooks/phone",
            phone_headers(&format!("{now}.{{}}"), now).to_vec(),
            "{}".to_owned(),
            "the signature would be right with number 1 of the list and content = \"{timestamp}.{body}\"",
        ),
        (
            "/hooks/token",
            vec![token_header(&json!({
                "iss": "api.httpsms.com", "aud": ["http://sms.example.com/hooks/token"], "exp": now + 600, "nbf": now - 600, "iat": now,
            }))],
            "{}".to_owned(),
            "the token's signature is right, but its audience (`aud`) is not the endpoint's `public_url`; \
             it would be right with `public_url` with http",
        ),
        (
            "/hooks/basic",
            vec![format!("authorization: Basic {}", STANDARD.encode("user:geheimer"))],
            "[]".to_owned(),
            "the user name in it is right, but the password is another",
        ),
    ]
}

#[tokio::test]
async fn the_log_line_of_a_failed_signature_names_its_cause_and_the_answer_does_not() {
    let service = Service::start(CONFIG).await;
    let body = sms(SENDER, "hello").to_string();
    for (path, headers, body, cause) in mistakes(&body) {
        let (answer, line) = service.line_of(service.post(path, &headers, body.as_bytes())).await;
        assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{cause}");
        assert!(!answer.head.contains("x-"), "{}", answer.head);
        assert_eq!(
            (&line["outcome"], &line["cause"]),
            (&"refused".into(), &cause.into()),
            "{line}"
        );
    }
    let log = service.process.log_text();
    let private = [
        SENDER,
        SECRET,
        TOKEN,
        "hello",
        "say hi",
        "say+hi",
        "secret of last year",
        "geheim",
        "eyJ",
        "Basic ",
        "SM1",
    ];
    for private in private {
        assert!(!log.contains(private), "{private}: {log}");
    }
    assert!(!log.contains(signature(SECRET, body.as_bytes()).strip_prefix("sha256=").unwrap()));
}

#[tokio::test]
async fn a_clock_that_is_off_is_said_with_how_far() {
    let service = Service::start(CONFIG).await;
    let at = chrono::Utc::now().timestamp() - 1000;
    let (answer, line) = service
        .line_of(service.post("/hooks/phone", &phone_headers(&format!("{{}}{at}"), at), b"{}"))
        .await;
    assert_eq!((answer.status, &line["reason"]), (401, &"timestamp_outside".into()));
    let cause = line["cause"].as_str().unwrap();
    let seconds = cause
        .strip_prefix("the signature is right, but its time is ")
        .and_then(|rest| rest.strip_suffix(" s before it was received, and 300 s is allowed"));
    let seconds: i64 = seconds.unwrap_or_else(|| panic!("{cause}")).parse().unwrap();
    assert!((1000..1060).contains(&seconds), "{cause}");
}

#[tokio::test]
async fn what_would_take_too_long_is_not_looked_into_and_says_so() {
    let service = Service::start(CONFIG).await;
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(70_000));
    let (_, line) = service
        .line_of(service.post("/hooks/sms", &[header("wrong", &large)], large.as_bytes()))
        .await;
    assert_eq!(
        line["cause"],
        "not looked into: the body is larger than 64 KiB; `smshook verify` does it"
    );
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(
            service.post("/hooks/sms", &[header("wrong", "{}")], b"[]").await.status,
            401
        );
    }
    let took = begun.elapsed();
    let lines = service.requests(51).await;
    let unseen = lines
        .iter()
        .filter(|line| line["cause"] == "not looked into: too many signatures fail at once");
    // one without any signature does not have to wait for them
    let (_, line) = service.line_of(service.post("/hooks/sms", &[], b"{}")).await;
    let missing = "there is no header x-mac-signature or x-webhook-signature";
    assert_eq!(line["cause"], missing);
    // ten at once and one for each second since
    let seen = 50 - unseen.count();
    let most = 11 + usize::try_from(took.as_secs()).unwrap();
    assert!((10..=most).contains(&seen), "{seen} in {took:?}");
}

#[tokio::test]
async fn a_failed_signature_is_counted_when_it_is_answered_and_its_line_survives_a_stop() {
    let mut service = Service::start(CONFIG).await;
    for _ in 0..5 {
        service.post("/hooks/sms", &[header("wrong", "{}")], b"[]").await;
    }
    let metrics = service.metrics().await;
    assert!(
        metrics.contains(r#"smshook_requests_total{endpoint="main",outcome="refused"} 5"#),
        "{metrics}"
    );
    service.process.signal(rustix::process::Signal::TERM);
    assert_eq!(service.process.ended().await, Some(0));
    assert_eq!(service.lines("request").len(), 5);
}

#[tokio::test]
async fn a_value_that_is_used_once_and_comes_with_another_payload_is_refused_and_named() {
    let service = Service::start(CONFIG).await;
    let mut mac = Hmac::<Sha256>::new_from_slice(b"the signing key").unwrap();
    mac.update(b"https://sms.example.com/hooks/nonce12345");
    let headers = [
        format!("x-plivo-signature-v2: {}", STANDARD.encode(mac.finalize().into_bytes())),
        "x-plivo-signature-v2-nonce: 12345".to_owned(),
    ];
    let genuine = b"MessageUUID=1&From=15550001234&To=15550009999&Text=genuine";
    for status in ["stored", "duplicate"] {
        let (answer, line) = service.line_of(service.post("/hooks/nonce", &headers, genuine)).await;
        assert_eq!((answer.status, &line["outcome"]), (200, &status.into()), "{line}");
    }
    let forged = b"MessageUUID=2&From=15550001234&To=15550009999&Text=forged";
    let (answer, line) = service.line_of(service.post("/hooks/nonce", &headers, forged)).await;
    assert_eq!(
        (answer.status, answer.body.as_str(), &line["reason"]),
        (401, "", &"replayed".into())
    );
    let cause = "the signature is right, but what may be used once came before with another payload: a replay";
    assert_eq!(line["cause"], cause);
}

// smshook verify

/// The answer is no; this is found, and this is to be done.
async fn explained(service: &Service, arguments: &[&str], finding: &str, hint: &str) {
    let mut all = vec!["verify"];
    all.extend_from_slice(arguments);
    let said = service.run(&all).await;
    assert_eq!((said.code, said.out.trim_end()), (Some(1), finding), "{said:?}");
    assert!(
        said.err.contains("hint: ") && said.err.contains(hint),
        "{hint}: {said:?}"
    );
    for private in [SECRET, TOKEN, "the signing key", "secret of last year", "geheim"] {
        assert!(!said.out.contains(private), "{said:?}");
    }
}

#[tokio::test]
async fn a_whole_captured_request_is_verified_as_of_its_time() {
    let service = Service::start(CONFIG).await;
    let at = 1_781_274_720;
    let [signature, time] = phone_headers(&format!("{{\"a\":1}}{at}"), at);
    let text = format!(
        "POST /hooks/phone HTTP/1.1\r\nHost: sms.example.com\r\n{signature}\r\n{time}\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}\n"
    );
    let file = service.file("request.txt", text.as_bytes());
    let request = ["--endpoint", "phone", "--request", file.to_str().unwrap()];
    for at in ["1781274720", "2026-06-12T14:32:00Z"] {
        let said = service.run(&[&["verify"], &request[..], &["--at", at]].concat()).await;
        let right = "the signature is right: it was made with number 1 of the list over these bytes\n";
        assert_eq!((said.code, said.out.as_str()), (Some(0), right), "{said:?}");
    }
    let early = "the signature is right, but its time is 400 s before it was received, and 300 s is allowed";
    explained(
        &service,
        &[&request[..], &["--at", "1781275120"]].concat(),
        early,
        "compare the clocks of both sides",
    )
    .await;
    let late = "the signature is right, but its time is 400 s after it was received, and 300 s is allowed";
    explained(
        &service,
        &[&request[..], &["--at", "1781274320"]].concat(),
        late,
        "compare the clocks",
    )
    .await;
    // from a pipe, and what is none
    let mut command = crate::helpers::smshook(&["verify"]);
    command.arg("--help");
    let help = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(
        help.contains("--request <FILE>") && help.contains("--at <TIME>"),
        "{help}"
    );
    let nonsense = service.file("nonsense.txt", b"{}");
    let said = service
        .run(&["verify", "--endpoint", "phone", "--request", nonsense.to_str().unwrap()])
        .await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err
            .contains("is not an HTTP request: its first line has no method and target"),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_url_that_was_called_may_be_given_and_a_wrong_one_is_named() {
    let service = Service::start(CONFIG).await;
    let file = service.file("form.txt", FORM.as_bytes());
    let (body, signed) = (
        file.to_str().unwrap(),
        form_header("https://sms.example.com/hooks/form?a=%20b"),
    );
    let base = ["--endpoint", "form", "--body", body, "--header", &signed];
    let right = "https://sms.example.com/hooks/form?a=%20b";
    let said = service.run(&[&["verify"], &base[..], &["--url", right]].concat()).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let mend = "set `public_url` at the endpoint to the URL that is configured at the gateway";
    let with = "the signature would be right with number 1 of the list and ";
    for (called, change) in [
        ("http://sms.example.com/hooks/form?a=%20b", "`public_url` with https"),
        (
            "https://sms.example.com/hooks/form/?a=%20b",
            "`public_url` without the slash at its end",
        ),
        (
            "https://sms.example.com/hooks/form?a=+b",
            "the query encoded otherwise (something on the way decoded and encoded it again)",
        ),
    ] {
        explained(
            &service,
            &[&base[..], &["--url", called]].concat(),
            &format!("{with}{change}"),
            mend,
        )
        .await;
    }
    // a GET has no body
    let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("https://sms.example.com/hooks/form?{FORM}").as_bytes());
    let signed = format!("x-twilio-signature: {}", STANDARD.encode(mac.finalize().into_bytes()));
    let url = format!("https://sms.example.com/hooks/form?{FORM}");
    let get = [
        "verify",
        "--endpoint",
        "form",
        "--method",
        "GET",
        "--url",
        &url,
        "-H",
        &signed,
    ];
    assert_eq!(service.run(&get).await.code, Some(0));
    let said = service.run(&["verify", "--endpoint", "form", "--url", &url]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("add `--body FILE`"), "{said:?}");
}

#[tokio::test]
async fn verify_knows_the_other_secrets_of_the_configuration() {
    let service = Service::start(CONFIG).await;
    let body = sms(SENDER, "hello").to_string();
    let file = service.file("body.json", body.as_bytes());
    for (secret, finding) in [
        (
            "the secret of last year",
            "the signature was made with the retired secret (number 1 of the list)",
        ),
        (
            "the secret of another device",
            "the signature was made with the secret of the endpoint other (number 1 of the list)",
        ),
    ] {
        let signed = header(secret, &body);
        let arguments = ["--endpoint", "main", "--body", file.to_str().unwrap(), "-H", &signed];
        explained(
            &service,
            &arguments,
            finding,
            "give the gateway the secret of this endpoint",
        )
        .await;
    }
}

#[tokio::test]
async fn each_kind_of_scheme_has_its_advice() {
    let service = Service::start(CONFIG).await;
    let file = service.file("body.json", b"{}");
    let body = file.to_str().unwrap();
    let expired = token_header(&json!({
        "iss": "api.httpsms.com", "aud": ["https://sms.example.com/hooks/token"], "exp": 1_781_274_720, "nbf": 1_781_274_000, "iat": 1_781_274_120,
    }));
    let token = [
        "--endpoint",
        "token",
        "--body",
        body,
        "-H",
        &expired,
        "--at",
        "1781275000",
    ];
    let finding = "the token's signature is right, but it expired 280 s before it was received";
    explained(&service, &token, finding, "compare the clocks").await;
    let user = format!("Authorization: Basic {}", STANDARD.encode("nobody:geheim"));
    let basic = ["--endpoint", "basic", "--body", body, "-H", &user];
    explained(
        &service,
        &basic,
        "the password in it is right, but the user name is another",
        "`user:password`",
    )
    .await;
    let sha512 = {
        let mut mac = Hmac::<sha2::Sha512>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(b"{}");
        format!("x-mac-signature: sha512={}", hex::encode(mac.finalize().into_bytes()))
    };
    let said = service
        .run(&["verify", "--endpoint", "main", "--body", body, "-H", &sha512])
        .await;
    assert!(
        said.out
            .contains("right with number 1 of the list and algorithm = \"hmac-sha512\""),
        "{said:?}"
    );
    assert!(said.err.contains("say that `algorithm` beside the secret"), "{said:?}");
}
