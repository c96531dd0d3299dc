-- What organisations are told of: addresses of theirs, and each notification on its way to one of them.

create table notification_endpoint (
    org_id uuid not null constraint notification_endpoint_organisation_fkey references organisation,
    endpoint_id uuid not null,
    url text not null constraint notification_endpoint_url_check check (url ~ '^https?://' and length(url) <= 2000),
    -- What notifications are signed with: AEAD, with organisation and endpoint as associated data.
    sealed_secret bytea not null,
    key_id text not null,
    events text[] not null
        constraint notification_endpoint_events_check check (
            cardinality(events) > 0
            and events <@ array['sync.finished', 'sync.failed', 'conflict.opened', 'connection.needs_attention']),
    -- Why nothing is sent to it any more; none while it is in use.
    disabled_because text,
    created_at timestamptz not null default lockstep_now(),
    constraint notification_endpoint_pkey primary key (org_id, endpoint_id)
);
select protect('notification_endpoint');
grant select, insert, delete on notification_endpoint to lockstep_api;
grant update (url, events, disabled_because) on notification_endpoint to lockstep_api;
grant select on notification_endpoint to lockstep_worker;
grant update (disabled_because) on notification_endpoint to lockstep_worker;

-- Written in the transaction of what it tells of, so that none is lost and none tells of what did not happen.
create table notification (
    org_id uuid not null,
    notification_id uuid not null,
    endpoint_id uuid not null,
    event text not null,
    data jsonb not null,
    created_at timestamptz not null default lockstep_now(),
    status text not null default 'pending'
        constraint notification_status_check check (status in ('pending', 'delivered', 'failed')),
    attempts integer not null default 0,
    run_at timestamptz not null default lockstep_now(),
    -- The worker that is at it, and until when it may be.
    token uuid,
    held_until timestamptz,
    -- What the last attempt came to.
    attempted_at timestamptz,
    response_status integer,
    error text,
    constraint notification_pkey primary key (org_id, notification_id),
    constraint notification_endpoint_fkey foreign key (org_id, endpoint_id)
        references notification_endpoint (org_id, endpoint_id) on delete cascade,
    constraint notification_token_check check ((token is null) = (held_until is null))
);
select protect('notification');
create index notification_due_index on notification (run_at) where status = 'pending';
create index notification_endpoint_index on notification (org_id, endpoint_id, notification_id);
grant select, insert on notification to lockstep_api;
grant update (status, attempts, run_at) on notification to lockstep_api;
grant select, insert, delete on notification to lockstep_worker;
grant update (status, attempts, run_at, token, held_until, attempted_at, response_status, error)
    on notification to lockstep_worker;

-- Claims what is due, whichever organisation it belongs to: a worker serves all of them, and no bell rings for these.
create policy fleet on notification to lockstep_fleet using (true) with check (true);
grant select on notification to lockstep_fleet;
grant update (token, held_until) on notification to lockstep_fleet;
create function fleet_claim_notifications(claim uuid, held_for interval, most integer)
    returns table (org_id uuid, notification_id uuid)
    language sql security definer set search_path = public
    as $$
    update notification n
       set token = claim, held_until = lockstep_now() + held_for
      from (
          select d.org_id, d.notification_id
            from notification d
           where d.status = 'pending' and d.run_at <= lockstep_now()
             and (d.held_until is null or d.held_until <= lockstep_now())
           order by d.run_at
           limit most
             for update skip locked
      ) due
     where n.org_id = due.org_id and n.notification_id = due.notification_id
    returning n.org_id, n.notification_id
    $$;
grant create on schema public to lockstep_fleet;
alter function fleet_claim_notifications(uuid, interval, integer) owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_claim_notifications(uuid, interval, integer) from public;
grant execute on function fleet_claim_notifications(uuid, interval, integer) to lockstep_worker;
