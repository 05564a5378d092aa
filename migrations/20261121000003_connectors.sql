-- What connectors remember of a sender, who may find or create for a sender, and actions that wait for working credentials.
-- Forward only: never edited once released.

CREATE TABLE smshook.links (
    account    text        NOT NULL,
    action     text        NOT NULL,
    sender     text        NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('contact', 'ticket', 'thread')),
    remote_id  text        NOT NULL,
    kept       jsonb       NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, action, sender, kind),
    CHECK ((kind = 'contact') = (action = ''))
);
COMMENT ON TABLE smshook.links IS 'What stands for a sender in an outside system: the contact, the latest ticket, the thread. A hint: the outside system is asked before it is relied on.';
COMMENT ON COLUMN smshook.links.account IS 'The account in the outside system, hashed: what is remembered of one is never used with another.';
COMMENT ON COLUMN smshook.links.action IS 'The action whose ticket or thread it is; empty for a contact, which all actions of the account share.';
COMMENT ON COLUMN smshook.links.sender IS 'The sender, as in messages.';
COMMENT ON COLUMN smshook.links.kind IS 'contact, ticket or thread.';
COMMENT ON COLUMN smshook.links.remote_id IS 'Its ID in the outside system.';
COMMENT ON COLUMN smshook.links.kept IS 'Further values of it that templates use, such as a ticket''s number.';
COMMENT ON COLUMN smshook.links.updated_at IS 'When it was last written.';

CREATE TABLE smshook.turns (
    account  text        NOT NULL,
    sender   text        NOT NULL,
    job_id   bigint      NOT NULL REFERENCES smshook.jobs (id) ON DELETE CASCADE,
    claim    integer     NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, sender)
);
COMMENT ON TABLE smshook.turns IS 'Who finds or creates for a sender in an account, one job at a time: two actions must not create two contacts. A job that has ended holds nothing, whatever stands here.';
COMMENT ON COLUMN smshook.turns.account IS 'The account in the outside system, hashed.';
COMMENT ON COLUMN smshook.turns.sender IS 'The sender, as in messages.';
COMMENT ON COLUMN smshook.turns.job_id IS 'The job whose turn it is until it ends or leaves it, through retries and the death of its process.';
COMMENT ON COLUMN smshook.turns.claim IS 'The claim under which that job took it last.';
COMMENT ON COLUMN smshook.turns.taken_at IS 'When it was taken last.';
CREATE INDEX turns_by_job ON smshook.turns (job_id);

CREATE TABLE smshook.paused_actions (
    action    text        PRIMARY KEY,
    reason    text        NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    trial_at  timestamptz NOT NULL,
    failures  integer     NOT NULL DEFAULT 1 CHECK (failures > 0)
);
COMMENT ON TABLE smshook.paused_actions IS 'Actions whose credentials are refused: their jobs wait, unharmed, until a trial succeeds or an operator resumes them.';
COMMENT ON COLUMN smshook.paused_actions.action IS 'The configured action.';
COMMENT ON COLUMN smshook.paused_actions.reason IS 'What the other side said last.';
COMMENT ON COLUMN smshook.paused_actions.paused_at IS 'When it was paused.';
COMMENT ON COLUMN smshook.paused_actions.trial_at IS 'From then on one job is tried; while it runs, when its lease ends.';
COMMENT ON COLUMN smshook.paused_actions.failures IS 'How often it was refused since it was paused: the trials get rarer with it.';

CREATE VIEW v1.paused_actions AS
SELECT p.action, p.reason, p.paused_at, p.trial_at, p.failures
FROM smshook.paused_actions p;
COMMENT ON VIEW v1.paused_actions IS 'Actions that wait for working credentials; `smshook jobs resume ACTION` lets one go on.';
COMMENT ON COLUMN v1.paused_actions.action IS 'The configured action.';
COMMENT ON COLUMN v1.paused_actions.reason IS 'What the other side said last.';
COMMENT ON COLUMN v1.paused_actions.paused_at IS 'When it was paused.';
COMMENT ON COLUMN v1.paused_actions.trial_at IS 'From then on one job is tried; while it runs, when its lease ends.';
COMMENT ON COLUMN v1.paused_actions.failures IS 'How often it was refused since it was paused: the trials get rarer with it.';
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'smshook_read') THEN
        GRANT SELECT ON v1.paused_actions TO smshook_read;
    END IF;
END
$$;
