-- What a look at a connection found: whether all is there that a sync needs, and right. And when a record changed.

-- The latest check of each connection: the one that is asked for, and what the last one that came to an end found.
create table connection_check (
    org_id uuid not null,
    connection_id uuid not null,
    status text not null constraint connection_check_status_check check (status in ('queued', 'running', 'done')),
    requested_at timestamptz,
    requested_by text,
    run_at timestamptz not null default lockstep_now(),
    rung_at timestamptz not null default lockstep_now(),
    -- Looks in a row that came to nothing.
    attempts integer not null default 0,
    -- The worker that is at it; asking again takes it out of its hands.
    token uuid,
    held_until timestamptz,
    checked_at timestamptz,
    -- The remote's own version; none where it could not be looked at.
    version text,
    findings jsonb not null default '[]' constraint connection_check_findings_check check (jsonb_typeof(findings) = 'array'),
    -- Why it could not be looked at.
    error text,
    constraint connection_check_pkey primary key (org_id, connection_id),
    constraint connection_check_connection_fkey foreign key (org_id, connection_id)
        references connection (org_id, connection_id) on delete cascade,
    constraint connection_check_token_check check (
        (status = 'running') = (token is not null) and (token is null) = (held_until is null)),
    constraint connection_check_result_check check (
        (checked_at is null) = (version is null and error is null) and (version is null or error is null))
);
select protect('connection_check');
create index connection_check_waiting_index on connection_check (rung_at) where status <> 'done';
grant select, insert on connection_check to lockstep_api;
grant update (status, requested_at, requested_by, run_at, rung_at, attempts, token, held_until)
    on connection_check to lockstep_api;
grant select, insert, update on connection_check to lockstep_worker;

create policy fleet on connection_check to lockstep_fleet using (true) with check (true);
grant select on connection_check to lockstep_fleet;
grant update (rung_at) on connection_check to lockstep_fleet;

-- The sweep, for checks: a worker serves all organisations and can't know beforehand which of them lost a bell.
create function fleet_silent_check(quiet interval, most integer)
    returns table (org_id uuid, connection_id uuid)
    language sql security definer set search_path = public
    as $$
    update connection_check k
       set rung_at = lockstep_now()
      from (
          select c.org_id, c.connection_id
            from connection_check c
           where ((c.status = 'queued' and c.run_at <= lockstep_now())
                  or (c.status = 'running' and c.held_until <= lockstep_now()))
             and c.rung_at <= lockstep_now() - quiet
           order by c.rung_at
           limit most
             for update skip locked
      ) silent
     where k.org_id = silent.org_id and k.connection_id = silent.connection_id
    returning k.org_id, k.connection_id
    $$;
grant create on schema public to lockstep_fleet;
alter function fleet_silent_check(interval, integer) owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_silent_check(interval, integer) from public;
grant execute on function fleet_silent_check(interval, integer) to lockstep_worker;

-- When a record was changed where it was changed, by that system's clock; none: when we stored it, as `updated_at` says.
alter table record add column changed_at timestamptz;
grant update (changed_at) on record to lockstep_api, lockstep_worker;
