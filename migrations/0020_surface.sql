-- Requests that are sent twice, connections that are taken away and come back, syncs of listed items, keys that change, and
-- where the history of a record is read.

-- What was answered to a request with an `Idempotency-Key`, stored with what the request made. The answer is sealed: it may
-- hold something that is shown once only.
create table idempotent_request (
    org_id uuid not null constraint idempotent_request_organisation_fkey references organisation,
    idempotency_key text not null
        constraint idempotent_request_key_check check (length(idempotency_key) between 1 and 255),
    request_id uuid not null,
    -- Method and address.
    operation text not null,
    body_hash bytea not null constraint idempotent_request_body_hash_check check (length(body_hash) = 32),
    status integer not null constraint idempotent_request_status_check check (status between 200 and 499),
    headers jsonb not null constraint idempotent_request_headers_check check (jsonb_typeof(headers) = 'object'),
    sealed_body bytea not null,
    key_id text not null,
    created_at timestamptz not null default lockstep_now(),
    constraint idempotent_request_pkey primary key (org_id, idempotency_key),
    constraint idempotent_request_request_key unique (org_id, request_id)
);
select protect('idempotent_request');
create index idempotent_request_created_at_index on idempotent_request (created_at);
grant select, insert, update on idempotent_request to lockstep_api;
create policy fleet on idempotent_request to lockstep_fleet using (true) with check (true);
grant select, delete on idempotent_request to lockstep_fleet;

-- A connection that was deleted keeps its row, and its items what is known of the remote's things: connecting the same
-- store again takes them up, and makes nothing twice. Of its credentials nothing is left.
alter table connection add column credentials_set_at timestamptz not null default lockstep_now();
alter table connection add column deleted_at timestamptz;
-- Which system it led to: a hash of its kind, its address and, of an ERP, its database.
alter table connection add column identity bytea;
alter table connection add constraint connection_deleted_check
    check (deleted_at is null or (status = 'active' and sealed_credentials = '' and key_id = ''));
alter table connection add constraint connection_identity_check
    check (identity is null or (deleted_at is not null and length(identity) = 32));
alter table connection drop constraint connection_name_key;
create unique index connection_name_key on connection (org_id, name) where deleted_at is null;
create index connection_identity_index on connection (org_id, identity) where identity is not null;
grant update (name, base_url, sealed_credentials, key_id, credentials_set_at, deleted_at, identity) on connection to lockstep_api;
grant select, delete on pull_cursor to lockstep_api;
grant delete on connection_check, connection_webhook, sync_trigger to lockstep_api;
create index sync_idempotency_log_connection_index on sync_idempotency_log (org_id, connection_id)
    where state in ('intended', 'in_doubt');
create index sync_conflict_connection_index on sync_conflict (org_id, connection_id) where not is_resolved;
create policy fleet on connection for select to lockstep_fleet using (true);
grant select on connection to lockstep_fleet;
create policy fleet_close on sync_conflict for update to lockstep_fleet using (true) with check (true);
grant update (is_resolved, resolution_action, resolved_at) on sync_conflict to lockstep_fleet;

-- A sync of listed records may be about those of some connections only; without them it is about all. It is marked itself:
-- one whose list is empty carries nothing.
alter table sync_orchestration add column is_restricted boolean not null default false;
grant update (is_restricted) on sync_orchestration to lockstep_api;
alter table sync_record add column connection_ids uuid[]
    constraint sync_record_connection_ids_check check (cardinality(connection_ids) > 0);
-- The sync that tried it last.
alter table item add column settled_sync_id uuid;
create index item_failed_index on item (org_id, settled_sync_id, item_id) where state = 'failed' and settled_sync_id is not null;

-- The history of a record.
create index sync_conflict_history_index on sync_conflict (org_id, item_id, created_at) where item_id is not null;
create index sync_activity_log_record_index on sync_activity_log (org_id, (details ->> 'recordId'), created_at)
    where details ? 'recordId';

-- Takes away what was answered more than a day ago, whichever organisation asked: nobody else goes by.
create function fleet_forget_requests(most integer) returns bigint
    language sql security definer set search_path = public
    as $$
    with old as (
        select org_id, idempotency_key
          from idempotent_request
         where created_at <= lockstep_now() - interval '24 hours'
         order by created_at
         limit most
    ), gone as (
        delete from idempotent_request r
         using old
         where r.org_id = old.org_id and r.idempotency_key = old.idempotency_key
           and r.created_at <= lockstep_now() - interval '24 hours'
        returning 1
    )
    select count(*) from gone
    $$;

-- Closes the open conflicts of connections that were deleted, a few at a time: there may be one for each of their items.
create function fleet_close_conflicts_of_deleted(most integer) returns bigint
    language sql security definer set search_path = public
    as $$
    with orphan as (
        select f.org_id, f.id
          from connection c
          join sync_conflict f on f.org_id = c.org_id and f.connection_id = c.connection_id
         where c.deleted_at is not null and not f.is_resolved
         limit most
    ), closed as (
        update sync_conflict f
           set is_resolved = true, resolution_action = 'solved_itself', resolved_at = lockstep_now()
          from orphan
         where f.org_id = orphan.org_id and f.id = orphan.id and not f.is_resolved
        returning 1
    )
    select count(*) from closed
    $$;

create policy fleet on notification_endpoint for select to lockstep_fleet using (true);
grant select on notification_endpoint to lockstep_fleet;
grant update (sealed_secret, key_id) on notification_endpoint to lockstep_api;

-- What is sealed under another key than the newest, whichever organisation it belongs to: a key is changed for all.
create function fleet_sealed_otherwise(newest text, after_org uuid, after_kind text, after_id uuid, most integer)
    returns table (org_id uuid, kind text, id uuid)
    language sql security definer set search_path = public
    as $$
    select s.org_id, s.kind, s.id
      from (
          select c.org_id, 'connection' as kind, c.connection_id as id
            from connection c where c.key_id <> newest and c.deleted_at is null
          union all
          select r.org_id, 'request', r.request_id from idempotent_request r where r.key_id <> newest
          union all
          select w.org_id, 'webhook', w.connection_id from connection_webhook w where w.key_id <> newest
          union all
          select e.org_id, 'endpoint', e.endpoint_id from notification_endpoint e where e.key_id <> newest
      ) s
     where (s.org_id, s.kind, s.id) > (after_org, after_kind, after_id)
     order by s.org_id, s.kind, s.id
     limit most
    $$;
grant create on schema public to lockstep_fleet;
alter function fleet_forget_requests(integer) owner to lockstep_fleet;
alter function fleet_close_conflicts_of_deleted(integer) owner to lockstep_fleet;
alter function fleet_sealed_otherwise(text, uuid, text, uuid, integer) owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_forget_requests(integer) from public;
revoke all on function fleet_close_conflicts_of_deleted(integer) from public;
revoke all on function fleet_sealed_otherwise(text, uuid, text, uuid, integer) from public;
grant execute on function fleet_forget_requests(integer) to lockstep_worker;
grant execute on function fleet_close_conflicts_of_deleted(integer) to lockstep_worker;
grant execute on function fleet_sealed_otherwise(text, uuid, text, uuid, integer) to lockstep_api;
