//! What follows a change of consent by itself, what answers it in which language, and the words that an operator exempts.

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::helpers::{self, Answer, App, Fake, sms};

const PERSON: &str = "15551230001";

/// The service with a gateway, a CRM and a helpdesk that count; `consent` is the endpoint's, `actions` are all there are.
struct Shop {
    app: App,
    gateway: Fake,
    crm: Fake,
    desk: Fake,
}

impl Shop {
    async fn with(consent: &str, rules: &str) -> Self {
        let (gateway, crm, desk) = (Fake::start().await, Fake::start().await, Fake::start().await);
        desk.always(Answer::Now(200, Vec::new(), r#"{"id":7}"#.to_owned()));
        let toml = format!(
            r#"
            [worker]
            poll = "50ms"
            {}
            [endpoint.consent]
            {consent}
            [action.answer]
            reply = {{ text = "You wrote: {{{{ text }}}}" }}
            [action.desk]
            http = {{ url = "{}", json = {{ text = "{{{{ text }}}}" }}, capture = {{ id = "/id" }}, {LOCAL} }}
            [action.crm]
            http = {{ url = "{}", json = {{ from = "{{{{ sender }}}}", event = "{{{{ message.consent.event }}}}", keyword = "{{{{ message.consent.keyword }}}}", language = "{{{{ message.consent.language }}}}" }}, {LOCAL} }}
            [action.note]
            after = ["desk"]
            http = {{ url = "{}", json = {{ desk = "{{{{ results.desk.id }}}}" }}, {LOCAL} }}
            {rules}
            "#,
            helpers::replying_endpoint(&gateway),
            desk.url("/desk"),
            crm.url("/crm"),
            crm.url("/note"),
        );
        let app = App::start(&toml).await;
        Self {
            app,
            gateway,
            crm,
            desk,
        }
    }

    /// Delivers a text that was sent so many seconds ago, and waits for all that it causes.
    async fn hears(&self, text: &str, seconds_ago: i64) {
        let mut body = sms(PERSON, text);
        let at = Utc::now() - TimeDelta::seconds(seconds_ago);
        body["receivedAt"] = Value::String(at.to_rfc3339_opts(SecondsFormat::Millis, true));
        let answer = self.app.deliver(&body.to_string()).await;
        assert_eq!(answer.json()["status"], "stored", "{text}");
        self.app.all_jobs_ended().await;
    }

    /// The texts that the gateway was asked to send since the last look.
    fn sent(&self) -> Vec<String> {
        let text = |asked: helpers::Asked| asked.json()["text"].as_str().unwrap().to_owned();
        self.gateway.asked().into_iter().map(text).collect()
    }

    fn told(&self) -> Vec<Value> {
        self.crm.asked().iter().map(helpers::Asked::json).collect()
    }
}

const LOCAL: &str = r#"allow_http = true, allow_private = ["127.0.0.0/8"]"#;
const EVERYTHING: &str = "[[rule]]\nname = \"everything\"\nany = true\nactions = [\"answer\"]";

#[tokio::test]
async fn an_opt_out_reaches_the_crm_with_its_word_and_language_and_so_does_an_opt_in() {
    let shop = Shop::with(
        "brand = \"Acme\"\non_opt_out = [\"crm\"]\non_opt_in = [\"crm\"]",
        EVERYTHING,
    )
    .await;
    shop.hears("Arrêt svp", 30).await;
    shop.hears("START", 20).await;
    shop.hears("hello", 10).await;
    let told = shop.told();
    assert_eq!(told.len(), 2, "and not of other texts: {told:?}");
    assert_eq!(told[0]["from"], "+15551230001");
    assert_eq!(
        (&told[0]["event"], &told[0]["language"]),
        (&json!("opt_out"), &json!("fr"))
    );
    assert!(told[0]["keyword"].as_str().unwrap().starts_with("arr"), "{told:?}");
    assert_eq!(told[1]["event"], "opt_in");
    let sent = shop.sent();
    assert!(
        sent[0].starts_with("Acme: Votre désinscription est enregistrée."),
        "{sent:?}"
    );
    assert_eq!(sent[1], "Acme: You are subscribed again. Reply STOP to unsubscribe.");
    assert_eq!(sent[2], "You wrote: hello");
}

#[tokio::test]
async fn what_does_not_count_sets_nothing_going() {
    let shop = Shop::with("on_opt_out = [\"crm\"]\non_opt_in = [\"desk\"]", EVERYTHING).await;
    shop.hears("START", 10).await;
    shop.hears("STOP", 60).await;
    assert_eq!(shop.told().len(), 0, "the person opted in later than that");
    assert_eq!(shop.desk.asked().len(), 1, "of the first text");
    shop.hears("STOP", 5).await;
    assert_eq!(shop.told().len(), 1);
    shop.hears("START", 30).await;
    assert_eq!(shop.desk.asked().len(), 1, "the person opted out later than that");
    assert_eq!(
        shop.app.count("SELECT count(*) FROM v1.opt_outs WHERE in_force").await,
        1
    );
}

#[tokio::test]
async fn one_of_the_actions_may_come_after_another_and_use_its_result() {
    let shop = Shop::with("on_opt_out = [\"note\", \"desk\"]", EVERYTHING).await;
    shop.hears("STOP", 5).await;
    assert_eq!(shop.desk.asked().len(), 1);
    assert_eq!(shop.told(), [json!({ "desk": 7 })]);
}

#[tokio::test]
async fn an_action_that_a_rule_orders_too_runs_once_and_for_the_rule_in_any_case() {
    let rules = "[[rule]]\nname = \"everything\"\nany = true\nactions = [\"crm\"]";
    let shop = Shop::with("on_opt_in = [\"crm\"]\non_opt_out = [\"crm\"]", rules).await;
    shop.hears("STOP", 5).await;
    assert_eq!(shop.told().len(), 1);
    shop.hears("START", 60).await;
    assert_eq!(
        shop.told().len(),
        2,
        "the opt-in is out of date, the rule is for every text"
    );
}

#[tokio::test]
async fn strangers_are_answered_about_help_and_start_and_who_opted_out_is_not() {
    let shop = Shop::with(
        "brand = \"Acme\"\ncontact = \"+1 415 555 0100\"\nlanguage = \"es\"",
        EVERYTHING,
    )
    .await;
    shop.hears("START", 50).await;
    shop.hears("HELP", 40).await;
    shop.hears("ayuda", 30).await;
    shop.hears("STOP", 20).await;
    shop.hears("HELP", 10).await;
    let sent = shop.sent();
    assert_eq!(
        sent,
        [
            "Acme: Se ha dado de alta de nuevo. Responda STOP para darse de baja.",
            "Acme: Si necesita ayuda, contacte con +1 415 555 0100. Responda STOP para darse de baja.",
            "Acme: Si necesita ayuda, contacte con +1 415 555 0100. Responda STOP para darse de baja.",
            "Acme: Se ha dado de baja y no le enviaremos nuevos mensajes. Responda START para darse de alta de nuevo.",
        ]
    );
}

#[tokio::test]
async fn a_word_exempted_for_appointments_reaches_the_rules_and_stop_stops() {
    let shop = Shop::with("exempt = [\"cancel\"]", EVERYTHING).await;
    shop.hears("Cancel", 30).await;
    assert_eq!(shop.sent(), ["You wrote: Cancel"]);
    shop.hears("STOP", 20).await;
    shop.hears("Cancel", 10).await;
    assert_eq!(shop.sent().len(), 2, "the confirmation and nothing after it");
}

#[tokio::test]
async fn a_phrase_left_to_a_person_is_marked_and_answered_by_nobody() {
    let rules = "[[rule]]\nname = \"everything\"\nany = true\nactions = [\"answer\", \"desk\"]";
    let shop = Shop::with("phrases = \"review\"\non_opt_out = [\"crm\"]", rules).await;
    shop.hears("please stop texting me", 10).await;
    assert_eq!(
        (shop.sent().len(), shop.told().len(), shop.desk.asked().len()),
        (0, 0, 1)
    );
    let marked = "SELECT count(*) FROM v1.messages WHERE consent_event = 'opt_out_review'";
    assert_eq!(shop.app.count(marked).await, 1);
    assert_eq!(shop.app.count("SELECT count(*) FROM v1.opt_outs").await, 0);
}

#[tokio::test]
async fn a_number_of_another_programme_has_opt_outs_of_its_own() {
    let gateway = Fake::start().await;
    let toml = format!(
        "[worker]\npoll = \"50ms\"\n{}suppression_groups = {{ \"+1 555 000 1111\" = \"sales\" }}\n\
         [action.answer]\nreply.text = \"You wrote: {{{{ text }}}}\"\n{EVERYTHING}",
        helpers::replying_endpoint(&gateway)
    );
    let app = App::start(&toml).await;
    let text = async |to: &str, text: &str| {
        let mut body = sms(PERSON, text);
        body["to"] = json!(to);
        assert_eq!(app.deliver(&body.to_string()).await.status, 200);
        app.all_jobs_ended().await;
        gateway.asked().len()
    };
    assert_eq!(text("15550001111", "STOP").await, 1);
    assert_eq!(text("15550001111", "hello").await, 1);
    assert_eq!(text("15550009999", "hello").await, 2, "the endpoint's own programme");
    assert_eq!(text("15550009999", "STOP").await, 3);
    assert_eq!(text("15550001111", "START").await, 4);
    assert_eq!(text("15550009999", "hello").await, 4, "is still opted out");
    let groups = "SELECT count(*) FROM v1.opt_outs WHERE suppression_group = 'main' AND in_force";
    assert_eq!(app.count(groups).await, 1);
}
