-- Syncs that nobody starts by hand: those that a schedule starts, and those that a store's webhooks ask for. Workers write
-- such syncs down, as the API does those of people.
grant insert on sync_orchestration to lockstep_worker;
grant update (command_sequence) on sync_orchestration to lockstep_worker;
grant insert on sync_command to lockstep_worker;
-- Starts of one organisation go one after another by a lock on its row, which takes a right to change some column of it.
grant update (name) on organisation to lockstep_worker;

-- When to start what by itself.
create table schedule (
    org_id uuid not null constraint schedule_organisation_fkey references organisation,
    schedule_id uuid not null,
    name text not null constraint schedule_name_check check (length(name) between 1 and 200),
    -- Five fields; the time zone is a name of the IANA database.
    cron text not null,
    time_zone text not null,
    -- What to bring into step; null does not limit it.
    systems jsonb constraint schedule_systems_check check (jsonb_typeof(systems) = 'array'),
    connection_ids jsonb constraint schedule_connection_ids_check check (jsonb_typeof(connection_ids) = 'array'),
    entity_types jsonb not null constraint schedule_entity_types_check check (jsonb_typeof(entity_types) = 'array'),
    config jsonb not null default '{}',
    is_enabled boolean not null,
    -- When it is due; later than its pattern says where a run is put off.
    next_run_at timestamptz,
    -- What became of the last time that it was due.
    last_run_at timestamptz,
    last_outcome text constraint schedule_last_outcome_check check (last_outcome in ('started', 'skipped', 'put_off', 'refused')),
    last_detail text,
    -- The sync that it started last.
    last_sync_id uuid,
    version integer not null default 1 constraint schedule_version_check check (version > 0),
    created_by text not null,
    created_at timestamptz not null default lockstep_now(),
    updated_at timestamptz not null default lockstep_now(),
    constraint schedule_pkey primary key (org_id, schedule_id),
    constraint schedule_name_key unique (org_id, name),
    constraint schedule_last_sync_fkey foreign key (org_id, last_sync_id) references sync_orchestration (org_id, sync_id)
        on delete set null (last_sync_id),
    constraint schedule_enabled_check check (is_enabled = (next_run_at is not null)),
    constraint schedule_last_run_check check ((last_run_at is null) = (last_outcome is null))
);
select protect('schedule');
create index schedule_due_index on schedule (next_run_at) where is_enabled;
grant select, insert, update, delete on schedule to lockstep_api;
grant select on schedule to lockstep_worker;
grant update (next_run_at, last_run_at, last_outcome, last_detail, last_sync_id) on schedule to lockstep_worker;

-- The webhooks of a store: whether they are wanted, and what the last look at them saw.
create table connection_webhook (
    org_id uuid not null,
    connection_id uuid not null,
    is_wanted boolean not null,
    delivery_url text not null constraint connection_webhook_delivery_url_check check (delivery_url ~ '^https?://'),
    -- What the store signs its deliveries with, sealed as credentials are.
    sealed_secret bytea not null,
    key_id text not null,
    requested_by text not null,
    requested_at timestamptz not null default lockstep_now(),
    -- `idle`: they are not wanted, and none is left.
    status text not null constraint connection_webhook_status_check check (status in ('queued', 'running', 'idle')),
    run_at timestamptz not null default lockstep_now(),
    rung_at timestamptz not null default lockstep_now(),
    -- Looks in a row that came to nothing.
    attempts integer not null default 0,
    -- The worker that is at it; changing what is wanted takes it out of its hands.
    token uuid,
    held_until timestamptz,
    looked_at timestamptz,
    hooks jsonb not null default '[]' constraint connection_webhook_hooks_check check (jsonb_typeof(hooks) = 'array'),
    error text,
    -- Looks that found one disabled, since a delivery arrived last; and when one was enabled again last.
    disabled_count integer not null default 0,
    enabled_again_at timestamptz,
    constraint connection_webhook_pkey primary key (org_id, connection_id),
    -- A delivery names the connection and no organisation.
    constraint connection_webhook_connection_key unique (connection_id),
    constraint connection_webhook_connection_fkey foreign key (org_id, connection_id)
        references connection (org_id, connection_id) on delete cascade,
    constraint connection_webhook_token_check check (
        (status = 'running') = (token is not null) and (token is null) = (held_until is null))
);
select protect('connection_webhook');
create index connection_webhook_waiting_index on connection_webhook (rung_at) where status <> 'idle';
grant select, insert on connection_webhook to lockstep_api;
grant update (is_wanted, delivery_url, sealed_secret, key_id, requested_by, requested_at, status, run_at, rung_at, attempts,
              token, held_until, error, disabled_count, enabled_again_at)
    on connection_webhook to lockstep_api;
grant select on connection_webhook to lockstep_worker;
grant update (status, run_at, rung_at, attempts, token, held_until, looked_at, hooks, error, disabled_count, enabled_again_at)
    on connection_webhook to lockstep_worker;

-- Deliveries that were accepted, so that one that comes twice is recognised. Kept for some days.
create table webhook_delivery (
    org_id uuid not null,
    connection_id uuid not null,
    delivery_id text not null constraint webhook_delivery_id_check check (length(delivery_id) between 1 and 200),
    topic text not null constraint webhook_delivery_topic_check check (length(topic) between 1 and 200),
    received_at timestamptz not null default lockstep_now(),
    constraint webhook_delivery_pkey primary key (org_id, connection_id, delivery_id),
    constraint webhook_delivery_connection_fkey foreign key (org_id, connection_id)
        references connection (org_id, connection_id) on delete cascade
);
select protect('webhook_delivery');
create index webhook_delivery_received_at_index on webhook_delivery (received_at);
grant select, insert on webhook_delivery to lockstep_api;
grant select on webhook_delivery to lockstep_worker;

-- What webhooks told of and no sync has read yet: one row per connection and type, however many deliveries there were.
create table sync_trigger (
    org_id uuid not null,
    connection_id uuid not null,
    entity_type text not null constraint sync_trigger_entity_type_check check (
        entity_type in ('customers', 'products', 'orders', 'inventory', 'payments')),
    -- The last time that it was told of; null: it was read since.
    touched_at timestamptz,
    -- When to look whether a sync has to be started for it.
    run_at timestamptz not null,
    -- The sync that was started for it last.
    last_sync_id uuid,
    constraint sync_trigger_pkey primary key (org_id, connection_id, entity_type),
    constraint sync_trigger_connection_fkey foreign key (org_id, connection_id)
        references connection (org_id, connection_id) on delete cascade,
    constraint sync_trigger_last_sync_fkey foreign key (org_id, last_sync_id)
        references sync_orchestration (org_id, sync_id) on delete set null (last_sync_id)
);
select protect('sync_trigger');
create index sync_trigger_due_index on sync_trigger (run_at) where touched_at is not null;
grant select, insert, update on sync_trigger to lockstep_api;
grant select on sync_trigger to lockstep_worker;
grant update (touched_at, run_at, last_sync_id) on sync_trigger to lockstep_worker;

-- Whether a sync has read what was told of, since it was.
create index sync_stage_read_index on sync_stage (org_id, connection_id, entity_type, opened_at) where direction = 'pull';

create policy fleet on schedule for select to lockstep_fleet using (true);
create policy fleet on connection_webhook to lockstep_fleet using (true) with check (true);
create policy fleet on webhook_delivery to lockstep_fleet using (true);
create policy fleet on sync_trigger for select to lockstep_fleet using (true);
grant select on schedule, connection_webhook, webhook_delivery, sync_trigger to lockstep_fleet;
grant update (rung_at) on connection_webhook to lockstep_fleet;
grant delete on webhook_delivery to lockstep_fleet;

-- The sweep, for schedules: a worker serves all organisations and can't know beforehand which of them has one that is due.
-- It only names them; firing is done for one organisation at a time, behind the lock on the schedule's row.
create function fleet_due_schedule(most integer)
    returns table (org_id uuid, schedule_id uuid)
    language sql security definer set search_path = public
    as $$
    select s.org_id, s.schedule_id
      from schedule s
     where s.is_enabled and s.next_run_at <= lockstep_now()
     order by s.next_run_at
     limit most
    $$;

-- The sweep, for what webhooks told of: the organisations that have something to look at.
create function fleet_due_trigger(most integer)
    returns table (org_id uuid)
    language sql security definer set search_path = public
    as $$
    select t.org_id
      from sync_trigger t
     where t.touched_at is not null and t.run_at <= lockstep_now()
     group by t.org_id
     order by min(t.run_at)
     limit most
    $$;

-- The sweep, for looks at webhooks whose bell is lost, and for the regular ones.
create function fleet_silent_webhook(quiet interval, most integer)
    returns table (org_id uuid, connection_id uuid)
    language sql security definer set search_path = public
    as $$
    update connection_webhook w
       set rung_at = lockstep_now()
      from (
          select c.org_id, c.connection_id
            from connection_webhook c
           where ((c.status = 'queued' and c.run_at <= lockstep_now())
                  or (c.status = 'running' and c.held_until <= lockstep_now()))
             and c.rung_at <= lockstep_now() - quiet
           order by c.rung_at
           limit most
             for update skip locked
      ) silent
     where w.org_id = silent.org_id and w.connection_id = silent.connection_id
    returning w.org_id, w.connection_id
    $$;

-- A delivery comes without a token of ours: it names a connection and proves itself by a signature, so that whose
-- connection it is has to be found before an organisation can be set. It tells what is needed to check that signature, of
-- one connection that wants webhooks, and nothing else.
create function fleet_webhook_receiver(wanted_id uuid)
    returns table (org_id uuid, sealed_secret bytea, key_id text)
    language sql stable security definer set search_path = public
    as $$
    select w.org_id, w.sealed_secret, w.key_id
      from connection_webhook w
     where w.connection_id = wanted_id and w.is_wanted
    $$;

-- Retention of deliveries, whichever organisation they belong to, a small batch at a time. Returns how many went.
create function fleet_forget_deliveries(older_than interval, most integer)
    returns bigint
    language sql security definer set search_path = public
    as $$
    with old as (
        select d.org_id, d.connection_id, d.delivery_id
          from webhook_delivery d
         where d.received_at < lockstep_now() - older_than
         limit most
    ), gone as (
        delete from webhook_delivery d using old
         where d.org_id = old.org_id and d.connection_id = old.connection_id and d.delivery_id = old.delivery_id
        returning 1
    )
    select count(*) from gone
    $$;

grant create on schema public to lockstep_fleet;
alter function fleet_due_schedule(integer) owner to lockstep_fleet;
alter function fleet_due_trigger(integer) owner to lockstep_fleet;
alter function fleet_silent_webhook(interval, integer) owner to lockstep_fleet;
alter function fleet_webhook_receiver(uuid) owner to lockstep_fleet;
alter function fleet_forget_deliveries(interval, integer) owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_due_schedule(integer) from public;
revoke all on function fleet_due_trigger(integer) from public;
revoke all on function fleet_silent_webhook(interval, integer) from public;
revoke all on function fleet_webhook_receiver(uuid) from public;
revoke all on function fleet_forget_deliveries(interval, integer) from public;
grant execute on function fleet_due_schedule(integer) to lockstep_worker;
grant execute on function fleet_due_trigger(integer) to lockstep_worker;
grant execute on function fleet_silent_webhook(interval, integer) to lockstep_worker;
grant execute on function fleet_forget_deliveries(interval, integer) to lockstep_worker;
grant execute on function fleet_webhook_receiver(uuid) to lockstep_api;
