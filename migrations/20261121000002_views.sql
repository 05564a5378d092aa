-- The stable face: schema v1, which changes only by addition, and a role that can read it and hurt nothing.

CREATE FUNCTION smshook.readable(body bytea) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
BEGIN
    RETURN convert_from(body, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN encode(body, 'escape');
END
$$;
COMMENT ON FUNCTION smshook.readable(bytea) IS 'A body as text; what is not UTF-8 as backslash escapes.';

CREATE SCHEMA v1;
COMMENT ON SCHEMA v1 IS 'Stable views over smshook''s tables: columns are only ever added.';

CREATE VIEW v1.messages AS
SELECT m.id, m.endpoint, m.message_id, m.conversation_id, m.sender, m.recipient, m.text, m.sent_at, m.received_at, m.rule,
       m.consent_event, m.duplicates, smshook.readable(m.raw) AS raw, m.sender_raw, m.recipient_raw, m.consent_tier,
       m.consent_keyword, m.last_duplicate_at, m.gateway_rules, m.reference, m.device_id, m.tenant_id, m.tenant_name
FROM smshook.messages m;
COMMENT ON VIEW v1.messages IS 'One row per inbound SMS.';

CREATE VIEW v1.conversations AS
SELECT m.conversation_id, min(m.sender) AS sender, min(m.recipient) AS recipient, count(*) AS messages,
       min(m.received_at) AS first_received_at, max(m.received_at) AS last_received_at
FROM smshook.messages m
GROUP BY m.conversation_id;
COMMENT ON VIEW v1.conversations IS 'One row per pair of sender and recipient.';

CREATE VIEW v1.jobs AS
SELECT j.id, j.message_id, j.state, j.kind, j.action, j.rule, j.attempt, j.run_at, j.expires_at, j.result, j.reason,
       j.created_at, j.claimed_at, j.finished_at, m.conversation_id, m.endpoint
FROM smshook.jobs j JOIN smshook.messages m ON m.id = j.message_id;
COMMENT ON VIEW v1.jobs IS 'One row per action ordered for a message. run_at: not before; while running, the end of the lease.';

CREATE VIEW v1.attempts AS
SELECT a.job_id, a.attempt, a.started_at, a.finished_at, a.outcome, a.error
FROM smshook.attempts a;
COMMENT ON VIEW v1.attempts IS 'Every execution of a job and how it ended.';

CREATE VIEW v1.opt_outs AS
SELECT o.id, o.suppression_group, o.number, o.source, o.message_id, o.keyword, o.tier, o.note, o.opted_out_at, o.recorded_at,
       o.opted_in_at, o.opted_in_source, o.opted_in_message_id, o.opted_in_at IS NULL AS in_force
FROM smshook.opt_outs o;
COMMENT ON VIEW v1.opt_outs IS 'Every opt-out; in_force says whether it still stops sending.';

CREATE VIEW v1.quarantine AS
SELECT q.id, q.endpoint, q.reason, q.received_at, q.duplicates, q.admitted_at, q.admitted_as, smshook.readable(q.raw) AS raw
FROM smshook.quarantine q;
COMMENT ON VIEW v1.quarantine IS 'Deliveries that verified but could not be read.';

CREATE VIEW v1.gateway_events AS
SELECT e.id, e.endpoint, e.kind, e.reference, e.gateway_id, e.occurred_at, e.received_at, e.job_id, smshook.readable(e.raw) AS raw
FROM smshook.gateway_events e;
COMMENT ON VIEW v1.gateway_events IS 'Delivery states and other reports of a gateway, tied to our reply where they name it.';

-- A view's columns say what the table's columns say, so that \d+ v1.jobs explains itself.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT v.relname AS view, va.attname AS column,
               coalesce(col_description(t.oid, ta.attnum), '') AS comment
        FROM pg_class v
        JOIN pg_namespace vn ON vn.oid = v.relnamespace AND vn.nspname = 'v1'
        JOIN pg_attribute va ON va.attrelid = v.oid AND va.attnum > 0
        LEFT JOIN pg_namespace tn ON tn.nspname = 'smshook'
        LEFT JOIN pg_class t ON t.relnamespace = tn.oid AND t.relname = v.relname
        LEFT JOIN pg_attribute ta ON ta.attrelid = t.oid AND ta.attname = va.attname
        WHERE v.relkind = 'v'
    LOOP
        IF c.comment <> '' THEN
            EXECUTE format('COMMENT ON COLUMN v1.%I.%I IS %L', c.view, c.column, c.comment);
        END IF;
    END LOOP;
END
$$;
COMMENT ON COLUMN v1.conversations.conversation_id IS 'Recipient and sender, hashed.';
COMMENT ON COLUMN v1.conversations.sender IS 'Sender of its messages.';
COMMENT ON COLUMN v1.conversations.recipient IS 'Number of ours.';
COMMENT ON COLUMN v1.conversations.messages IS 'Messages in it.';
COMMENT ON COLUMN v1.conversations.first_received_at IS 'When its first message was stored.';
COMMENT ON COLUMN v1.conversations.last_received_at IS 'When its latest message was stored.';
COMMENT ON COLUMN v1.jobs.conversation_id IS 'The conversation of its message.';
COMMENT ON COLUMN v1.jobs.endpoint IS 'The endpoint of its message.';
COMMENT ON COLUMN v1.opt_outs.in_force IS 'Whether it stops sending now.';

-- The role to inspect with. A forgotten transaction of an operator would keep dead rows of the queue alive, so it ends by
-- itself. It has no password until the operator gives it one. Roles belong to the whole server: an account that may not
-- create them goes without.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'smshook_read') THEN
        CREATE ROLE smshook_read LOGIN CONNECTION LIMIT 10;
        ALTER ROLE smshook_read SET default_transaction_read_only = on;
        ALTER ROLE smshook_read SET statement_timeout = '30s';
        ALTER ROLE smshook_read SET idle_in_transaction_session_timeout = '60s';
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'role smshook_read not created: this account may not create roles';
    WHEN duplicate_object OR unique_violation THEN
        NULL;
END
$$;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'smshook_read') THEN
        GRANT USAGE ON SCHEMA v1 TO smshook_read;
        GRANT SELECT ON ALL TABLES IN SCHEMA v1 TO smshook_read;
        -- the views call it with the reader's own rights
        GRANT USAGE ON SCHEMA smshook TO smshook_read;
        GRANT EXECUTE ON FUNCTION smshook.readable(bytea) TO smshook_read;
    END IF;
END
$$;
