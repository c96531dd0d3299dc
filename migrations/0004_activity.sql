-- The audit trail, a partition per month: retention drops whole months.

create table sync_activity_log (
    org_id uuid not null,
    activity_id uuid not null,
    sync_id uuid,
    created_at timestamptz not null default lockstep_now(),
    actor text not null,
    action text not null,
    outcome text not null default 'done' constraint sync_activity_log_outcome_check check (outcome in ('done', 'refused', 'failed')),
    details jsonb not null default '{}',
    constraint sync_activity_log_pkey primary key (org_id, created_at, activity_id)
) partition by range (created_at);
select protect('sync_activity_log');
create index sync_activity_log_created_at_index on sync_activity_log (created_at);
create index sync_activity_log_sync_id_index on sync_activity_log (org_id, sync_id, created_at);
-- Append-only for both processes.
grant select, insert on sync_activity_log to lockstep_api, lockstep_worker;

-- Catches lines whose month has no partition yet: writing never fails because nobody made one.
create table sync_activity_log_rest partition of sync_activity_log default;
select protect('sync_activity_log_rest');

-- Makes the partition of the month that a time falls into; a second call changes nothing. It runs as the tables'
-- owner because only an owner can make a partition; it reads no row of any organisation.
create function ensure_activity_month(moment timestamptz) returns void
    language plpgsql security definer set search_path = public
    as $$
declare
    first_day date := date_trunc('month', moment at time zone 'UTC');
    partition_name text := 'sync_activity_log_' || to_char(first_day, 'YYYY_MM');
begin
    if to_regclass(partition_name) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('lockstep.activity_month', 0));
    if to_regclass(partition_name) is not null then
        return;
    end if;
    execute format(
        'create table %I partition of sync_activity_log for values from (%L) to (%L)',
        partition_name, first_day::timestamp at time zone 'UTC', (first_day + interval '1 month') at time zone 'UTC');
    perform protect(partition_name::regclass);
end
$$;
revoke all on function ensure_activity_month(timestamptz) from public;
grant execute on function ensure_activity_month(timestamptz) to lockstep_worker;

select ensure_activity_month(lockstep_now()), ensure_activity_month(lockstep_now() + interval '1 month');
