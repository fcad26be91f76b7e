-- One row per task: the newest state, and the canonical result once it ended.
CREATE TABLE tasks (
    tenant_id               text   NOT NULL,
    task_id                 text   NOT NULL,
    intent                  text   NOT NULL,
    state                   text   NOT NULL,
    priority                text,
    privacy                 text,
    engine                  text,
    outcome                 text,
    status                  text,
    accepted_at_ms          bigint NOT NULL,
    ended_at_ms             bigint,
    attempts                integer NOT NULL DEFAULT 0,
    attempts_cost_nanousd   bigint NOT NULL DEFAULT 0,
    cost_nanousd            bigint NOT NULL DEFAULT 0,
    result                  text,
    first_sequence          bigint NOT NULL,
    last_sequence           bigint NOT NULL,
    PRIMARY KEY (tenant_id, task_id)
);

-- The order of a tenant's list, newest first.
CREATE INDEX tasks_newest_first ON tasks (tenant_id, accepted_at_ms DESC, task_id DESC);

-- What is billed: one row per task, written with its one terminal event and never changed.
CREATE TABLE usage_billing (
    tenant_id       text   NOT NULL,
    task_id         text   NOT NULL,
    event_id        text   NOT NULL,
    intent          text   NOT NULL,
    engine          text,
    route           text   NOT NULL,
    outcome         text   NOT NULL,
    tokens          bigint NOT NULL CHECK (tokens >= 0),
    latency_ms      bigint NOT NULL CHECK (latency_ms >= 0),
    cost_nanousd    bigint NOT NULL CHECK (cost_nanousd >= 0),
    ended_at_ms     bigint NOT NULL,
    sequence        bigint NOT NULL,
    PRIMARY KEY (tenant_id, task_id)
);

CREATE INDEX usage_billing_by_time ON usage_billing (tenant_id, ended_at_ms);

CREATE TABLE audit_activity (
    tenant_id   text   NOT NULL,
    event_id    text   NOT NULL,
    kind        text   NOT NULL,
    at_ms       bigint NOT NULL,
    actor       text   NOT NULL,
    subject     text   NOT NULL,
    detail      text   NOT NULL,
    sequence    bigint NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
);

CREATE INDEX audit_activity_by_time ON audit_activity (tenant_id, at_ms);

-- Events that could not be read, kept whole: the projection goes on, nothing is dropped.
CREATE TABLE unreadable (
    sequence    bigint PRIMARY KEY,
    log_subject text   NOT NULL,
    reason      text   NOT NULL,
    data        bytea  NOT NULL
);

-- How far the log is in these tables; written in the transaction that writes them.
CREATE TABLE projection_position (
    projection  text   PRIMARY KEY,
    sequence    bigint NOT NULL,
    created     text   NOT NULL,
    event_id    text   NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
