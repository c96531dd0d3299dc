-- Conflicts that are worked on: by a strategy, or by a person's answer. And syncs of single records, which carry one.

alter table sync_conflict add column strategy text not null default 'Manual'
    constraint sync_conflict_strategy_check check (strategy in ('AutoRetry', 'Manual', 'Skip'));
-- How often it was tried again in the sync that looked at it last, and when it is next.
alter table sync_conflict add column retries integer not null default 0
    constraint sync_conflict_retries_check check (retries >= 0);
alter table sync_conflict add column next_retry_at timestamptz;
-- Moves on with everything that a person should have seen before they answer.
alter table sync_conflict add column version bigint not null default 1;
alter table sync_conflict add column updated_at timestamptz not null default lockstep_now();
-- Who answered; none where it solved itself.
alter table sync_conflict add column resolved_by text;
alter table sync_conflict add constraint sync_conflict_resolution_check check (resolution_action in (
    'accept', 'reject', 'custom', 'solved_itself'));
alter table sync_conflict add constraint sync_conflict_next_retry_check
    check (next_retry_at is null or strategy = 'AutoRetry');
grant update (version) on sync_conflict to lockstep_api;

-- What was there before gets its strategy, and of several conflicts about one connection's credentials one stays. Even the
-- owner sees rows only where row-level security is not forced.
alter table sync_conflict no force row level security;
update sync_conflict set strategy = 'Skip' where conflict_type = 'DuplicateKey';
update sync_conflict c set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now()
 where c.conflict_type = 'AuthError' and not c.is_resolved and c.item_id is null
   and exists (select from sync_conflict o
                where o.org_id = c.org_id and o.connection_id = c.connection_id and o.conflict_type = 'AuthError'
                  and not o.is_resolved and o.item_id is null and (o.created_at, o.id) > (c.created_at, c.id));
alter table sync_conflict force row level security;
-- Refused credentials are about the connection, whichever types of records met them.
create unique index sync_conflict_auth_key on sync_conflict (org_id, connection_id)
    where not is_resolved and item_id is null and conflict_type = 'AuthError';
create index sync_conflict_list_index on sync_conflict (org_id, created_at desc, id desc);
create index sync_conflict_resolved_index on sync_conflict (org_id, resolved_at) where resolved_at is not null;

-- A person's answer to a conflict, until a worker has applied it and after. At most one for each: a second answer is
-- impossible.
create table conflict_resolution (
    org_id uuid not null,
    conflict_id uuid not null,
    action text not null constraint conflict_resolution_action_check check (action in ('accept', 'reject', 'custom')),
    -- The record that was given, in canonical form.
    content jsonb,
    -- What the conflict said when it was answered: what the remote changes later was not answered.
    seen jsonb not null,
    occasion text not null constraint conflict_resolution_occasion_check check (occasion in ('running', 'next', 'now')),
    -- The sync that carries it, where it is one of its own or was joined.
    sync_id uuid,
    requested_by text not null,
    requested_at timestamptz not null default lockstep_now(),
    run_at timestamptz not null default lockstep_now(),
    rung_at timestamptz not null default lockstep_now(),
    applied_at timestamptz,
    outcome text,
    constraint conflict_resolution_pkey primary key (org_id, conflict_id),
    constraint conflict_resolution_conflict_fkey foreign key (org_id, conflict_id) references sync_conflict (org_id, id)
        on delete cascade,
    constraint conflict_resolution_sync_fkey foreign key (org_id, sync_id) references sync_orchestration (org_id, sync_id),
    constraint conflict_resolution_content_check check ((content is not null) = (action = 'custom')),
    constraint conflict_resolution_applied_check check ((applied_at is null) = (outcome is null))
);
select protect('conflict_resolution');
create index conflict_resolution_waiting_index on conflict_resolution (org_id, run_at) where applied_at is null;
create index conflict_resolution_silent_index on conflict_resolution (rung_at) where applied_at is null;
create index conflict_resolution_sync_index on conflict_resolution (org_id, sync_id) where sync_id is not null;
grant select, insert on conflict_resolution to lockstep_api;
-- Deleting is for answers that could not be carried out: the conflict may be answered again.
grant select, update, delete on conflict_resolution to lockstep_worker;

create policy fleet on conflict_resolution to lockstep_fleet using (true) with check (true);
grant select on conflict_resolution to lockstep_fleet;
grant update (rung_at) on conflict_resolution to lockstep_fleet;

-- The sweep, for answers: a worker serves all organisations and can't know beforehand which of them lost a bell.
create function fleet_silent_resolution(quiet interval, most integer)
    returns table (org_id uuid)
    language sql security definer set search_path = public
    as $$
    with rung as (
        update conflict_resolution k
           set rung_at = lockstep_now()
          from (
              select c.org_id, c.conflict_id
                from conflict_resolution c
               where c.applied_at is null and c.run_at <= lockstep_now() and c.rung_at <= lockstep_now() - quiet
               order by c.rung_at
               limit most
                 for update skip locked
          ) silent
         where k.org_id = silent.org_id and k.conflict_id = silent.conflict_id
        returning k.org_id
    )
    select distinct rung.org_id from rung
    $$;
grant create on schema public to lockstep_fleet;
alter function fleet_silent_resolution(interval, integer) owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_silent_resolution(interval, integer) from public;
grant execute on function fleet_silent_resolution(interval, integer) to lockstep_worker;

-- The records that a sync is about, where it is not about all: it pulls nothing, and pushes what of them is due.
create table sync_record (
    org_id uuid not null,
    sync_id uuid not null,
    record_id uuid not null,
    constraint sync_record_pkey primary key (org_id, sync_id, record_id),
    constraint sync_record_sync_fkey foreign key (org_id, sync_id) references sync_orchestration (org_id, sync_id)
        on delete cascade,
    constraint sync_record_record_fkey foreign key (org_id, record_id) references record (org_id, record_id)
        on delete cascade
);
select protect('sync_record');
create index sync_record_record_index on sync_record (org_id, record_id);
grant select, insert on sync_record to lockstep_api;
grant select on sync_record to lockstep_worker;
alter table sync_stage drop constraint sync_stage_scope_check;
alter table sync_stage add constraint sync_stage_scope_check check (scope in ('all', 'named', 'listed'));
