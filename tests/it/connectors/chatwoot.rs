//! Chatwoot: conversations of an API inbox. The stand-in has Chatwoot's own habits: a search for parts of numbers, numbers
//! and identifiers that are taken once (422), messages that come in only into API inboxes and open what was resolved,
//! messages that are outgoing unless they say otherwise, lists of the newest twenty.

use serde_json::{Value, json};

use super::contract::{self, Contract};
use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, StandIn, Vendor, number_in, person};
use crate::helpers::App;

const TOKEN: &str = "cw_token_of_the_tests";
/// The inbox of our action, of the channel API, and one of another channel.
const INBOX: u64 = 7;
const WEBSITE: u64 = 8;

struct Contact {
    id: u64,
    name: String,
    phone_number: String,
    identifier: Option<String>,
}

struct Conversation {
    id: u64,
    contact: u64,
    inbox: u64,
    source_id: String,
    status: &'static str,
    additional: Value,
    custom: Value,
    active: u64,
}

struct Message {
    id: u64,
    conversation: u64,
    content: String,
    incoming: bool,
    source_id: Value,
}

/// One account, number 3.
#[derive(Default)]
struct Chatwoot {
    contacts: Vec<Contact>,
    /// Contact, inbox and source ID of every entry of a contact in an inbox.
    entries: Vec<(u64, u64, String)>,
    conversations: Vec<Conversation>,
    messages: Vec<Message>,
    clock: u64,
    has_a_bot: bool,
}

fn invalid(attribute: &str, message: &str) -> Answer {
    Answer::json(422, &json!({ "message": message, "attributes": [attribute] }))
}

fn refused(status: u16, error: &str) -> Answer {
    Answer::json(status, &json!({ "error": error }))
}

fn missing() -> Answer {
    refused(404, "Resource could not be found")
}

impl Chatwoot {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn contact(&mut self, name: &str, phone_number: &str, identifier: Option<&str>) -> u64 {
        let id = self.tick();
        self.contacts.push(Contact {
            id,
            name: name.to_owned(),
            phone_number: phone_number.to_owned(),
            identifier: identifier.map(str::to_owned),
        });
        id
    }

    fn conversation(&mut self, contact: u64, inbox: u64, status: &'static str) -> u64 {
        let id = self.tick();
        self.conversations.push(Conversation {
            id,
            contact,
            inbox,
            source_id: String::new(),
            status,
            additional: json!({}),
            custom: json!({}),
            active: id,
        });
        id
    }

    /// The entry of a contact in an inbox; it is made if need be. `None`: the source ID is another contact's.
    fn enter(&mut self, contact: u64, inbox: u64, source_id: &Value) -> Option<String> {
        let at = self.tick();
        let source_id = source_id
            .as_str()
            .map_or_else(|| format!("made-up-{at}"), str::to_owned);
        let taken = self.entries.iter().find(|(_, of, id)| *of == inbox && *id == source_id);
        match taken {
            Some((owner, _, _)) if *owner != contact => return None,
            Some(_) => {}
            None => self.entries.push((contact, inbox, source_id.clone())),
        }
        Some(source_id)
    }

    fn contact_json(&self, contact: &Contact) -> Value {
        let entries = self.entries.iter().filter(|(of, _, _)| *of == contact.id);
        let entries: Vec<Value> = entries
            .map(|(_, inbox, source_id)| json!({ "source_id": source_id, "inbox": { "id": inbox } }))
            .collect();
        json!({
            "id": contact.id, "name": contact.name, "phone_number": contact.phone_number, "identifier": contact.identifier,
            "email": null, "blocked": false, "contact_inboxes": entries, "custom_attributes": {}, "additional_attributes": {},
            "availability_status": "offline", "created_at": contact.id, "last_activity_at": null,
        })
    }

    fn conversation_json(&self, conversation: &Conversation) -> Value {
        let last = self
            .messages
            .iter()
            .rfind(|message| message.conversation == conversation.id);
        let sender = self.contacts.iter().find(|contact| contact.id == conversation.contact);
        json!({
            "id": conversation.id, "account_id": 3, "inbox_id": conversation.inbox, "status": conversation.status,
            "additional_attributes": conversation.additional, "custom_attributes": conversation.custom,
            "messages": last.map(message_json).into_iter().collect::<Vec<_>>(),
            "meta": { "sender": sender.map(|contact| json!({ "id": contact.id, "phone_number": contact.phone_number })) },
            "created_at": conversation.id, "timestamp": conversation.active, "last_activity_at": conversation.active,
        })
    }

    fn search(&self, asked: &Asked) -> Answer {
        let Some(wanted) = asked.query("q").map(str::trim).filter(|wanted| !wanted.is_empty()) else {
            return refused(422, "Specify search string with parameter q");
        };
        let has = |contact: &&Contact| {
            let identifier = contact.identifier.as_deref().unwrap_or_default();
            [&contact.name, &contact.phone_number, identifier]
                .iter()
                .any(|value| value.contains(wanted))
        };
        let found: Vec<Value> = self
            .contacts
            .iter()
            .filter(has)
            .take(15)
            .map(|one| self.contact_json(one))
            .collect();
        Answer::json(
            200,
            &json!({ "meta": { "count": found.len(), "current_page": "1" }, "payload": found }),
        )
    }

    fn create_contact(&mut self, body: &Value) -> Answer {
        let Some(phone_number) = body["phone_number"].as_str() else {
            return invalid("phone_number", "Phone number should be in e164 format");
        };
        let identifier = body["identifier"].as_str();
        if self.contacts.iter().any(|contact| contact.phone_number == phone_number) {
            return invalid("phone_number", "Phone number has already been taken");
        }
        if identifier.is_some()
            && self
                .contacts
                .iter()
                .any(|contact| contact.identifier.as_deref() == identifier)
        {
            return invalid("identifier", "Identifier has already been taken");
        }
        let id = self.contact(body["name"].as_str().unwrap_or_default(), phone_number, identifier);
        let Some(inbox) = body["inbox_id"].as_u64() else {
            return missing();
        };
        let Some(source_id) = self.enter(id, inbox, &body["source_id"]) else {
            return refused(422, "source_id should be unique");
        };
        let contact = self.contact_json(self.contacts.last().unwrap());
        let entry = json!({ "inbox": { "id": inbox }, "source_id": source_id });
        Answer::json(
            200,
            &json!({ "payload": { "contact": contact, "contact_inbox": entry } }),
        )
    }

    fn conversations_of(&self, contact: &str) -> Answer {
        let Some(contact) = self.contacts.iter().find(|one| contact.parse() == Ok(one.id)) else {
            return missing();
        };
        let mut of_contact: Vec<&Conversation> = self
            .conversations
            .iter()
            .filter(|one| one.contact == contact.id)
            .collect();
        of_contact.sort_by_key(|one| std::cmp::Reverse(one.active));
        let payload: Vec<Value> = of_contact
            .iter()
            .take(20)
            .map(|one| self.conversation_json(one))
            .collect();
        Answer::json(200, &json!({ "payload": payload }))
    }

    fn create_conversation(&mut self, body: &Value) -> Answer {
        let (Some(inbox), Some(contact)) = (body["inbox_id"].as_u64(), body["contact_id"].as_u64()) else {
            return missing();
        };
        if !self.contacts.iter().any(|one| one.id == contact) || ![INBOX, WEBSITE].contains(&inbox) {
            return missing();
        }
        if let Some(problem) = objection(inbox, &body["message"]) {
            return problem;
        }
        let Some(source_id) = self.enter(contact, inbox, &body["source_id"]) else {
            return refused(422, "source_id should be unique");
        };
        let status = match body["status"].as_str() {
            Some("pending") => "pending",
            Some("resolved") => "resolved",
            _ => "open",
        };
        let id = self.conversation(contact, inbox, status);
        let conversation = self.conversations.last_mut().unwrap();
        conversation.source_id = source_id;
        conversation.additional = body["additional_attributes"].clone();
        conversation.custom = body["custom_attributes"].clone();
        if conversation.custom.is_null() {
            conversation.custom = json!({});
        }
        if !body["message"].is_null() {
            self.add_message(id, &body["message"]);
        }
        Answer::json(200, &self.conversation_json(self.conversations.last().unwrap()))
    }

    fn add_message(&mut self, conversation: u64, body: &Value) {
        let id = self.tick();
        let incoming = body["message_type"] == "incoming";
        self.messages.push(Message {
            id,
            conversation,
            content: body["content"].as_str().unwrap_or_default().to_owned(),
            incoming,
            source_id: body["source_id"].clone(),
        });
        let after = if self.has_a_bot { "pending" } else { "open" };
        let conversation = self
            .conversations
            .iter_mut()
            .find(|one| one.id == conversation)
            .unwrap();
        conversation.active = id;
        match conversation.status {
            "snoozed" if incoming => conversation.status = "open",
            "resolved" if incoming => conversation.status = after,
            _ => {}
        }
    }

    fn on_conversation(&mut self, asked: &Asked, id: &str, what: &[&str]) -> Answer {
        let Some(at) = self.conversations.iter().position(|one| id.parse() == Ok(one.id)) else {
            return missing();
        };
        let (id, inbox) = (self.conversations[at].id, self.conversations[at].inbox);
        match (asked.method.as_str(), what) {
            ("GET", []) => Answer::json(200, &self.conversation_json(&self.conversations[at])),
            ("GET", ["messages"]) => {
                let of_it: Vec<&Message> = self.messages.iter().filter(|one| one.conversation == id).collect();
                let newest = &of_it[of_it.len().saturating_sub(20)..];
                let payload: Vec<Value> = newest.iter().map(|one| message_json(one)).collect();
                Answer::json(
                    200,
                    &json!({ "meta": { "contact_id": self.conversations[at].contact }, "payload": payload }),
                )
            }
            ("POST", ["messages"]) => {
                let body = asked.json();
                if let Some(problem) = objection(inbox, &body) {
                    return problem;
                }
                self.add_message(id, &body);
                Answer::json(200, &message_json(self.messages.last().unwrap()))
            }
            _ => missing(),
        }
    }

    fn number_of(&self, contact: u64) -> Option<String> {
        number_in(&self.contacts.iter().find(|one| one.id == contact)?.phone_number)
    }
}

/// What Chatwoot has against a message.
fn objection(inbox: u64, message: &Value) -> Option<Answer> {
    if message["message_type"] == "incoming" && inbox != INBOX {
        return Some(refused(422, "Incoming messages are only allowed in Api inboxes"));
    }
    let too_long = message["content"]
        .as_str()
        .is_some_and(|content| content.chars().count() > 150_000);
    too_long.then(|| invalid("content", "Content is too long (maximum is 150000 characters)"))
}

fn message_json(message: &Message) -> Value {
    json!({
        "id": message.id, "content": message.content, "conversation_id": message.conversation, "inbox_id": INBOX,
        "message_type": u8::from(!message.incoming), "content_type": "text", "content_attributes": {}, "private": false,
        "source_id": message.source_id, "created_at": message.id, "status": "sent",
    })
}

impl Vendor for Chatwoot {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.header("api_access_token") != Some(TOKEN) {
            return self.unauthorized();
        }
        let route: Vec<String> = asked.route().into_iter().map(str::to_owned).collect();
        let route: Vec<&str> = route.iter().map(String::as_str).collect();
        let Some((&method, ["api", "v1", "accounts", "3", place @ ..])) = route.split_first() else {
            return missing();
        };
        match (method, place) {
            ("GET", ["inboxes", _]) => Answer::json(200, &json!({ "id": INBOX, "channel_type": "Channel::Api" })),
            ("GET", ["contacts", "search"]) => self.search(asked),
            ("POST", ["contacts"]) => self.create_contact(&asked.json()),
            ("GET", ["contacts", id, "conversations"]) => self.conversations_of(id),
            ("POST", ["conversations"]) => self.create_conversation(&asked.json()),
            (_, ["conversations", id, what @ ..]) => self.on_conversation(asked, id, what),
            _ => missing(),
        }
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        let contact = match asked.route().as_slice() {
            [_, "api", "v1", "accounts", _, "conversations", id, ..] => self
                .conversations
                .iter()
                .find(|one| id.parse() == Ok(one.id))
                .map(|one| one.contact),
            [_, "api", "v1", "accounts", _, "contacts", id, ..] => id.parse().ok(),
            _ => asked.json()["contact_id"].as_u64(),
        };
        contact
            .and_then(|contact| self.number_of(contact))
            .or_else(|| asked.number())
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET"
    }

    fn census(&self, sender: &str) -> Census {
        let contacts: Vec<u64> = self
            .contacts
            .iter()
            .filter(|one| one.phone_number == sender)
            .map(|one| one.id)
            .collect();
        let conversations: Vec<u64> = self
            .conversations
            .iter()
            .filter(|one| contacts.contains(&one.contact))
            .map(|one| one.id)
            .collect();
        let incoming = self
            .messages
            .iter()
            .filter(|one| one.incoming && conversations.contains(&one.conversation));
        Census {
            contacts: contacts.len(),
            tickets: conversations.len(),
            notes: incoming.map(|one| one.content.clone()).collect(),
        }
    }

    fn unauthorized(&self) -> Answer {
        refused(401, "Invalid Access Token")
    }
}

fn keys(url: &str) -> String {
    format!(r#"use = "chatwoot", url = "{url}", account_id = 3, inbox_id = {INBOX}, token = "{TOKEN}""#)
}

fn setup() -> Setup<Chatwoot> {
    Setup {
        vendor: Chatwoot::default,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 1,
        tickets: 1,
        notes: Notes::Once,
    }
}

const CONTRACT: Contract = Contract {
    specs: &["chatwoot.json"],
    instead: &[],
    outside: &[
        (
            "GET /api/v1/accounts/{}/conversations/{}",
            "left out of the stored part; the vendor's page conversations/conversation-details has it",
        ),
        (
            "GET /api/v1/accounts/{}/conversations/{}/messages",
            "left out of the stored part; the vendor's page messages/get-messages has it",
        ),
    ],
    excused: &[(
        "answer 200 at `/payload`",
        "the description has a list of contacts where Chatwoot answers with the one that it made",
    )],
};

async fn app(stand: &StandIn<Chatwoot>, more: &str) -> App {
    App::start(&matrix::configuration(&format!("{}{more}", keys(&stand.url())), "5s")).await
}

/// Sends one text of the sender's and waits until it is filed or given up.
async fn text(app: &App, sender: &str, text: &str) {
    assert_eq!(app.text(sender.trim_start_matches('+'), text).await.status, 200);
    app.all_jobs_ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_fault_each_text_is_filed_once() {
    let stand = matrix::every_fault_at_every_position(&setup()).await;
    contract::check(&CONTRACT, &stand.exchanges());
    // nothing of it may go to the customer
    assert!(stand.with(|chatwoot| chatwoot.messages.iter().all(|message| message.incoming)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_texts_under_random_faults_are_filed_once_and_in_order() {
    matrix::texts_under_random_faults(&setup(), 100, 10, 31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_request_files_nothing_twice() {
    matrix::killed_at_every_position(&setup()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_with_another_number_is_not_taken() {
    let stand = StandIn::start(Chatwoot::default()).await;
    let other = stand.with(|chatwoot| {
        // the search finds it by its name and by a part of its number
        chatwoot.contact(&format!("not {}", person(1)), &format!("{}77", person(1)), None)
    });
    let app = app(&stand, "").await;
    text(&app, &person(1), "hello").await;
    assert_eq!(stand.census(&person(1)).notes, ["hello"]);
    assert!(stand.with(|chatwoot| chatwoot.conversations.iter().all(|one| one.contact != other)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_of_another_inbox_gets_an_entry_in_ours() {
    let stand = StandIn::start(Chatwoot::default()).await;
    stand.with(|chatwoot| {
        let contact = chatwoot.contact("Ann", &person(1), None);
        chatwoot.enter(contact, WEBSITE, &json!("web-1")).unwrap();
        chatwoot.conversation(contact, WEBSITE, "open");
    });
    let app = app(&stand, "").await;
    text(&app, &person(1), "one").await;
    text(&app, &person(1), "two").await;
    let census = stand.census(&person(1));
    assert_eq!(
        (census.contacts, census.tickets, census.notes),
        (1, 2, vec!["one".to_owned(), "two".to_owned()])
    );
    stand.with(|chatwoot| {
        let ours = chatwoot.conversations.last().unwrap();
        assert_eq!(
            (ours.inbox, ours.source_id.as_str()),
            (INBOX, format!("sms:{}", person(1)).as_str())
        );
        assert_eq!(chatwoot.entries.len(), 2);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_conversation_of_the_inbox_is_gone_on_with() {
    let stand = StandIn::start(Chatwoot::default()).await;
    stand.with(|chatwoot| {
        let contact = chatwoot.contact("Ann", &person(1), None);
        for (inbox, status) in [(INBOX, "resolved"), (INBOX, "snoozed"), (WEBSITE, "open")] {
            chatwoot.conversation(contact, inbox, status);
        }
    });
    let app = app(&stand, "").await;
    text(&app, &person(1), "hello").await;
    let statuses = stand.with(|chatwoot| chatwoot.conversations.iter().map(|one| one.status).collect::<Vec<_>>());
    assert_eq!(statuses, ["resolved", "open", "open"]);
    assert_eq!(stand.with(|chatwoot| chatwoot.messages[0].conversation), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_for_a_resolved_conversation_opens_it_again() {
    for (has_a_bot, after) in [(false, "open"), (true, "pending")] {
        let stand = StandIn::start(Chatwoot {
            has_a_bot,
            ..Chatwoot::default()
        })
        .await;
        let app = app(&stand, "").await;
        text(&app, &person(1), "one").await;
        stand.with(|chatwoot| chatwoot.conversations[0].status = "resolved");
        text(&app, &person(1), "two").await;
        let census = stand.census(&person(1));
        assert_eq!(
            (census.tickets, census.notes),
            (1, vec!["one".to_owned(), "two".to_owned()])
        );
        assert_eq!(stand.with(|chatwoot| chatwoot.conversations[0].status), after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_closed_new_a_text_for_a_resolved_conversation_begins_another() {
    let stand = StandIn::start(Chatwoot::default()).await;
    let app = app(&stand, r#", closed = "new""#).await;
    text(&app, &person(1), "one").await;
    stand.with(|chatwoot| chatwoot.conversations[0].status = "resolved");
    text(&app, &person(1), "two").await;
    assert_eq!(stand.census(&person(1)).notes, ["one", "two"]);
    let statuses = stand.with(|chatwoot| chatwoot.conversations.iter().map(|one| one.status).collect::<Vec<_>>());
    assert_eq!(statuses, ["resolved", "open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_at_chatwoot_is_found_or_made_anew() {
    let stand = StandIn::start(Chatwoot::default()).await;
    let app = app(&stand, "").await;
    text(&app, &person(1), "one").await;
    stand.with(|chatwoot| chatwoot.conversations.clear());
    text(&app, &person(1), "two").await;
    stand.with(|chatwoot| {
        chatwoot.conversations.clear();
        chatwoot.contacts.clear();
        chatwoot.entries.clear();
    });
    text(&app, &person(1), "three").await;
    let census = stand.census(&person(1));
    assert_eq!(
        (census.contacts, census.tickets, census.notes),
        (1, 1, vec!["three".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_of_another_channel_is_refused_with_chatwoots_words() {
    let stand = StandIn::start(Chatwoot::default()).await;
    let keys = keys(&stand.url()).replace(&format!("inbox_id = {INBOX}"), &format!("inbox_id = {WEBSITE}"));
    let app = App::start(&matrix::configuration(&keys, "5s")).await;
    text(&app, &person(1), "hello").await;
    let (_, state, reason) = app.jobs().await.remove(0);
    assert_eq!(state, "discarded");
    assert!(reason.unwrap().contains("only allowed in Api inboxes"));
    assert_eq!(stand.census(&person(1)).notes.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_sets_arrives_with_its_type() {
    let stand = StandIn::start(Chatwoot::default()).await;
    let more =
        r#", team_id = 4, custom_attributes = { line = "{{ recipient }}" }, contact_name = "Texter {{ sender }}",
        note = "{{ text }} (to {{ recipient }})""#
            .replace('\n', " ");
    let app = app(&stand, &more).await;
    text(&app, &person(1), "<i>*hi*</i>").await;
    assert_eq!(stand.census(&person(1)).notes, ["<i>*hi*</i> (to +15550009999)"]);
    stand.with(|chatwoot| {
        assert_eq!(chatwoot.contacts[0].name, format!("Texter {}", person(1)));
        assert_eq!(chatwoot.conversations[0].custom, json!({ "line": "+15550009999" }));
    });
    let creation = stand
        .exchanges()
        .into_iter()
        .find(|one| one.asked.path.ends_with("/conversations") && one.asked.method == "POST");
    assert_eq!(creation.unwrap().asked.json()["team_id"], 4);
}

#[test]
fn the_stand_in_refuses_what_chatwoot_refuses() {
    let mut chatwoot = Chatwoot::default();
    let mut ask = |method: &str, target: &str, body: &Value| {
        let headers = [("api_access_token", TOKEN), ("content-type", "application/json")];
        chatwoot.answer(&Asked::of(
            method,
            &format!("/api/v1/accounts/3{target}"),
            &headers,
            &body.to_string(),
        ))
    };
    let contact = json!({ "inbox_id": INBOX, "phone_number": person(1), "identifier": "sms:1", "source_id": "sms:1" });
    let id = ask("POST", "/contacts", &contact).value()["payload"]["contact"]["id"].clone();
    let again = ask("POST", "/contacts", &contact);
    assert_eq!((again.status, again.body.contains("already been taken")), (422, true));
    let conversation = |inbox: u64| json!({ "source_id": "sms:1", "inbox_id": inbox, "contact_id": id, "message": { "content": "x", "message_type": "incoming" } });
    assert_eq!(ask("POST", "/conversations", &conversation(WEBSITE)).status, 422);
    let begun = ask("POST", "/conversations", &conversation(INBOX)).value();
    assert_eq!(begun["messages"][0]["message_type"], 0);
    let silent = ask(
        "POST",
        &format!("/conversations/{}/messages", begun["id"]),
        &json!({ "content": "to the customer" }),
    );
    assert_eq!(silent.value()["message_type"], 1);
    assert_eq!(
        ask("POST", "/conversations/99/messages", &json!({ "content": "x" })).status,
        404
    );
    assert_eq!(
        chatwoot
            .answer(&Asked::of("GET", "/api/v1/accounts/3/contacts/search", &[], ""))
            .status,
        401
    );
}
