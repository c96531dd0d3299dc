-- What every later table stands on: roles, the clock, row-level security, organisations and connections.

do $$
begin
    if (select count(*) from pg_roles
        where rolname in ('lockstep_owner', 'lockstep_api', 'lockstep_worker', 'lockstep_fleet')) < 4 then
        raise exception 'the roles of Lockstep are missing'
            using hint = 'run migrations/roles.sql once as an administrator of the cluster';
    end if;
end
$$;

grant usage on schema public to lockstep_api, lockstep_worker, lockstep_fleet;

-- The time, for every statement of ours. Tests shift it; in production the shift stays zero.
create table clock (
    is_only boolean not null default true constraint clock_pkey primary key constraint clock_is_only_check check (is_only),
    shift interval not null default interval '0'
);
insert into clock default values;
grant select on clock to lockstep_api, lockstep_worker, lockstep_fleet;

create function lockstep_now() returns timestamptz
    language sql stable parallel safe
    as $$ select clock_timestamp() + (select shift from clock) $$;

-- The organisation that the transaction works for; null sees nothing.
create function current_org() returns uuid
    language sql stable parallel safe
    as $$ select nullif(current_setting('lockstep.org_id', true), '')::uuid $$;

-- Puts a table of one organisation's rows behind row-level security, its owner included.
create function protect(guarded regclass) returns void
    language plpgsql
    as $$
begin
    execute format('alter table %s enable row level security', guarded);
    execute format('alter table %s force row level security', guarded);
    execute format('create policy organisation on %s using (org_id = current_org()) with check (org_id = current_org())',
        guarded);
end
$$;

create table organisation (
    org_id uuid not null constraint organisation_pkey primary key,
    name text not null constraint organisation_name_check check (length(name) between 1 and 200),
    requests_per_minute integer not null default 10
        constraint organisation_requests_per_minute_check check (requests_per_minute between 1 and 10000000),
    -- Batches that may run at once, over the whole fleet: a large organisation never takes every slot.
    running_batch_limit integer not null default 4
        constraint organisation_running_batch_limit_check check (running_batch_limit between 1 and 100),
    created_at timestamptz not null default lockstep_now()
);
select protect('organisation');
grant select, insert on organisation to lockstep_api;
grant update (name) on organisation to lockstep_api;
grant select on organisation to lockstep_worker;

create table connection (
    org_id uuid not null constraint connection_organisation_fkey references organisation,
    connection_id uuid not null,
    system text not null constraint connection_system_check check (system in ('woocommerce', 'odoo')),
    name text not null constraint connection_name_check check (length(name) between 1 and 200),
    base_url text not null constraint connection_base_url_check check (base_url ~ '^https?://'),
    -- AEAD over the credentials, with organisation and connection as associated data.
    sealed_credentials bytea not null,
    -- Which key sealed them, so that keys can be rotated.
    key_id text not null,
    settings jsonb not null default '{}',
    status text not null default 'active'
        constraint connection_status_check check (status in ('active', 'needs_attention')),
    attention text,
    created_at timestamptz not null default lockstep_now(),
    constraint connection_pkey primary key (org_id, connection_id),
    constraint connection_name_key unique (org_id, name),
    constraint connection_attention_check check ((status = 'needs_attention') = (attention is not null))
);
select protect('connection');
grant select, insert on connection to lockstep_api;
grant select on connection to lockstep_worker;
grant update (status, attention) on connection to lockstep_api, lockstep_worker;

-- One row per organisation (scope = org_id) and per connection that has a limit of its own: when the next request may
-- start. One statement takes a slot, so the whole fleet shares it.
create table request_bucket (
    org_id uuid not null constraint request_bucket_organisation_fkey references organisation,
    scope uuid not null,
    requests_per_minute integer not null
        constraint request_bucket_requests_per_minute_check check (requests_per_minute between 1 and 10000000),
    free_at timestamptz not null default '-infinity',
    constraint request_bucket_pkey primary key (org_id, scope)
);
select protect('request_bucket');
grant select, insert on request_bucket to lockstep_api;
grant select on request_bucket to lockstep_worker;
grant update (free_at) on request_bucket to lockstep_worker;
