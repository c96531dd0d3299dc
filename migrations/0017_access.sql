-- Who may do what, how often, and what is kept of it: API keys, quotas of requests, and from where an activity came.

-- What programs prove themselves by. Only a hash of the secret is kept: 256 random bits need no salt and no slow hash.
create table api_key (
    org_id uuid not null constraint api_key_organisation_fkey references organisation,
    key_id uuid not null,
    secret_hash bytea not null constraint api_key_secret_hash_check check (length(secret_hash) = 32),
    name text not null constraint api_key_name_check check (length(name) between 1 and 200),
    -- No key is one of the whole platform: those who run it sign tokens.
    role text not null constraint api_key_role_check check (role in ('viewer', 'operator', 'admin')),
    created_by text not null,
    created_at timestamptz not null default lockstep_now(),
    expires_at timestamptz,
    -- To the minute: a write for each request would be one too many.
    last_used_at timestamptz,
    revoked_at timestamptz,
    constraint api_key_pkey primary key (org_id, key_id),
    -- Found by its identifier alone, see fleet_api_key.
    constraint api_key_key_id_key unique (key_id)
);
select protect('api_key');
grant select, insert on api_key to lockstep_api;
grant update (last_used_at, revoked_at) on api_key to lockstep_api;

create policy fleet on api_key for select to lockstep_fleet using (true);
grant select on api_key to lockstep_fleet;

-- Finds the key that a request names: which organisation it belongs to is what it is asked for, so that row-level security
-- can't be set yet. It gives the hash of one key for its identifier, and no list of them.
create function fleet_api_key(wanted uuid)
    returns table (org_id uuid, secret_hash bytea, role text, is_usable boolean, is_use_to_be_noted boolean)
    language sql stable security definer set search_path = public
    as $$
    select k.org_id, k.secret_hash, k.role,
           k.revoked_at is null and (k.expires_at is null or k.expires_at > lockstep_now()),
           k.last_used_at is null or k.last_used_at <= lockstep_now() - interval '1 minute'
      from api_key k
     where k.key_id = wanted
    $$;
grant create on schema public to lockstep_fleet;
alter function fleet_api_key(uuid) owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_api_key(uuid) from public;
grant execute on function fleet_api_key(uuid) to lockstep_api;

-- Requests to the API per minute; null: as many as the operator's configuration says.
alter table organisation
    add column commands_per_minute integer
        constraint organisation_commands_per_minute_check check (commands_per_minute between 1 and 50),
    add column records_per_minute integer
        constraint organisation_records_per_minute_check check (records_per_minute between 1 and 6000),
    add column reads_per_minute integer
        constraint organisation_reads_per_minute_check check (reads_per_minute between 1 and 6000);

-- One row per organisation and kind of request: when its quota is whole again. One statement takes a request, so that all
-- processes of the API share it.
create table request_quota (
    org_id uuid not null constraint request_quota_organisation_fkey references organisation,
    budget text not null constraint request_quota_budget_check check (budget in ('reads', 'records', 'commands')),
    whole_at timestamptz not null,
    constraint request_quota_pkey primary key (org_id, budget)
);
select protect('request_quota');
grant select, insert on request_quota to lockstep_api;
grant update (whole_at) on request_quota to lockstep_api;

-- From where: set for the transaction of a request, so that every line written in it tells; null for a worker's.
alter table sync_activity_log
    add column source_address text
        constraint sync_activity_log_source_address_check check (length(source_address) between 1 and 64),
    add column request_id text
        constraint sync_activity_log_request_id_check check (length(request_id) between 1 and 128);
alter table sync_activity_log
    alter column source_address set default nullif(current_setting('lockstep.source_address', true), ''),
    alter column request_id set default nullif(current_setting('lockstep.request_id', true), '');
