-- Consent that stands up in a dispute: one key per number, the confirmation's token, an append-only record of who asked for
-- what and when, outgoing notices of changes, what the loop guard holds back, and what is removed and kept when a person is
-- erased. Forward only: never edited once released. New columns have constant defaults or none, so that no large table is
-- rewritten.

CREATE FUNCTION smshook.suppression_key(number text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    SELECT CASE
        -- not a number, or one that this cannot tell from a short code
        WHEN d.digits !~ '^[1-9][0-9]{7,14}$' AND d.digits = number THEN number
        -- Mexico dropped its 1 in 2019, Argentina writes a 9 only towards abroad, Brazil added a 9 until 2016
        WHEN d.digits ~ '^521[0-9]{10}$' THEN '+52' || substr(d.digits, 4)
        WHEN d.digits ~ '^549[0-9]{10}$' THEN '+54' || substr(d.digits, 4)
        WHEN d.digits ~ '^55[0-9]{2}9[6-9][0-9]{7}$' THEN '+' || substr(d.digits, 1, 4) || substr(d.digits, 6)
        ELSE '+' || d.digits
    END
    FROM (SELECT CASE WHEN number ~ '^\+[0-9]+$' THEN substr(number, 2) ELSE number END AS digits) d
    $$;
COMMENT ON FUNCTION smshook.suppression_key(text) IS 'The one spelling under which consent is kept, as `phone::Address::suppression_key` makes it.';

ALTER TABLE smshook.opt_outs
    DROP CONSTRAINT opt_outs_source_check,
    ADD CONSTRAINT opt_outs_source_check CHECK (source IN ('message', 'provider', 'operator', 'import')),
    DROP CONSTRAINT opt_outs_opted_in_source_check,
    ADD CONSTRAINT opt_outs_opted_in_source_check CHECK (opted_in_source IN ('message', 'provider', 'operator', 'import')),
    ADD COLUMN number_key       text,
    ADD COLUMN confirm_until    timestamptz,
    ADD COLUMN confirm_job_id   bigint,
    ADD COLUMN confirm_spent_at timestamptz,
    ADD COLUMN adopted_at       timestamptz,
    ADD CONSTRAINT opt_outs_token_spent CHECK ((confirm_job_id IS NULL) = (confirm_spent_at IS NULL));
-- Not when its transaction began: nothing is recorded before it was asked for.
ALTER TABLE smshook.opt_outs ALTER COLUMN recorded_at SET DEFAULT clock_timestamp();
UPDATE smshook.opt_outs o
SET number_key = smshook.suppression_key(o.number),
    confirm_until = CASE WHEN o.source = 'message' THEN o.recorded_at + interval '5 minutes' END,
    confirm_job_id = s.job_id,
    confirm_spent_at = s.started_at
FROM smshook.opt_outs p LEFT JOIN smshook.sends s ON s.opt_out_id = p.id
WHERE p.id = o.id;
ALTER TABLE smshook.opt_outs ALTER COLUMN number_key SET NOT NULL;
-- One opt-out per number from now on: of two spellings of one number the earlier row stands for both, and holds as late as
-- either was asked for.
UPDATE smshook.opt_outs k SET opted_out_at = d.latest
FROM (
    SELECT min(id) AS first, max(opted_out_at) AS latest FROM smshook.opt_outs WHERE opted_in_at IS NULL
    GROUP BY suppression_group, number_key HAVING count(*) > 1) d
WHERE k.id = d.first;
UPDATE smshook.opt_outs o
SET opted_in_at = now(), opted_in_source = 'import', note = concat_ws('; ', o.note, 'kept under another spelling of the number')
WHERE o.opted_in_at IS NULL AND EXISTS (
    SELECT FROM smshook.opt_outs k
    WHERE k.suppression_group = o.suppression_group AND k.number_key = o.number_key AND k.opted_in_at IS NULL AND k.id < o.id);
-- The number first: by the group alone, which a planner without statistics takes for selective, it would be read in full.
DROP INDEX smshook.opt_outs_in_force;
CREATE UNIQUE INDEX opt_outs_in_force ON smshook.opt_outs (number_key, suppression_group) WHERE opted_in_at IS NULL;
COMMENT ON COLUMN smshook.opt_outs.number IS 'The number, E.164 or as given; after an erasure `hmac:` and a keyed hash of it.';
COMMENT ON COLUMN smshook.opt_outs.number_key IS 'The one spelling by which it is looked up; after an erasure the keyed hash.';
COMMENT ON COLUMN smshook.opt_outs.source IS 'message (the person texted it), provider (the gateway says so), operator or import.';
COMMENT ON COLUMN smshook.opt_outs.opted_in_source IS 'Who lifted it: message, provider, operator or import.';
COMMENT ON COLUMN smshook.opt_outs.confirm_until IS 'Until when the one confirmation may be sent; null where none is owed. With the two columns below: a token that is used once.';
COMMENT ON COLUMN smshook.opt_outs.confirm_job_id IS 'The job that has spent the token: no other ever may.';
COMMENT ON COLUMN smshook.opt_outs.confirm_spent_at IS 'When the token was spent, before the confirmation was written to the gateway.';
COMMENT ON COLUMN smshook.opt_outs.adopted_at IS 'When an opt-out of the former shared group `default` was copied to the endpoints that belonged to it.';
COMMENT ON COLUMN smshook.opt_outs.suppression_group IS 'The programme it stops: an endpoint, or those endpoints and recipient numbers that are configured as one.';
COMMENT ON COLUMN smshook.opt_outs.tier IS 'How it matched: 0 the provider said so, 1, 2 or 3.';

CREATE TABLE smshook.consent_events (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event             text        NOT NULL CHECK (event IN
        ('opt_out', 'opt_in', 'review', 'dismissed', 'confirmed', 'unconfirmed', 'adopted', 'erased')),
    suppression_group text        NOT NULL,
    number            text        NOT NULL,
    number_key        text        NOT NULL,
    source            text        CHECK (source IN ('message', 'provider', 'operator', 'import')),
    effect            text        CHECK (effect IN ('began', 'in_force', 'superseded', 'lifted', 'not_opted_out', 'stale')),
    opt_out_id        bigint,
    message_id        uuid,
    endpoint          text,
    recipient         text,
    words             text,
    keyword           text,
    tier              smallint,
    rules_version     text,
    language          text,
    verified          boolean,
    asked_at          timestamptz,
    counts_from       timestamptz,
    recorded_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmation      text,
    job_id            bigint,
    reference         text,
    note              text,
    erased_at         timestamptz,
    CHECK ((event IN ('opt_out', 'opt_in')) = (effect IS NOT NULL))
);
COMMENT ON TABLE smshook.consent_events IS 'The evidence: everything that was ever asked, decided and confirmed about consent. Append-only; only an erasure and the retention of consent change it.';
COMMENT ON COLUMN smshook.consent_events.id IS 'Identity; the order of recording.';
COMMENT ON COLUMN smshook.consent_events.event IS 'opt_out, opt_in, review (a phrase that a person has to decide about), dismissed (decided: no opt-out), confirmed or unconfirmed (what became of the confirmation), adopted (copied from the former shared group), erased.';
COMMENT ON COLUMN smshook.consent_events.suppression_group IS 'The programme it is about.';
COMMENT ON COLUMN smshook.consent_events.number IS 'Who: the number, E.164 or as given; after an erasure `hmac:` and a keyed hash of it.';
COMMENT ON COLUMN smshook.consent_events.number_key IS 'The one spelling by which it is looked up; after an erasure the keyed hash.';
COMMENT ON COLUMN smshook.consent_events.source IS 'message (the person texted it), provider (the gateway says so), operator or import.';
COMMENT ON COLUMN smshook.consent_events.effect IS 'began, in_force (it was already), superseded (an opt-in was asked for later); lifted, not_opted_out (nothing was in force), stale (an opt-out was asked for at the same time or later).';
COMMENT ON COLUMN smshook.consent_events.opt_out_id IS 'The opt-out it began, met, lifted or confirmed.';
COMMENT ON COLUMN smshook.consent_events.message_id IS 'The message that asked for it.';
COMMENT ON COLUMN smshook.consent_events.endpoint IS 'The endpoint that received it.';
COMMENT ON COLUMN smshook.consent_events.recipient IS 'The number of ours that was texted.';
COMMENT ON COLUMN smshook.consent_events.words IS 'The words of the person; null where texts are not kept, and after an erasure.';
COMMENT ON COLUMN smshook.consent_events.keyword IS 'The keyword, or the words of the phrase, that decided.';
COMMENT ON COLUMN smshook.consent_events.tier IS '0 the provider said so, 1 whole text is a keyword, 2 keyword and courtesy, 3 phrase about the messaging.';
COMMENT ON COLUMN smshook.consent_events.rules_version IS 'The version of the rules that decided: of the built-in words and, behind a +, of the operator''s own.';
COMMENT ON COLUMN smshook.consent_events.language IS 'The language of the keyword, ISO 639-1, if it is of one.';
COMMENT ON COLUMN smshook.consent_events.verified IS 'False for what an observing endpoint took without a right signature.';
COMMENT ON COLUMN smshook.consent_events.asked_at IS 'When the person asked, as the gateway or the operator says.';
COMMENT ON COLUMN smshook.consent_events.counts_from IS 'The time by which it was compared with other requests: asked_at, but not later than it was recorded; recorded_at where nobody says when.';
COMMENT ON COLUMN smshook.consent_events.recorded_at IS 'When it was recorded, in the transaction that committed it.';
COMMENT ON COLUMN smshook.consent_events.confirmation IS 'For an opt_out: `owed`, or why none is; for unconfirmed: why it was not.';
COMMENT ON COLUMN smshook.consent_events.job_id IS 'The job that confirmed it, or should have.';
COMMENT ON COLUMN smshook.consent_events.reference IS 'The reference under which the confirmation was handed to the gateway.';
COMMENT ON COLUMN smshook.consent_events.note IS 'What the operator noted.';
COMMENT ON COLUMN smshook.consent_events.erased_at IS 'When the person was erased: from then on number, number_key, words, recipient and note are gone.';
CREATE INDEX consent_events_by_key ON smshook.consent_events (number_key, suppression_group, id);
CREATE INDEX consent_events_opt_ins ON smshook.consent_events (number_key, suppression_group, counts_from)
    WHERE event = 'opt_in' AND effect <> 'stale';
CREATE INDEX consent_events_by_opt_out ON smshook.consent_events (opt_out_id) WHERE opt_out_id IS NOT NULL;
CREATE INDEX consent_events_reviews ON smshook.consent_events (id) WHERE event = 'review';
CREATE INDEX consent_events_by_time ON smshook.consent_events (recorded_at);

CREATE FUNCTION smshook.refuse_change_of_evidence() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF current_setting('smshook.may_change_evidence', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'smshook.consent_events is evidence: rows are only added'
            USING HINT = 'To remove a person use `smshook erase NUMBER`; how long evidence is kept is `retention.consent`.',
                  ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN coalesce(NEW, OLD);
END
$$;
COMMENT ON FUNCTION smshook.refuse_change_of_evidence() IS 'Keeps consent_events append-only, but for an erasure and the retention of consent, which say so for their transaction.';
CREATE TRIGGER consent_events_are_kept BEFORE UPDATE OR DELETE ON smshook.consent_events
    FOR EACH ROW EXECUTE FUNCTION smshook.refuse_change_of_evidence();
CREATE TRIGGER consent_events_are_not_truncated BEFORE TRUNCATE ON smshook.consent_events
    FOR EACH STATEMENT EXECUTE FUNCTION smshook.refuse_change_of_evidence();

-- What is known of the opt-outs from before this record.
INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, source, effect, opt_out_id, message_id, endpoint,
    recipient, words, keyword, tier, asked_at, counts_from, recorded_at, confirmation, note)
SELECT 'opt_out', o.suppression_group, o.number, o.number_key, o.source,
    CASE WHEN o.opted_in_source = 'import' THEN 'in_force' ELSE 'began' END, o.id, o.message_id, m.endpoint,
    m.recipient, m.text, o.keyword, o.tier, m.sent_at, o.opted_out_at, o.recorded_at,
    CASE WHEN o.source = 'message' THEN 'owed' ELSE 'asked for by another way than a text' END, o.note
FROM smshook.opt_outs o LEFT JOIN smshook.messages m ON m.id = o.message_id
ORDER BY o.id;
INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, opt_out_id, message_id, recorded_at, job_id, reference)
SELECT 'confirmed', o.suppression_group, o.number, o.number_key, o.id, o.message_id, s.started_at, s.job_id, s.reference
FROM smshook.opt_outs o JOIN smshook.sends s ON s.opt_out_id = o.id JOIN smshook.jobs j ON j.id = s.job_id AND j.state = 'done'
ORDER BY o.id;
INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, source, effect, opt_out_id, message_id, endpoint,
    recipient, words, asked_at, counts_from, recorded_at)
SELECT 'opt_in', o.suppression_group, o.number, o.number_key, o.opted_in_source, 'lifted', o.id, o.opted_in_message_id, m.endpoint,
    m.recipient, m.text, m.sent_at, least(coalesce(m.sent_at, o.opted_in_at), o.opted_in_at), o.opted_in_at
FROM smshook.opt_outs o LEFT JOIN smshook.messages m ON m.id = o.opted_in_message_id
WHERE o.opted_in_source IN ('message', 'operator')
ORDER BY o.opted_in_at, o.id;

CREATE TABLE smshook.webhooks (
    name          text        PRIMARY KEY,
    registered_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE smshook.webhooks IS 'Who is told of changes: the webhooks of the configuration that was started last.';
COMMENT ON COLUMN smshook.webhooks.name IS 'Its name in the configuration.';
COMMENT ON COLUMN smshook.webhooks.registered_at IS 'When a configuration with it was started first.';

CREATE TABLE smshook.notices (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook     text        NOT NULL,
    event_id    bigint      NOT NULL,
    number_key  text        NOT NULL,
    state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'delivered', 'discarded')),
    claim       integer     NOT NULL DEFAULT 0,
    attempt     integer     NOT NULL DEFAULT 0,
    run_at      timestamptz NOT NULL DEFAULT now(),
    error       text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CHECK ((state IN ('delivered', 'discarded')) = (finished_at IS NOT NULL))
);
COMMENT ON TABLE smshook.notices IS 'Changes of consent to be told to a webhook: written with the change, delivered in order for each number.';
COMMENT ON COLUMN smshook.notices.id IS 'Identity; for one number also the order.';
COMMENT ON COLUMN smshook.notices.webhook IS 'Whom to tell.';
COMMENT ON COLUMN smshook.notices.event_id IS 'The consent event it is about.';
COMMENT ON COLUMN smshook.notices.number_key IS 'The number it is about: the order is kept for each.';
COMMENT ON COLUMN smshook.notices.state IS 'waiting, running, delivered, or discarded (given up; a person may look).';
COMMENT ON COLUMN smshook.notices.claim IS 'Fence: rises at each claim.';
COMMENT ON COLUMN smshook.notices.attempt IS 'Attempts begun.';
COMMENT ON COLUMN smshook.notices.run_at IS 'Not before this; while running: when the lease ends.';
COMMENT ON COLUMN smshook.notices.error IS 'How the latest attempt failed.';
COMMENT ON COLUMN smshook.notices.created_at IS 'When the change was committed.';
COMMENT ON COLUMN smshook.notices.finished_at IS 'When it was delivered or given up.';
CREATE INDEX notices_due ON smshook.notices (webhook, run_at, id) WHERE state IN ('waiting', 'running');
CREATE INDEX notices_in_order ON smshook.notices (webhook, number_key, id) WHERE state IN ('waiting', 'running');
CREATE INDEX notices_by_event ON smshook.notices (event_id);

CREATE TABLE smshook.loop_trips (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id  uuid        NOT NULL,
    endpoint         text        NOT NULL,
    number           text        NOT NULL,
    guard            text        NOT NULL CHECK (guard IN ('rate', 'same_reply', 'same_text', 'own_number')),
    detail           text        NOT NULL,
    tripped_at       timestamptz NOT NULL DEFAULT now(),
    clears_at        timestamptz NOT NULL,
    withheld         integer     NOT NULL DEFAULT 1,
    last_withheld_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE smshook.loop_trips IS 'Where the loop guard has held back texts: two machines that answered each other, most likely.';
COMMENT ON COLUMN smshook.loop_trips.id IS 'Identity.';
COMMENT ON COLUMN smshook.loop_trips.conversation_id IS 'The conversation.';
COMMENT ON COLUMN smshook.loop_trips.endpoint IS 'The endpoint whose reply was held back.';
COMMENT ON COLUMN smshook.loop_trips.number IS 'The number it would have gone to.';
COMMENT ON COLUMN smshook.loop_trips.guard IS 'rate (too many replies), same_reply (the same reply again), same_text (they send the same again), own_number (it is one of ours).';
COMMENT ON COLUMN smshook.loop_trips.detail IS 'Which limit.';
COMMENT ON COLUMN smshook.loop_trips.tripped_at IS 'When the first text was held back.';
COMMENT ON COLUMN smshook.loop_trips.clears_at IS 'From then on texts go out again by themselves; of a number of ours, as long as it is shown.';
COMMENT ON COLUMN smshook.loop_trips.withheld IS 'Texts held back.';
COMMENT ON COLUMN smshook.loop_trips.last_withheld_at IS 'When the latest was held back.';
CREATE INDEX loop_trips_by_conversation ON smshook.loop_trips (conversation_id, guard, clears_at);
CREATE INDEX loop_trips_active ON smshook.loop_trips (clears_at);

CREATE TABLE smshook.our_numbers (
    number_key    text        PRIMARY KEY,
    first_seen_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE smshook.our_numbers IS 'Numbers of ours, as verified texts were addressed to them: an automatic reply to one of them would be the beginning of a loop.';
COMMENT ON COLUMN smshook.our_numbers.number_key IS 'The one spelling of the number.';
COMMENT ON COLUMN smshook.our_numbers.first_seen_at IS 'When a text to it came first.';

ALTER TABLE smshook.sends
    ADD COLUMN text_sha256  bytea,
    ADD COLUMN asked_sha256 bytea;
COMMENT ON COLUMN smshook.sends.text_sha256 IS 'SHA-256 of the conversation and the text: the loop guard recognises the same again by it.';
COMMENT ON COLUMN smshook.sends.asked_sha256 IS 'The same of the text that it answers.';

ALTER TABLE smshook.gateway_events
    ADD COLUMN opted_out           boolean NOT NULL DEFAULT false,
    ADD COLUMN opt_out_recorded_at timestamptz;
COMMENT ON COLUMN smshook.gateway_events.opted_out IS 'Whether it says that the provider holds the person for opted out.';
COMMENT ON COLUMN smshook.gateway_events.opt_out_recorded_at IS 'When that was recorded as the opt-out of whom the reply was for.';
CREATE INDEX gateway_events_opt_outs_to_record ON smshook.gateway_events (received_at)
    WHERE opted_out AND opt_out_recorded_at IS NULL AND job_id IS NOT NULL;

ALTER TABLE smshook.jobs ADD COLUMN provider_code text;
COMMENT ON COLUMN smshook.jobs.provider_code IS 'Of a job that follows an opt-out which the provider told of, and not the text: the provider''s code for it.';

CREATE TABLE smshook.erasure_keys (
    fingerprint bytea       PRIMARY KEY CHECK (octet_length(fingerprint) = 32),
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE smshook.erasure_keys IS 'By which key the numbers of erased people were hashed: a process with another one would not know whom it must not text, so it sends nothing.';
COMMENT ON COLUMN smshook.erasure_keys.fingerprint IS 'A hash under the key that tells nothing about it.';
COMMENT ON COLUMN smshook.erasure_keys.created_at IS 'When somebody was erased with it first.';

ALTER TABLE smshook.messages
    DROP CONSTRAINT messages_consent_event_check,
    -- wider than before, so every row of before fits: not looked at again
    ADD CONSTRAINT messages_consent_event_check CHECK (consent_event IN ('opt_out', 'opt_in', 'help', 'opt_out_review')) NOT VALID,
    ADD COLUMN consent_language text,
    ADD COLUMN keep_text        boolean NOT NULL DEFAULT true,
    ADD COLUMN text_chars       integer,
    ADD COLUMN text_removed_at  timestamptz,
    ADD COLUMN erased_at        timestamptz;
COMMENT ON COLUMN smshook.messages.consent_event IS 'opt_out, opt_in or help, if the text asked for it; opt_out_review if a person has to decide.';
COMMENT ON COLUMN smshook.messages.consent_language IS 'The language of the keyword, ISO 639-1: the language of the answer.';
COMMENT ON COLUMN smshook.messages.keep_text IS 'False where the endpoint does not keep texts: it goes once its actions have run.';
COMMENT ON COLUMN smshook.messages.text_chars IS 'How many characters the text had, where it is not kept.';
COMMENT ON COLUMN smshook.messages.text_removed_at IS 'When text, raw body and what actions made of them were removed.';
COMMENT ON COLUMN smshook.messages.erased_at IS 'When the sender was erased; the row stays a while so that a retry of the gateway is known.';
CREATE INDEX messages_texts_to_remove ON smshook.messages (id) WHERE NOT keep_text AND text_removed_at IS NULL;
CREATE INDEX messages_erased ON smshook.messages (erased_at) WHERE erased_at IS NOT NULL;

ALTER TABLE smshook.part_sets
    ADD COLUMN keep_text       boolean NOT NULL DEFAULT true,
    ADD COLUMN text_removed_at timestamptz,
    ADD COLUMN erased_at       timestamptz;
COMMENT ON COLUMN smshook.part_sets.keep_text IS 'False where the endpoint does not keep texts.';
COMMENT ON COLUMN smshook.part_sets.text_removed_at IS 'When the texts and bodies of its parts were removed.';
COMMENT ON COLUMN smshook.part_sets.erased_at IS 'When the sender was erased.';
CREATE INDEX part_sets_texts_to_remove ON smshook.part_sets (id) WHERE NOT keep_text AND text_removed_at IS NULL;
CREATE INDEX part_sets_erased ON smshook.part_sets (erased_at) WHERE erased_at IS NOT NULL;

-- What is kept for a time only is found by the time in its ID, and without reading a table for each row that is deleted.
CREATE FUNCTION smshook.first_id(at timestamptz) RETURNS uuid
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    AS $$ SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::int8), 12, '0') || repeat('0', 20))::uuid $$;
COMMENT ON FUNCTION smshook.first_id(timestamptz) IS 'Every ID (UUIDv7) made before that time is less than this, every later one is not.';
CREATE FUNCTION smshook.without_quotes(error text, said text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN length(said) >= 3 THEN replace(e, said, '(not kept)') ELSE e END
    FROM (SELECT regexp_replace(error, 'answered ([0-9]{3}).*', 'answered \1; what it said is not kept')) AS x (e)
    $$;
COMMENT ON FUNCTION smshook.without_quotes(text, text) IS 'An error without what another system answered, and without these words: for texts that are not kept.';
CREATE INDEX gateway_events_by_job ON smshook.gateway_events (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX links_by_use ON smshook.links (updated_at);
COMMENT ON COLUMN smshook.links.updated_at IS 'When it was last written or, to the day, used.';

CREATE OR REPLACE VIEW v1.messages AS
SELECT m.id, m.endpoint, m.message_id, m.conversation_id, m.sender, m.recipient, m.text, m.sent_at, m.received_at, m.rule,
       m.consent_event, m.duplicates, smshook.readable(m.raw) AS raw, m.sender_raw, m.recipient_raw, m.consent_tier,
       m.consent_keyword, m.last_duplicate_at, m.gateway_rules, m.reference, m.device_id, m.tenant_id, m.tenant_name,
       m.verified, m.encrypted, m.media, m.missing_parts, m.consent_language, m.text_chars, m.text_removed_at, m.erased_at
FROM smshook.messages m;

CREATE OR REPLACE VIEW v1.opt_outs AS
SELECT o.id, o.suppression_group, o.number, o.source, o.message_id, o.keyword, o.tier, o.note, o.opted_out_at, o.recorded_at,
       o.opted_in_at, o.opted_in_source, o.opted_in_message_id, o.opted_in_at IS NULL AS in_force, o.number_key,
       o.confirm_until, o.confirm_spent_at
FROM smshook.opt_outs o;

CREATE OR REPLACE VIEW v1.gateway_events AS
SELECT e.id, e.endpoint, e.kind, e.reference, e.gateway_id, e.occurred_at, e.received_at, e.job_id,
       smshook.readable(e.raw) AS raw, e.state, e.error, e.verified, e.opted_out, e.opt_out_recorded_at
FROM smshook.gateway_events e;

CREATE VIEW v1.consent_events AS
SELECT e.id, e.event, e.suppression_group, e.number, e.number_key, e.source, e.effect, e.opt_out_id, e.message_id, e.endpoint,
       e.recipient, e.words, e.keyword, e.tier, e.rules_version, e.language, e.verified, e.asked_at, e.counts_from,
       e.recorded_at, e.confirmation, e.job_id, e.reference, e.note, e.erased_at
FROM smshook.consent_events e;
COMMENT ON VIEW v1.consent_events IS 'The evidence of consent, in the order in which it was recorded; nothing in it is ever changed.';

CREATE VIEW v1.notices AS
SELECT n.id, n.webhook, n.event_id, n.state, n.attempt, n.run_at, n.error, n.created_at, n.finished_at
FROM smshook.notices n;
COMMENT ON VIEW v1.notices IS 'Changes of consent told to webhooks, and those still to be told.';

CREATE VIEW v1.loop_guard AS
SELECT l.id, l.conversation_id, l.endpoint, l.number, l.guard, l.detail, l.tripped_at, l.clears_at, l.withheld,
       l.last_withheld_at, l.clears_at > now() AS active
FROM smshook.loop_trips l;
COMMENT ON VIEW v1.loop_guard IS 'Conversations in which the loop guard has held back texts; an active one clears by itself.';

-- A view's columns say what the tables' columns say.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT v.relname AS view, va.attname AS column, col_description(t.oid, ta.attnum) AS comment
        FROM (VALUES ('messages', 'messages'), ('opt_outs', 'opt_outs'), ('consent_events', 'consent_events'),
                     ('notices', 'notices'), ('loop_guard', 'loop_trips'), ('gateway_events', 'gateway_events')) AS n (view, table_name)
        JOIN pg_class v ON v.relnamespace = 'v1'::regnamespace AND v.relname = n.view
        JOIN pg_attribute va ON va.attrelid = v.oid AND va.attnum > 0
        JOIN pg_class t ON t.relnamespace = 'smshook'::regnamespace AND t.relname = n.table_name
        JOIN pg_attribute ta ON ta.attrelid = t.oid AND ta.attname = va.attname AND ta.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN v1.%I.%I IS %L', c.view, c.column, c.comment);
    END LOOP;
END
$$;
COMMENT ON COLUMN v1.loop_guard.active IS 'Whether texts are held back now.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'smshook_read') THEN
        GRANT SELECT ON v1.consent_events, v1.notices, v1.loop_guard TO smshook_read;
    END IF;
END
$$;

ALTER TABLE smshook.parts ADD COLUMN opt_out_language text;
COMMENT ON COLUMN smshook.parts.opt_out_language IS 'The language of the keyword, ISO 639-1, if it is of one.';
