-- Records, how each connection sees them, what was written to the remotes, and where people have to decide.

create table record (
    org_id uuid not null constraint record_organisation_fkey references organisation,
    record_id uuid not null,
    entity_type text not null constraint record_entity_type_check check (entity_type in ('customers', 'products')),
    content jsonb not null constraint record_content_check check (jsonb_typeof(content) = 'object'),
    content_hash bytea not null constraint record_content_hash_check check (length(content_hash) = 32),
    version bigint not null default 1,
    created_at timestamptz not null default lockstep_now(),
    updated_at timestamptz not null default lockstep_now(),
    constraint record_pkey primary key (org_id, record_id)
);
select protect('record');
create index record_list_index on record (org_id, entity_type, record_id);
grant select, insert on record to lockstep_api, lockstep_worker;
grant update (content, content_hash, version, updated_at) on record to lockstep_api, lockstep_worker;

-- By what a record is known again in another system. Not unique: two partners of an ERP may share an e-mail address.
create table record_key (
    org_id uuid not null,
    entity_type text not null,
    kind text not null constraint record_key_kind_check check (kind in ('sku', 'barcode', 'email')),
    value text not null,
    record_id uuid not null,
    constraint record_key_pkey primary key (org_id, entity_type, kind, value, record_id),
    constraint record_key_record_fkey foreign key (org_id, record_id) references record (org_id, record_id) on delete cascade
);
select protect('record_key');
create index record_key_record_index on record_key (org_id, record_id);
grant select, insert, delete on record_key to lockstep_api, lockstep_worker;

-- Grows with everything that becomes due: lanes walk it, high-water marks are set on it.
create sequence item_due_sequence;
grant usage, select on sequence item_due_sequence to lockstep_api, lockstep_worker;

create table item (
    org_id uuid not null,
    item_id uuid not null,
    connection_id uuid not null,
    record_id uuid not null,
    entity_type text not null,
    state text not null constraint item_state_check check (state in (
        'pending', 'synced', 'failed', 'skipped', 'conflict', 'in_doubt')),
    -- Moves up whenever the item has to be looked at again; what settles an item compares it.
    due_sequence bigint not null default nextval('item_due_sequence'),
    external_id text,
    -- Remote ids of the parts of it that have their own, such as a product's variants.
    parts jsonb not null default '{}',
    -- What both sides agreed on last, as the remote can hold it; its generation tells 10 → 12 → 10 apart.
    base jsonb,
    generation bigint not null default 0,
    retries integer not null default 0,
    -- A retry within the running stage.
    retry_stage_id uuid,
    retry_at timestamptz,
    last_error text,
    last_synced_at timestamptz,
    -- The open batch that has it in hand: at most one, whichever sync it belongs to.
    batch_id uuid,
    constraint item_pkey primary key (org_id, item_id),
    constraint item_record_key unique (org_id, connection_id, record_id),
    constraint item_record_fkey foreign key (org_id, record_id) references record (org_id, record_id),
    constraint item_connection_fkey foreign key (org_id, connection_id) references connection (org_id, connection_id),
    constraint item_batch_fkey foreign key (org_id, batch_id) references sync_batch (org_id, batch_id),
    constraint item_retry_check check ((retry_stage_id is null) = (retry_at is null)),
    constraint item_in_doubt_check check (state <> 'in_doubt' or batch_id is not null),
    constraint item_base_check check (base is null or external_id is not null)
);
select protect('item');
create unique index item_external_id_key on item (org_id, connection_id, entity_type, external_id)
    where external_id is not null;
-- What the next batch of a lane picks from.
create index item_due_index on item (org_id, connection_id, entity_type, due_sequence)
    where state in ('pending', 'failed') and batch_id is null and retry_stage_id is null;
create index item_retry_index on item (org_id, retry_stage_id, retry_at) where retry_stage_id is not null;
create index item_batch_index on item (org_id, batch_id) where batch_id is not null;
create index item_record_index on item (org_id, record_id);
grant select, insert, update on item to lockstep_worker;
grant select, insert on item to lockstep_api;
grant update (state, due_sequence, retries, retry_stage_id, retry_at) on item to lockstep_api;

create table pull_cursor (
    org_id uuid not null,
    connection_id uuid not null,
    entity_type text not null,
    position jsonb not null,
    -- A page is stored only where the generation is the one it was read at: the cursor never runs ahead of the rows.
    generation bigint not null default 0,
    updated_at timestamptz not null default lockstep_now(),
    constraint pull_cursor_pkey primary key (org_id, connection_id, entity_type),
    constraint pull_cursor_connection_fkey foreign key (org_id, connection_id)
        references connection (org_id, connection_id)
);
select protect('pull_cursor');
grant select, insert, update on pull_cursor to lockstep_worker;

-- Every external write: noted before it is sent, and what became of it.
create table sync_idempotency_log (
    org_id uuid not null,
    effect_id uuid not null,
    sync_id uuid not null,
    batch_id uuid not null,
    connection_id uuid not null,
    item_id uuid not null,
    record_id uuid not null,
    -- Hash of connection, record, operation, content and base generation.
    idempotency_key bytea not null constraint sync_idempotency_log_key_check check (length(idempotency_key) = 32),
    operation text not null,
    -- Which of the calls that one thing needs.
    step smallint not null,
    -- The item's base generation when it was intended: an applied effect of the item's own generation is not settled yet.
    generation bigint not null,
    -- What it carries; becomes the item's base when it was applied.
    content jsonb not null,
    state text not null constraint sync_idempotency_log_state_check check (state in ('intended', 'applied', 'rejected', 'in_doubt')),
    -- The claim it was intended under.
    token uuid not null,
    -- The request is not started after this and has timed out before it.
    call_deadline timestamptz not null,
    -- From here on a late request can no longer arrive.
    quiet_at timestamptz not null,
    external_id text,
    parts jsonb,
    next_step smallint,
    error jsonb,
    created_at timestamptz not null default lockstep_now(),
    resolved_at timestamptz,
    constraint sync_idempotency_log_pkey primary key (org_id, effect_id),
    constraint sync_idempotency_log_key_key unique (idempotency_key),
    constraint sync_idempotency_log_sync_fkey foreign key (org_id, sync_id) references sync_orchestration (org_id, sync_id),
    constraint sync_idempotency_log_item_fkey foreign key (org_id, item_id) references item (org_id, item_id),
    constraint sync_idempotency_log_resolved_check
        check ((resolved_at is not null) = (state in ('applied', 'rejected'))),
    constraint sync_idempotency_log_quiet_check check (quiet_at >= call_deadline)
);
select protect('sync_idempotency_log');
-- At most one unresolved effect per item: it is resolved before anything new is intended for the item.
create unique index sync_idempotency_log_unresolved_key on sync_idempotency_log (org_id, item_id)
    where state in ('intended', 'in_doubt');
create index sync_idempotency_log_sync_id_index on sync_idempotency_log (sync_id);
create index sync_idempotency_log_item_index on sync_idempotency_log (org_id, item_id, created_at);
create index sync_idempotency_log_batch_index on sync_idempotency_log (org_id, batch_id)
    where state in ('intended', 'in_doubt');
grant select on sync_idempotency_log to lockstep_api;
-- Deleting is for intents that were never sent only.
grant select, insert, update, delete on sync_idempotency_log to lockstep_worker;

create table sync_conflict (
    id uuid not null,
    org_id uuid not null,
    sync_id uuid,
    connection_id uuid not null,
    item_id uuid,
    entity_type text not null,
    conflict_type text not null constraint sync_conflict_type_check check (conflict_type in (
        'DataMismatch', 'DuplicateKey', 'ValidationError', 'AuthError', 'RetryExhausted')),
    -- base, ours, theirs, fields, the proposed merge, and the remote's own words
    data jsonb not null,
    is_resolved boolean not null default false,
    resolution_action text,
    resolved_data jsonb,
    created_at timestamptz not null default lockstep_now(),
    resolved_at timestamptz,
    constraint sync_conflict_pkey primary key (org_id, id),
    constraint sync_conflict_sync_fkey foreign key (org_id, sync_id) references sync_orchestration (org_id, sync_id),
    constraint sync_conflict_item_fkey foreign key (org_id, item_id) references item (org_id, item_id),
    constraint sync_conflict_resolved_check
        check (is_resolved = (resolved_at is not null) and is_resolved = (resolution_action is not null))
);
select protect('sync_conflict');
create index sync_conflict_sync_id_index on sync_conflict (sync_id);
create index sync_conflict_type_index on sync_conflict (org_id, conflict_type, created_at);
create index sync_conflict_open_index on sync_conflict (org_id, is_resolved, created_at);
-- One open conflict per item and type: a sync that finds it again adds nothing.
create unique index sync_conflict_item_key on sync_conflict (org_id, item_id, conflict_type)
    where not is_resolved and item_id is not null;
create unique index sync_conflict_connection_key on sync_conflict (org_id, connection_id, conflict_type)
    where not is_resolved and item_id is null;
grant select on sync_conflict to lockstep_api;
grant select, insert, update on sync_conflict to lockstep_worker;
