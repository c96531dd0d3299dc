-- Limits that the whole fleet obeys: buckets of connections and of syncs beside those of organisations, what a system
-- that is not well has asked for, and its circuit breaker.

-- A bucket's scope is now also a connection, where its settings say how often it may be asked, or a sync that was started
-- with a rate of its own. Workers of before this take from the organisation's only.
grant update (requests_per_minute), delete on request_bucket to lockstep_api;
grant delete on request_bucket to lockstep_worker;

-- Connections whose systems are not well; one that is well has no row, so that a success writes nothing.
create table circuit (
    org_id uuid not null,
    connection_id uuid not null,
    state text not null default 'closed' constraint circuit_state_check check (state in ('closed', 'open', 'half_open')),
    -- Calls that failed one after another, whichever worker made them.
    failures integer not null default 0,
    -- Requests to slow down, one after another, without a word for how long.
    throttles integer not null default 0,
    -- How often it has opened without having been closed.
    openings integer not null default 0,
    -- No call begins before: the system asked for that.
    held_until timestamptz not null default '-infinity',
    -- The first failure since the last success.
    unwell_since timestamptz not null default lockstep_now(),
    -- When the state became what it is.
    changed_at timestamptz not null default lockstep_now(),
    -- Open: when a probe may go. Half open: when the probe under way counts as lost.
    probe_at timestamptz,
    -- Who may make calls while it is half open.
    probe_token uuid,
    error text,
    constraint circuit_pkey primary key (org_id, connection_id),
    constraint circuit_connection_fkey foreign key (org_id, connection_id)
        references connection (org_id, connection_id) on delete cascade,
    constraint circuit_probe_at_check check ((state = 'closed') = (probe_at is null)),
    constraint circuit_probe_token_check check ((state = 'half_open') = (probe_token is not null))
);
select protect('circuit');
grant select on circuit to lockstep_api;
grant select, insert, update, delete on circuit to lockstep_worker;

-- Takes the next slot of all buckets that a request comes under, or of none, in one round trip. `reserved_at` is a slot
-- that the caller has taken before and waited for.
--
-- 'go': send now. 'wait': the slot at `slot_at` is the caller's; ask again then. 'later': nothing is taken; ask again at `slot_at`.
-- 'held': the system asked for a pause until `slot_at`. 'open': its circuit is; look again at `slot_at`.
create function take_request_slot(
    for_org uuid, for_connection uuid, for_sync uuid, caller uuid, reserved_at timestamptz, patience interval,
    out verdict text, out slot_at timestamptz, out asked_at timestamptz, out is_marked boolean
)
    language plpgsql
    as $$
declare
    -- A request that its worker sends this late would come too close to the next one.
    tolerance constant interval := '1 second';
    -- How much of the organisation's time may be left unused for the sake of a narrower bucket that is not free yet.
    gap constant interval := '100 milliseconds';
    -- Slots are 61.2 s divided by the rate apart: what is late by up to 1.2 s on its way is never one too many in a minute.
    spread constant interval := '61.2 seconds';
    marked circuit;
    organisation_at timestamptz;
begin
    select * into marked from circuit k where k.org_id = for_org and k.connection_id = for_connection;
    is_marked := found;
    asked_at := lockstep_now();
    if is_marked then
        if marked.state <> 'closed' and marked.probe_token is distinct from caller then
            verdict := 'open';
            slot_at := case when marked.state = 'open' then greatest(marked.probe_at, marked.held_until)
                            else least(marked.probe_at, asked_at + interval '2 seconds') end;
            return;
        end if;
        if marked.held_until > asked_at then
            verdict := 'held';
            slot_at := marked.held_until;
            return;
        end if;
    end if;
    if reserved_at + tolerance >= asked_at then
        verdict := case when reserved_at > asked_at then 'wait' else 'go' end;
        slot_at := reserved_at;
        return;
    end if;
    -- The organisation's first: everyone locks in this order.
    perform from request_bucket b
      where b.org_id = for_org and b.scope in (for_org, for_connection, for_sync)
      order by b.scope <> for_org, b.scope
        for update;
    asked_at := lockstep_now();
    select max(greatest(b.free_at, asked_at)), max(greatest(b.free_at, asked_at)) filter (where b.scope = for_org)
      into slot_at, organisation_at
      from request_bucket b
     where b.org_id = for_org and b.scope in (for_org, for_connection, for_sync);
    if slot_at > organisation_at + gap then
        -- Taken now, it would keep the organisation's other connections waiting for this one. Asked for again just before it.
        verdict := 'later';
        slot_at := slot_at - gap / 2;
        return;
    end if;
    if slot_at > asked_at + patience then
        verdict := 'later';
        return;
    end if;
    update request_bucket b set free_at = slot_at + spread / b.requests_per_minute
     where b.org_id = for_org and b.scope in (for_org, for_connection, for_sync);
    verdict := case when slot_at > asked_at then 'wait' else 'go' end;
end
$$;
revoke all on function take_request_slot(uuid, uuid, uuid, uuid, timestamptz, interval) from public;
grant execute on function take_request_slot(uuid, uuid, uuid, uuid, timestamptz, interval) to lockstep_worker;

create policy fleet on circuit for select to lockstep_fleet using (true);
grant select on circuit to lockstep_fleet;

-- For operators and metrics: whichever organisation they belong to, the connections whose systems are not well.
create view operator_circuit as
    select org_id, connection_id, state, failures, openings, unwell_since, changed_at, probe_at,
           case when held_until > lockstep_now() then held_until end as held_until, error
      from circuit;
grant create on schema public to lockstep_fleet;
alter view operator_circuit owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
