-- What more gateways need: unverified and encrypted messages, media, nonces, texts in parts, refused deliveries that are
-- kept, and how far each reply is. Forward only: never edited once released. New columns have constant defaults or none, so
-- that no table is rewritten.

ALTER TABLE smshook.messages
    ADD COLUMN verified      boolean  NOT NULL DEFAULT true,
    ADD COLUMN encrypted     boolean  NOT NULL DEFAULT false,
    ADD COLUMN media         jsonb,
    ADD COLUMN missing_parts smallint;
COMMENT ON COLUMN smshook.messages.verified IS 'False for what an observing endpoint took without a right signature: anybody may have written it.';
COMMENT ON COLUMN smshook.messages.encrypted IS 'Whether the text is ciphertext: neither rules nor consent were looked for in it.';
COMMENT ON COLUMN smshook.messages.media IS 'Files that came with it: [{"url": …, "content_type": …}]; null when none did. Nothing here fetches them.';
COMMENT ON COLUMN smshook.messages.missing_parts IS 'Of a text put together from parts: how many had not come when it was; null for a text that came whole.';
COMMENT ON COLUMN smshook.messages.consent_tier IS '0 the provider said so and replied, 1 whole text is a keyword, 2 keyword and courtesy, 3 phrase about the messaging.';

ALTER TABLE smshook.quarantine ADD COLUMN verified boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN smshook.quarantine.verified IS 'False for what an observing endpoint took without a right signature; what is read of it later is not verified either.';

CREATE TABLE smshook.nonces (
    endpoint   text        NOT NULL,
    digest     bytea       NOT NULL CHECK (octet_length(digest) = 32),
    payload    bytea       NOT NULL CHECK (octet_length(payload) = 32),
    keep_until timestamptz NOT NULL,
    PRIMARY KEY (endpoint, digest)
);
COMMENT ON TABLE smshook.nonces IS 'Values that a gateway uses once, where its signature does not cover the payload: the same with another payload is a forgery.';
COMMENT ON COLUMN smshook.nonces.endpoint IS 'Endpoint that received it.';
COMMENT ON COLUMN smshook.nonces.digest IS 'SHA-256 of the value.';
COMMENT ON COLUMN smshook.nonces.payload IS 'SHA-256 of the payload that came with it: the same again is a retry.';
COMMENT ON COLUMN smshook.nonces.keep_until IS 'From then on it may be forgotten.';
CREATE INDEX nonces_oldest ON smshook.nonces (endpoint, keep_until);
-- Rows only come and go: without this a table that stays the same size would grow.
ALTER TABLE smshook.nonces SET (autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE smshook.part_sets (
    id             uuid        PRIMARY KEY,
    endpoint       text        NOT NULL,
    verified       boolean     NOT NULL,
    set_key        bytea       NOT NULL CHECK (octet_length(set_key) = 32),
    sender         text        NOT NULL,
    sender_kind    text        NOT NULL,
    recipient      text        NOT NULL,
    recipient_kind text        NOT NULL,
    reference      text        NOT NULL,
    total          smallint    NOT NULL CHECK (total BETWEEN 2 AND 255),
    opened_at      timestamptz NOT NULL DEFAULT now(),
    due_at         timestamptz NOT NULL,
    closed_at      timestamptz,
    assembled_at   timestamptz,
    CHECK (assembled_at IS NULL OR closed_at IS NOT NULL)
);
COMMENT ON TABLE smshook.part_sets IS 'Longer texts whose parts come one by one. Open: takes parts. Closed: takes none any more. Assembled: it has become the message with its ID.';
COMMENT ON COLUMN smshook.part_sets.id IS 'Identity, UUIDv7; also that of the message it becomes.';
COMMENT ON COLUMN smshook.part_sets.endpoint IS 'Endpoint that received it.';
COMMENT ON COLUMN smshook.part_sets.verified IS 'Whether its parts verified; one that did not never joins those that did.';
COMMENT ON COLUMN smshook.part_sets.set_key IS 'SHA-256 of endpoint, standing, sender, recipient, reference and total: what the parts of one text have in common.';
COMMENT ON COLUMN smshook.part_sets.sender IS 'Sender, as in messages.';
COMMENT ON COLUMN smshook.part_sets.sender_kind IS 'number, short, alpha, opaque or missing.';
COMMENT ON COLUMN smshook.part_sets.recipient IS 'Recipient, as in messages.';
COMMENT ON COLUMN smshook.part_sets.recipient_kind IS 'number, short, alpha, opaque or missing.';
COMMENT ON COLUMN smshook.part_sets.reference IS 'The gateway''s reference of the parts; used again for later texts.';
COMMENT ON COLUMN smshook.part_sets.total IS 'How many parts the text has.';
COMMENT ON COLUMN smshook.part_sets.opened_at IS 'When its first part came.';
COMMENT ON COLUMN smshook.part_sets.due_at IS 'From then on it is put together: the end of its wait, or when it was closed.';
COMMENT ON COLUMN smshook.part_sets.closed_at IS 'When it was complete, its wait over, or its reference used for another text.';
COMMENT ON COLUMN smshook.part_sets.assembled_at IS 'When it became a message.';
CREATE UNIQUE INDEX part_sets_one_open ON smshook.part_sets (set_key) WHERE closed_at IS NULL;
CREATE INDEX part_sets_due ON smshook.part_sets (due_at) WHERE assembled_at IS NULL;

CREATE TABLE smshook.parts (
    set_id          uuid        NOT NULL REFERENCES smshook.part_sets (id) ON DELETE CASCADE,
    part            smallint    NOT NULL CHECK (part > 0),
    dedupe_key      bytea       NOT NULL UNIQUE CHECK (octet_length(dedupe_key) = 32),
    message_id      text,
    sender_raw      text        NOT NULL,
    recipient_raw   text        NOT NULL,
    text            text        NOT NULL,
    sent_at         timestamptz,
    received_at     timestamptz NOT NULL DEFAULT now(),
    duplicates      integer     NOT NULL DEFAULT 0,
    reference       text,
    device_id       text,
    tenant_id       text,
    tenant_name     text,
    gateway_rule    text,
    encrypted       boolean     NOT NULL DEFAULT false,
    media           jsonb,
    answered_event  text        CHECK (answered_event IN ('opt_out', 'opt_in', 'help')),
    answered_word   text,
    opt_out_tier    smallint,
    opt_out_keyword text,
    raw             bytea       NOT NULL,
    PRIMARY KEY (set_id, part),
    CHECK ((answered_event IS NULL) = (answered_word IS NULL)),
    CHECK ((opt_out_tier IS NULL) = (opt_out_keyword IS NULL))
);
COMMENT ON TABLE smshook.parts IS 'The parts of longer texts, each as it came. They stay: a part that is sent again after its text was put together is known.';
COMMENT ON COLUMN smshook.parts.set_id IS 'The set it belongs to.';
COMMENT ON COLUMN smshook.parts.part IS 'Which part it is, from 1.';
COMMENT ON COLUMN smshook.parts.dedupe_key IS 'SHA-256 by which copies of the part are recognised.';
COMMENT ON COLUMN smshook.parts.message_id IS 'The gateway''s ID of the part.';
COMMENT ON COLUMN smshook.parts.sender_raw IS 'Sender exactly as the gateway wrote it.';
COMMENT ON COLUMN smshook.parts.recipient_raw IS 'Recipient exactly as the gateway wrote it.';
COMMENT ON COLUMN smshook.parts.text IS 'Its text.';
COMMENT ON COLUMN smshook.parts.sent_at IS 'When the gateway says it received it.';
COMMENT ON COLUMN smshook.parts.received_at IS 'When we stored it.';
COMMENT ON COLUMN smshook.parts.duplicates IS 'Copies that arrived after the first.';
COMMENT ON COLUMN smshook.parts.reference IS 'The gateway''s reference of the message, as in messages.';
COMMENT ON COLUMN smshook.parts.device_id IS 'The gateway''s device.';
COMMENT ON COLUMN smshook.parts.tenant_id IS 'The gateway account.';
COMMENT ON COLUMN smshook.parts.tenant_name IS 'The gateway account''s display name.';
COMMENT ON COLUMN smshook.parts.gateway_rule IS 'The gateway''s own rule that matched.';
COMMENT ON COLUMN smshook.parts.encrypted IS 'Whether its text is ciphertext.';
COMMENT ON COLUMN smshook.parts.media IS 'Files that came with it, as in messages.';
COMMENT ON COLUMN smshook.parts.answered_event IS 'What the provider took it for and has replied to: opt_out, opt_in or help.';
COMMENT ON COLUMN smshook.parts.answered_word IS 'The provider''s word for that.';
COMMENT ON COLUMN smshook.parts.opt_out_tier IS 'How an opt-out in this part matched, as consent_tier in messages; it took effect when the part came.';
COMMENT ON COLUMN smshook.parts.opt_out_keyword IS 'The keyword that matched.';
COMMENT ON COLUMN smshook.parts.raw IS 'The body it came in, as verified.';

CREATE TABLE smshook.refused (
    id          uuid        PRIMARY KEY,
    endpoint    text        NOT NULL,
    reason      text        NOT NULL,
    cause       text,
    received_at timestamptz NOT NULL DEFAULT now(),
    duplicates  integer     NOT NULL DEFAULT 0,
    keep_until  timestamptz NOT NULL,
    method      text        NOT NULL,
    url         text        NOT NULL,
    query       text,
    headers     jsonb       NOT NULL,
    body        bytea       NOT NULL,
    bytes       bigint      NOT NULL,
    digest      bytea       NOT NULL CHECK (octet_length(digest) = 32),
    admitted_at timestamptz,
    admitted_as uuid
);
COMMENT ON TABLE smshook.refused IS 'Deliveries whose signature did not verify, kept where the operator wants it and within his bounds; `smshook messages reverify` admits those that verify once the secret is right. Anybody may have written them.';
COMMENT ON COLUMN smshook.refused.id IS 'Identity.';
COMMENT ON COLUMN smshook.refused.endpoint IS 'Endpoint that refused it.';
COMMENT ON COLUMN smshook.refused.reason IS 'The word for it in the log.';
COMMENT ON COLUMN smshook.refused.cause IS 'What the diagnosis found, if it was made.';
COMMENT ON COLUMN smshook.refused.received_at IS 'When the first copy came.';
COMMENT ON COLUMN smshook.refused.duplicates IS 'Copies that came after the first.';
COMMENT ON COLUMN smshook.refused.keep_until IS 'From then on it may be deleted.';
COMMENT ON COLUMN smshook.refused.method IS 'HTTP method.';
COMMENT ON COLUMN smshook.refused.url IS 'The endpoint''s public URL at that time, without a query; empty where none was configured.';
COMMENT ON COLUMN smshook.refused.query IS 'The query; it may hold a signature or a token.';
COMMENT ON COLUMN smshook.refused.headers IS 'The headers kept: [[name, value], …], each byte of a value a character of Latin-1. They may hold secrets.';
COMMENT ON COLUMN smshook.refused.body IS 'The body, byte for byte.';
COMMENT ON COLUMN smshook.refused.bytes IS 'How much of the endpoint''s bound it takes: URL, query, headers and body.';
COMMENT ON COLUMN smshook.refused.digest IS 'SHA-256 of method, query, kept headers and body: a repeated delivery is one row.';
COMMENT ON COLUMN smshook.refused.admitted_at IS 'When it was verified after all.';
COMMENT ON COLUMN smshook.refused.admitted_as IS 'The message or event it became.';
CREATE UNIQUE INDEX refused_once ON smshook.refused (endpoint, digest);
CREATE INDEX refused_oldest ON smshook.refused (endpoint, received_at);
CREATE INDEX refused_ends ON smshook.refused (keep_until);

ALTER TABLE smshook.sends
    ADD COLUMN gateway_message_id text,
    ADD COLUMN state              text CHECK (state IN ('queued', 'sent', 'delivered', 'failed')),
    ADD COLUMN state_at           timestamptz,
    ADD COLUMN error              text;
COMMENT ON COLUMN smshook.sends.gateway_message_id IS 'The ID that the gateway gave the text; its reports may name it.';
COMMENT ON COLUMN smshook.sends.state IS 'How far the gateway says it is: queued, sent, delivered or failed. Never goes backwards.';
COMMENT ON COLUMN smshook.sends.state_at IS 'When it got there, by the gateway''s clock where it gives one.';
COMMENT ON COLUMN smshook.sends.error IS 'Why it failed, in the gateway''s words.';
CREATE INDEX sends_by_gateway_id ON smshook.sends USING hash (gateway_message_id) WHERE gateway_message_id IS NOT NULL;

ALTER TABLE smshook.gateway_events
    ADD COLUMN state    text,
    ADD COLUMN error    text,
    ADD COLUMN verified boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN smshook.gateway_events.state IS 'What it says about the reply: queued, sent, delivered or failed; null where it does not tell.';
COMMENT ON COLUMN smshook.gateway_events.error IS 'Why the reply failed, in the gateway''s words.';
COMMENT ON COLUMN smshook.gateway_events.verified IS 'False for what an observing endpoint took without a right signature; such an event changes no reply.';
COMMENT ON COLUMN smshook.gateway_events.job_id IS 'The reply it is about, by our reference or by the gateway''s ID of it.';
CREATE INDEX gateway_events_by_gateway_id ON smshook.gateway_events USING hash (gateway_id) WHERE gateway_id IS NOT NULL;

CREATE FUNCTION smshook.state_rank(state text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE state WHEN 'queued' THEN 1 WHEN 'sent' THEN 2 WHEN 'delivered' THEN 3 WHEN 'failed' THEN 3 ELSE 0 END $$;
COMMENT ON FUNCTION smshook.state_rank(text) IS 'How far a state of a reply is: a report changes it only to a higher rank.';

CREATE OR REPLACE VIEW v1.messages AS
SELECT m.id, m.endpoint, m.message_id, m.conversation_id, m.sender, m.recipient, m.text, m.sent_at, m.received_at, m.rule,
       m.consent_event, m.duplicates, smshook.readable(m.raw) AS raw, m.sender_raw, m.recipient_raw, m.consent_tier,
       m.consent_keyword, m.last_duplicate_at, m.gateway_rules, m.reference, m.device_id, m.tenant_id, m.tenant_name,
       m.verified, m.encrypted, m.media, m.missing_parts
FROM smshook.messages m;

CREATE OR REPLACE VIEW v1.gateway_events AS
SELECT e.id, e.endpoint, e.kind, e.reference, e.gateway_id, e.occurred_at, e.received_at, e.job_id,
       smshook.readable(e.raw) AS raw, e.state, e.error, e.verified
FROM smshook.gateway_events e;

CREATE OR REPLACE VIEW v1.quarantine AS
SELECT q.id, q.endpoint, q.reason, q.received_at, q.duplicates, q.admitted_at, q.admitted_as, smshook.readable(q.raw) AS raw,
       q.verified
FROM smshook.quarantine q;

CREATE VIEW v1.replies AS
SELECT s.job_id, j.message_id, s.conversation_id, m.endpoint, j.kind, j.action, j.send_to, s.reference, s.gateway_message_id,
       s.started_at, s.state, s.state_at, s.error, j.state AS job_state
FROM smshook.sends s JOIN smshook.jobs j ON j.id = s.job_id JOIN smshook.messages m ON m.id = j.message_id;
COMMENT ON VIEW v1.replies IS 'One row per text handed to a gateway, and how far the gateway says it is.';

CREATE VIEW v1.message_parts AS
SELECT p.set_id, p.part, t.total, t.endpoint, t.verified, t.sender, t.recipient, p.text, p.sent_at, p.received_at,
       p.duplicates, p.message_id, t.reference AS part_reference, p.opt_out_keyword, t.due_at, t.assembled_at,
       smshook.readable(p.raw) AS raw
FROM smshook.parts p JOIN smshook.part_sets t ON t.id = p.set_id;
COMMENT ON VIEW v1.message_parts IS 'The parts of longer texts; set_id is the ID of the message that they become.';

CREATE VIEW v1.refused AS
SELECT r.id, r.endpoint, r.reason, r.cause, r.received_at, r.duplicates, r.method,
       ARRAY(SELECT h ->> 0 FROM jsonb_array_elements(r.headers) h) AS header_names, r.bytes, r.keep_until, r.admitted_at,
       r.admitted_as, smshook.readable(r.body) AS raw
FROM smshook.refused r;
COMMENT ON VIEW v1.refused IS 'Deliveries whose signature did not verify and that were kept; without query and header values, which may hold secrets.';

-- A view's columns say what the tables' columns say.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT v.relname AS view, va.attname AS column, col_description(t.oid, ta.attnum) AS comment
        FROM (VALUES ('messages', 'messages'), ('gateway_events', 'gateway_events'), ('quarantine', 'quarantine'),
                     ('replies', 'sends'), ('message_parts', 'parts'), ('refused', 'refused')) AS n (view, table_name)
        JOIN pg_class v ON v.relnamespace = 'v1'::regnamespace AND v.relname = n.view
        JOIN pg_attribute va ON va.attrelid = v.oid AND va.attnum > 0
        JOIN pg_class t ON t.relnamespace = 'smshook'::regnamespace AND t.relname = n.table_name
        JOIN pg_attribute ta ON ta.attrelid = t.oid AND ta.attname = va.attname AND ta.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN v1.%I.%I IS %L', c.view, c.column, c.comment);
    END LOOP;
END
$$;
COMMENT ON COLUMN v1.replies.message_id IS 'The message it answers.';
COMMENT ON COLUMN v1.replies.endpoint IS 'The endpoint of that message.';
COMMENT ON COLUMN v1.replies.kind IS 'action, or a compliance reply.';
COMMENT ON COLUMN v1.replies.action IS 'The action that sends it.';
COMMENT ON COLUMN v1.replies.send_to IS 'The number it goes to.';
COMMENT ON COLUMN v1.replies.job_state IS 'The state of its job: done once the gateway took it.';
COMMENT ON COLUMN v1.message_parts.set_id IS 'The ID of the message that it becomes together with the others.';
COMMENT ON COLUMN v1.message_parts.total IS 'How many parts the text has.';
COMMENT ON COLUMN v1.message_parts.endpoint IS 'Endpoint that received it.';
COMMENT ON COLUMN v1.message_parts.verified IS 'Whether it verified.';
COMMENT ON COLUMN v1.message_parts.sender IS 'Sender, as in messages.';
COMMENT ON COLUMN v1.message_parts.recipient IS 'Recipient, as in messages.';
COMMENT ON COLUMN v1.message_parts.part_reference IS 'The gateway''s reference of the parts; used again for later texts.';
COMMENT ON COLUMN v1.message_parts.due_at IS 'From then on the text is put together, complete or not.';
COMMENT ON COLUMN v1.message_parts.assembled_at IS 'When the message was made of it.';
COMMENT ON COLUMN v1.refused.header_names IS 'The names of the headers kept.';
COMMENT ON COLUMN v1.refused.raw IS 'The body.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'smshook_read') THEN
        GRANT SELECT ON v1.replies, v1.message_parts, v1.refused TO smshook_read;
    END IF;
END
$$;
