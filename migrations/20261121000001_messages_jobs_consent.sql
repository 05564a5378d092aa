-- Messages, the jobs they cause, consent, and what could not be read. Forward only: never edited once released.

CREATE SCHEMA smshook;
COMMENT ON SCHEMA smshook IS 'The tables of smshook. Read them through the views in schema v1, which change only by addition.';

CREATE TABLE smshook.messages (
    id                uuid        PRIMARY KEY,
    endpoint          text        NOT NULL,
    message_id        text,
    dedupe_key        bytea       NOT NULL CHECK (octet_length(dedupe_key) = 32),
    conversation_id   uuid        NOT NULL,
    sender            text        NOT NULL,
    sender_raw        text        NOT NULL,
    sender_answerable boolean     NOT NULL,
    recipient         text        NOT NULL,
    recipient_raw     text        NOT NULL,
    text              text        NOT NULL,
    sent_at           timestamptz,
    received_at       timestamptz NOT NULL DEFAULT now(),
    rule              text,
    consent_event     text        CHECK (consent_event IN ('opt_out', 'opt_in', 'help')),
    consent_tier      smallint,
    consent_keyword   text,
    duplicates        integer     NOT NULL DEFAULT 0 CHECK (duplicates >= 0),
    last_duplicate_at timestamptz,
    gateway_rules     text[]      NOT NULL DEFAULT '{}',
    reference         text,
    device_id         text,
    tenant_id         text,
    tenant_name       text,
    raw               bytea       NOT NULL,
    CHECK ((consent_event IS NULL) = (consent_tier IS NULL))
);
COMMENT ON TABLE smshook.messages IS 'One row per inbound SMS, however many copies of it arrived.';
COMMENT ON COLUMN smshook.messages.id IS 'Our identity of the message, UUIDv7: sorts by time of arrival.';
COMMENT ON COLUMN smshook.messages.endpoint IS 'Name of the configured endpoint that received it.';
COMMENT ON COLUMN smshook.messages.message_id IS 'The gateway''s own ID, if it sends one. Not unique: gateways use 32-bit IDs.';
COMMENT ON COLUMN smshook.messages.dedupe_key IS 'SHA-256 by which copies are recognised: gateway ID and content, or the fingerprint.';
COMMENT ON COLUMN smshook.messages.conversation_id IS 'Recipient and sender, hashed: one conversation.';
COMMENT ON COLUMN smshook.messages.sender IS 'Sender: E.164 with +, short digits, or as given.';
COMMENT ON COLUMN smshook.messages.sender_raw IS 'Sender exactly as the gateway wrote it.';
COMMENT ON COLUMN smshook.messages.sender_answerable IS 'Whether the sender is a number that can be answered (no short code, no letters).';
COMMENT ON COLUMN smshook.messages.recipient IS 'Number of ours that received it: E.164 or as given; empty when the gateway does not say.';
COMMENT ON COLUMN smshook.messages.recipient_raw IS 'Recipient exactly as the gateway wrote it.';
COMMENT ON COLUMN smshook.messages.text IS 'The text; U+0000 and lone surrogates are replaced by U+FFFD.';
COMMENT ON COLUMN smshook.messages.sent_at IS 'When the gateway says it received the SMS.';
COMMENT ON COLUMN smshook.messages.received_at IS 'When we stored it.';
COMMENT ON COLUMN smshook.messages.rule IS 'First rule that matched, as configured at that time.';
COMMENT ON COLUMN smshook.messages.consent_event IS 'opt_out, opt_in or help, if the text asked for it.';
COMMENT ON COLUMN smshook.messages.consent_tier IS '1 whole text is a keyword, 2 keyword and courtesy, 3 phrase about the messaging.';
COMMENT ON COLUMN smshook.messages.consent_keyword IS 'The keyword that matched: evidence.';
COMMENT ON COLUMN smshook.messages.duplicates IS 'Copies that arrived after the first.';
COMMENT ON COLUMN smshook.messages.last_duplicate_at IS 'When the latest copy arrived.';
COMMENT ON COLUMN smshook.messages.gateway_rules IS 'The gateway''s own rules that matched, merged over all copies.';
COMMENT ON COLUMN smshook.messages.reference IS 'The gateway''s reference.';
COMMENT ON COLUMN smshook.messages.device_id IS 'The gateway''s device.';
COMMENT ON COLUMN smshook.messages.tenant_id IS 'The gateway account.';
COMMENT ON COLUMN smshook.messages.tenant_name IS 'The gateway account''s display name.';
COMMENT ON COLUMN smshook.messages.raw IS 'The first copy''s body, byte for byte as verified.';
CREATE UNIQUE INDEX messages_one_per_sms ON smshook.messages (endpoint, dedupe_key);
CREATE INDEX messages_conversation ON smshook.messages (conversation_id, received_at);
-- A hash index: an ID of any length fits, where a B-tree refuses one over 2.7 kB.
CREATE INDEX messages_gateway_id ON smshook.messages USING hash (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE smshook.jobs (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  uuid        NOT NULL REFERENCES smshook.messages (id) ON DELETE CASCADE,
    state       text        NOT NULL CHECK (state IN ('waiting', 'available', 'running', 'done', 'discarded', 'cancelled')),
    kind        text        NOT NULL CHECK (kind IN ('action', 'opt_out_confirmation', 'opt_in_confirmation', 'help_reply')),
    action      text        NOT NULL,
    rule        text,
    lane        bigint      NOT NULL,
    claim       integer     NOT NULL DEFAULT 0,
    attempt     integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    run_at      timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    send_to     text,
    send_group  text,
    captures    jsonb,
    progress    jsonb,
    result      jsonb,
    reason      text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    claimed_at  timestamptz,
    finished_at timestamptz,
    CHECK ((state IN ('done', 'discarded', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((send_to IS NULL) = (send_group IS NULL)),
    CHECK (state <> 'running' OR claimed_at IS NOT NULL)
);
COMMENT ON TABLE smshook.jobs IS 'The durable order to run one action for one message.';
COMMENT ON COLUMN smshook.jobs.id IS 'Identity; within a lane also the order.';
COMMENT ON COLUMN smshook.jobs.message_id IS 'The message it is for.';
COMMENT ON COLUMN smshook.jobs.state IS 'waiting (behind another of its lane), available, running, done, discarded (waits for a person), cancelled (must not happen).';
COMMENT ON COLUMN smshook.jobs.kind IS 'action, or a compliance reply: opt_out_confirmation, opt_in_confirmation, help_reply.';
COMMENT ON COLUMN smshook.jobs.action IS 'Name of the configured action; of a compliance reply, its kind.';
COMMENT ON COLUMN smshook.jobs.rule IS 'The rule that ordered it.';
COMMENT ON COLUMN smshook.jobs.lane IS 'Conversation and action, hashed: jobs of one lane run one at a time, in order.';
COMMENT ON COLUMN smshook.jobs.claim IS 'Fence: rises at each claim; only the holder of the latest may settle.';
COMMENT ON COLUMN smshook.jobs.attempt IS 'Attempts begun that count (snoozes and interruptions are refunded).';
COMMENT ON COLUMN smshook.jobs.run_at IS 'Not before this; while running: when the lease ends and anybody may claim it.';
COMMENT ON COLUMN smshook.jobs.expires_at IS 'After this it must not run any more.';
COMMENT ON COLUMN smshook.jobs.send_to IS 'The number it sends a text to, if it sends one.';
COMMENT ON COLUMN smshook.jobs.send_group IS 'The suppression group that a text it sends belongs to.';
COMMENT ON COLUMN smshook.jobs.captures IS 'What the rule''s regular expression captured.';
COMMENT ON COLUMN smshook.jobs.progress IS 'What attempts wrote down: the rendered request, steps done, sending.';
COMMENT ON COLUMN smshook.jobs.result IS 'What the action did and captured.';
COMMENT ON COLUMN smshook.jobs.reason IS 'Why it was discarded, cancelled or is being retried.';
COMMENT ON COLUMN smshook.jobs.created_at IS 'When its message was accepted.';
COMMENT ON COLUMN smshook.jobs.claimed_at IS 'When the latest claim began.';
COMMENT ON COLUMN smshook.jobs.finished_at IS 'When it was done, discarded or cancelled.';
CREATE UNIQUE INDEX jobs_one_per_action ON smshook.jobs (message_id, kind, action);
-- The lane's head: the database itself refuses a second claimable job in a lane.
CREATE UNIQUE INDEX jobs_one_head_per_lane ON smshook.jobs (lane) WHERE state IN ('available', 'running');
CREATE INDEX jobs_due ON smshook.jobs (action, run_at) WHERE state IN ('available', 'running');
CREATE INDEX jobs_waiting ON smshook.jobs (lane, id) WHERE state = 'waiting';
CREATE INDEX jobs_queued_sends ON smshook.jobs (send_to) WHERE send_to IS NOT NULL AND state IN ('waiting', 'available');
CREATE INDEX jobs_discarded ON smshook.jobs (finished_at) WHERE state = 'discarded';
-- A queue table churns: vacuum by a fixed number of dead rows, not by a share of a growing table.
ALTER TABLE smshook.jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE smshook.attempts (
    job_id      bigint      NOT NULL REFERENCES smshook.jobs (id) ON DELETE CASCADE,
    claim       integer     NOT NULL,
    attempt     integer     NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    outcome     text        NOT NULL CHECK (outcome IN ('done', 'retry', 'snooze', 'discard', 'cancel', 'release', 'lost')),
    error       text,
    PRIMARY KEY (job_id, claim)
);
COMMENT ON TABLE smshook.attempts IS 'Every execution of a job, with the error it ended in.';
COMMENT ON COLUMN smshook.attempts.job_id IS 'The job.';
COMMENT ON COLUMN smshook.attempts.claim IS 'The claim that this execution held.';
COMMENT ON COLUMN smshook.attempts.attempt IS 'Its number among those that count, from 1.';
COMMENT ON COLUMN smshook.attempts.started_at IS 'When it was claimed.';
COMMENT ON COLUMN smshook.attempts.finished_at IS 'When it was settled, or its lease found expired.';
COMMENT ON COLUMN smshook.attempts.outcome IS 'done, retry, snooze, discard, cancel, release (given back at a stop), lost (its process ended before reporting).';
COMMENT ON COLUMN smshook.attempts.error IS 'Why it did not succeed.';

CREATE TABLE smshook.opt_outs (
    id                  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    suppression_group   text        NOT NULL,
    number              text        NOT NULL,
    source              text        NOT NULL CHECK (source IN ('message', 'operator')),
    message_id          uuid,
    keyword             text,
    tier                smallint,
    note                text,
    opted_out_at        timestamptz NOT NULL,
    recorded_at         timestamptz NOT NULL DEFAULT now(),
    opted_in_at         timestamptz,
    opted_in_source     text        CHECK (opted_in_source IN ('message', 'operator')),
    opted_in_message_id uuid,
    CHECK ((opted_in_at IS NULL) = (opted_in_source IS NULL))
);
COMMENT ON TABLE smshook.opt_outs IS 'Every opt-out ever asked for; in force while opted_in_at is null. Rows are the evidence and are kept.';
COMMENT ON COLUMN smshook.opt_outs.id IS 'Identity.';
COMMENT ON COLUMN smshook.opt_outs.suppression_group IS 'Which endpoints it stops: those configured with this group.';
COMMENT ON COLUMN smshook.opt_outs.number IS 'The number, E.164 or as given.';
COMMENT ON COLUMN smshook.opt_outs.source IS 'message (the person texted it) or operator.';
COMMENT ON COLUMN smshook.opt_outs.message_id IS 'The message that asked for it.';
COMMENT ON COLUMN smshook.opt_outs.keyword IS 'The keyword that matched.';
COMMENT ON COLUMN smshook.opt_outs.tier IS 'How it matched: 1, 2 or 3.';
COMMENT ON COLUMN smshook.opt_outs.note IS 'The operator''s note.';
COMMENT ON COLUMN smshook.opt_outs.opted_out_at IS 'When the person asked, by the gateway''s clock where it gives one.';
COMMENT ON COLUMN smshook.opt_outs.recorded_at IS 'When it was committed here.';
COMMENT ON COLUMN smshook.opt_outs.opted_in_at IS 'When it was lifted.';
COMMENT ON COLUMN smshook.opt_outs.opted_in_source IS 'Who lifted it: message or operator.';
COMMENT ON COLUMN smshook.opt_outs.opted_in_message_id IS 'The message that lifted it.';
CREATE UNIQUE INDEX opt_outs_in_force ON smshook.opt_outs (suppression_group, number) WHERE opted_in_at IS NULL;

CREATE TABLE smshook.sends (
    job_id          bigint      PRIMARY KEY REFERENCES smshook.jobs (id) ON DELETE CASCADE,
    conversation_id uuid        NOT NULL,
    reference       text        NOT NULL UNIQUE,
    opt_out_id      bigint      UNIQUE REFERENCES smshook.opt_outs (id),
    started_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE smshook.sends IS 'Texts handed to a gateway, recorded before the socket write: the loop guard counts them, delivery states find them.';
COMMENT ON COLUMN smshook.sends.job_id IS 'The job that sends.';
COMMENT ON COLUMN smshook.sends.conversation_id IS 'The conversation it goes to.';
COMMENT ON COLUMN smshook.sends.reference IS 'Our reference, which the gateway echoes.';
COMMENT ON COLUMN smshook.sends.opt_out_id IS 'The opt-out that this text confirms: at most one text each.';
COMMENT ON COLUMN smshook.sends.started_at IS 'When the latest attempt to send began.';
CREATE INDEX sends_by_conversation ON smshook.sends (conversation_id, started_at);

CREATE TABLE smshook.gateway_events (
    id          uuid        PRIMARY KEY,
    endpoint    text        NOT NULL,
    kind        text        NOT NULL,
    reference   text,
    gateway_id  text,
    occurred_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    job_id      bigint      REFERENCES smshook.jobs (id) ON DELETE SET NULL,
    raw_sha256  bytea       NOT NULL,
    raw         bytea       NOT NULL
);
COMMENT ON TABLE smshook.gateway_events IS 'What a gateway reports besides inbound texts, such as the delivery state of a reply.';
COMMENT ON COLUMN smshook.gateway_events.id IS 'Our identity of the event.';
COMMENT ON COLUMN smshook.gateway_events.endpoint IS 'Endpoint that received it.';
COMMENT ON COLUMN smshook.gateway_events.kind IS 'The gateway''s word for it.';
COMMENT ON COLUMN smshook.gateway_events.reference IS 'Our reference, echoed.';
COMMENT ON COLUMN smshook.gateway_events.gateway_id IS 'The gateway''s ID.';
COMMENT ON COLUMN smshook.gateway_events.occurred_at IS 'When the gateway says it happened.';
COMMENT ON COLUMN smshook.gateway_events.received_at IS 'When we stored it.';
COMMENT ON COLUMN smshook.gateway_events.job_id IS 'The reply it is about, when the reference is one of ours.';
COMMENT ON COLUMN smshook.gateway_events.raw_sha256 IS 'SHA-256 of the body: a repeated report is one row.';
COMMENT ON COLUMN smshook.gateway_events.raw IS 'The body as verified.';
CREATE UNIQUE INDEX gateway_events_once ON smshook.gateway_events (endpoint, raw_sha256);
CREATE INDEX gateway_events_by_reference ON smshook.gateway_events USING hash (reference) WHERE reference IS NOT NULL;

CREATE TABLE smshook.quarantine (
    id          uuid        PRIMARY KEY,
    endpoint    text        NOT NULL,
    reason      text        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    duplicates  integer     NOT NULL DEFAULT 0,
    admitted_at timestamptz,
    admitted_as uuid,
    raw_sha256  bytea       NOT NULL,
    raw         bytea       NOT NULL
);
COMMENT ON TABLE smshook.quarantine IS 'Deliveries that verified but could not be read: nothing genuine is lost; `smshook messages replay` admits them.';
COMMENT ON COLUMN smshook.quarantine.id IS 'Identity.';
COMMENT ON COLUMN smshook.quarantine.endpoint IS 'Endpoint that received it.';
COMMENT ON COLUMN smshook.quarantine.reason IS 'Why it could not be read.';
COMMENT ON COLUMN smshook.quarantine.received_at IS 'When the first copy arrived.';
COMMENT ON COLUMN smshook.quarantine.duplicates IS 'Copies that arrived after the first.';
COMMENT ON COLUMN smshook.quarantine.admitted_at IS 'When a replay admitted it.';
COMMENT ON COLUMN smshook.quarantine.admitted_as IS 'The message or event it became.';
COMMENT ON COLUMN smshook.quarantine.raw_sha256 IS 'SHA-256 of the body: a repeated delivery is one row.';
COMMENT ON COLUMN smshook.quarantine.raw IS 'The body as verified.';
CREATE UNIQUE INDEX quarantine_once ON smshook.quarantine (endpoint, raw_sha256);
