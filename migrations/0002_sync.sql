-- Syncs, their commands, stages and batches.

create table sync_orchestration (
    sync_id uuid not null constraint sync_orchestration_pkey primary key,
    org_id uuid not null constraint sync_orchestration_organisation_fkey references organisation,
    systems jsonb not null constraint sync_orchestration_systems_check check (jsonb_typeof(systems) = 'array'),
    entity_types jsonb not null
        constraint sync_orchestration_entity_types_check check (jsonb_typeof(entity_types) = 'array'),
    connection_ids jsonb not null
        constraint sync_orchestration_connection_ids_check check (jsonb_typeof(connection_ids) = 'array'),
    status text not null constraint sync_orchestration_status_check check (status in (
        'draft', 'queued', 'processing', 'pausing', 'paused', 'cancelling', 'cancelled', 'done', 'partial', 'failed')),
    config jsonb not null default '{}',
    -- Sequence of the last command accepted for it.
    command_sequence integer not null default 0,
    requested_by text not null,
    traceparent text,
    created_at timestamptz not null default lockstep_now(),
    started_at timestamptz,
    completed_at timestamptz,
    error_message text,
    constraint sync_orchestration_org_key unique (org_id, sync_id),
    constraint sync_orchestration_completed_check
        check ((completed_at is not null) = (status in ('cancelled', 'done', 'partial', 'failed'))),
    constraint sync_orchestration_started_check
        check (started_at is not null or status in ('draft', 'queued', 'paused', 'cancelling', 'cancelled'))
);
select protect('sync_orchestration');
create index sync_orchestration_org_id_index on sync_orchestration (org_id, created_at desc, sync_id desc);
create index sync_orchestration_status_index on sync_orchestration (status)
    where status not in ('cancelled', 'done', 'partial', 'failed');
grant select, insert on sync_orchestration to lockstep_api;
grant update (command_sequence) on sync_orchestration to lockstep_api;
grant select on sync_orchestration to lockstep_worker;
grant update (status, started_at, completed_at, error_message) on sync_orchestration to lockstep_worker;

-- The moves that a sync may make; the type `sync::Status` allows the same.
create table sync_move (
    from_status text not null,
    to_status text not null,
    constraint sync_move_pkey primary key (from_status, to_status)
);
insert into sync_move (from_status, to_status) values
    ('draft', 'queued'), ('draft', 'cancelled'),
    ('queued', 'processing'), ('queued', 'paused'), ('queued', 'cancelled'), ('queued', 'failed'),
    ('processing', 'pausing'), ('processing', 'cancelling'),
    ('processing', 'done'), ('processing', 'partial'), ('processing', 'failed'),
    ('pausing', 'paused'), ('pausing', 'processing'), ('pausing', 'cancelling'),
    ('paused', 'processing'), ('paused', 'queued'), ('paused', 'cancelling'), ('paused', 'cancelled'),
    ('cancelling', 'cancelled');
grant select on sync_move to lockstep_api, lockstep_worker;

create function refuse_illegal_sync_move() returns trigger
    language plpgsql
    as $$
begin
    if not exists (select from sync_move where from_status = old.status and to_status = new.status) then
        raise exception 'sync % can''t go from % to %', old.sync_id, old.status, new.status
            using errcode = 'check_violation', constraint = 'sync_orchestration_move_check';
    end if;
    return new;
end
$$;
create trigger sync_orchestration_move before update of status on sync_orchestration
    for each row when (old.status is distinct from new.status) execute function refuse_illegal_sync_move();

create table sync_command (
    org_id uuid not null,
    command_id uuid not null,
    sync_id uuid not null,
    -- Commands of one sync are applied in this order, whatever order their bells arrive in.
    sequence integer not null constraint sync_command_sequence_check check (sequence > 0),
    kind text not null constraint sync_command_kind_check check (kind in ('start', 'pause', 'resume', 'cancel')),
    requested_by text not null,
    traceparent text,
    created_at timestamptz not null default lockstep_now(),
    rung_at timestamptz not null default lockstep_now(),
    applied_at timestamptz,
    outcome text,
    constraint sync_command_pkey primary key (org_id, command_id),
    constraint sync_command_sync_fkey foreign key (org_id, sync_id) references sync_orchestration (org_id, sync_id),
    constraint sync_command_sequence_key unique (org_id, sync_id, sequence),
    constraint sync_command_applied_check check ((applied_at is null) = (outcome is null))
);
select protect('sync_command');
create index sync_command_waiting_index on sync_command (rung_at) where applied_at is null;
grant select, insert on sync_command to lockstep_api;
grant select on sync_command to lockstep_worker;
grant update (applied_at, outcome) on sync_command to lockstep_worker;

create table sync_stage (
    org_id uuid not null,
    stage_id uuid not null,
    sync_id uuid not null,
    ordinal integer not null,
    direction text not null constraint sync_stage_direction_check check (direction in ('pull', 'push')),
    connection_id uuid not null,
    entity_type text not null constraint sync_stage_entity_type_check check (entity_type in ('customers', 'products')),
    status text not null default 'waiting'
        constraint sync_stage_status_check check (status in ('waiting', 'open', 'finished', 'failed')),
    -- Push: items that became due later than this wait for the next sync.
    high_water bigint,
    -- Push: items due when the stage opened.
    total bigint not null default 0,
    error_message text,
    opened_at timestamptz,
    closed_at timestamptz,
    constraint sync_stage_pkey primary key (org_id, stage_id),
    constraint sync_stage_sync_fkey foreign key (org_id, sync_id) references sync_orchestration (org_id, sync_id),
    constraint sync_stage_connection_fkey foreign key (org_id, connection_id) references connection (org_id, connection_id),
    constraint sync_stage_ordinal_key unique (org_id, sync_id, ordinal),
    constraint sync_stage_closed_check check ((closed_at is not null) = (status in ('finished', 'failed'))),
    constraint sync_stage_failed_check check (status <> 'failed' or error_message is not null),
    constraint sync_stage_high_water_check check (status <> 'open' or direction = 'pull' or high_water is not null)
);
select protect('sync_stage');
grant select on sync_stage to lockstep_api;
grant select, insert on sync_stage to lockstep_worker;
grant update (status, high_water, total, error_message, opened_at, closed_at) on sync_stage to lockstep_worker;

create table sync_batch (
    org_id uuid not null,
    batch_id uuid not null,
    sync_id uuid not null,
    stage_id uuid not null,
    connection_id uuid not null,
    entity_type text not null,
    direction text not null,
    -- 0 is the stage's main chain; follow-ups of requests in doubt and halves of a poisonous batch have their own.
    lane integer not null constraint sync_batch_lane_check check (lane >= 0),
    status text not null default 'queued' constraint sync_batch_status_check check (status in ('queued', 'running', 'done')),
    run_at timestamptz not null,
    rung_at timestamptz not null default lockstep_now(),
    token uuid,
    owner text,
    lease_until timestamptz,
    -- The lane has picked every item that became due up to here.
    position bigint not null default 0,
    item_count integer not null default 0,
    -- Calls that failed one after another; a call that succeeds sets it back.
    attempts integer not null default 0,
    -- How often it was taken from an owner whose lease had run out; progress sets it back.
    takeovers integer not null default 0,
    seen_count integer not null default 0,
    created_count integer not null default 0,
    updated_count integer not null default 0,
    unchanged_count integer not null default 0,
    skipped_count integer not null default 0,
    failed_count integer not null default 0,
    conflict_count integer not null default 0,
    in_doubt_count integer not null default 0,
    traceparent text,
    opened_at timestamptz not null default lockstep_now(),
    closed_at timestamptz,
    error_message text,
    constraint sync_batch_pkey primary key (org_id, batch_id),
    constraint sync_batch_stage_fkey foreign key (org_id, stage_id) references sync_stage (org_id, stage_id),
    constraint sync_batch_owner_check check (
        (status = 'running') = (token is not null)
        and (token is null) = (lease_until is null) and (token is null) = (owner is null)),
    constraint sync_batch_closed_check check ((closed_at is not null) = (status = 'done'))
);
select protect('sync_batch');
-- At most one open batch per lane.
create unique index sync_batch_lane_key on sync_batch (org_id, stage_id, lane) where status <> 'done';
-- Pages of one connection and entity type exclude each other, whichever sync they belong to.
create unique index sync_batch_page_key on sync_batch (org_id, connection_id, entity_type)
    where direction = 'pull' and status = 'running';
create index sync_batch_stage_index on sync_batch (org_id, stage_id);
create index sync_batch_running_index on sync_batch (org_id) where status = 'running';
create index sync_batch_due_index on sync_batch (run_at) where status = 'queued';
create index sync_batch_lease_index on sync_batch (lease_until) where status = 'running';
grant select on sync_batch to lockstep_api;
-- Deleting is for batches that nothing joined only.
grant select, insert, update, delete on sync_batch to lockstep_worker;
