-- What has to see across organisations, and nothing else. These functions and views belong to `lockstep_fleet`, which
-- nobody logs in as; each says why it exists.

create policy fleet on sync_batch to lockstep_fleet using (true) with check (true);
create policy fleet on sync_command to lockstep_fleet using (true) with check (true);
create policy fleet on sync_orchestration for select to lockstep_fleet using (true);
create policy fleet on sync_stage for select to lockstep_fleet using (true);
create policy fleet on sync_conflict for select to lockstep_fleet using (true);
grant select on sync_batch, sync_command, sync_orchestration, sync_stage, sync_conflict to lockstep_fleet;
grant update (rung_at, lease_until) on sync_batch to lockstep_fleet;
grant update (rung_at) on sync_command to lockstep_fleet;

-- The sweep: finds what is due and was not rung for a while, whichever organisation it belongs to, and marks it rung.
-- A worker serves all organisations and can't know beforehand which of them lost a bell.
create function fleet_silent_work(quiet interval, most integer)
    returns table (org_id uuid, kind text, id uuid)
    language sql security definer set search_path = public
    as $$
    with batch as (
        update sync_batch b
           set rung_at = lockstep_now()
          from (
              select c.org_id, c.batch_id
                from sync_batch c
                join sync_orchestration s on s.org_id = c.org_id and s.sync_id = c.sync_id
               where ((c.status = 'queued' and c.run_at <= lockstep_now() and s.status = 'processing')
                      or (c.status = 'running' and c.lease_until <= lockstep_now()))
                 and c.rung_at <= lockstep_now() - quiet
               order by c.rung_at
               limit most
                 for update of c skip locked
          ) silent
         where b.org_id = silent.org_id and b.batch_id = silent.batch_id
        returning b.org_id, b.batch_id
    ), command as (
        update sync_command m
           set rung_at = lockstep_now()
          from (
              select c.org_id, c.command_id
                from sync_command c
               where c.applied_at is null and c.rung_at <= lockstep_now() - quiet
               order by c.rung_at
               limit most
                 for update skip locked
          ) silent
         where m.org_id = silent.org_id and m.command_id = silent.command_id
        returning m.org_id, m.command_id
    )
    select batch.org_id, 'batch', batch.batch_id from batch
    union all
    select command.org_id, 'command', command.command_id from command
    $$;

-- Renewing leases: one statement a beat for all the batches that a process runs, whichever organisations they belong
-- to. Returns those that are still its own; the token proves it.
create function fleet_renew_leases(batch_ids uuid[], tokens uuid[], length interval)
    returns table (batch_id uuid)
    language sql security definer set search_path = public
    as $$
    update sync_batch b
       set lease_until = lockstep_now() + length
      from unnest(batch_ids, tokens) held (batch_id, token)
     where b.batch_id = held.batch_id and b.token = held.token and b.status = 'running'
       and b.lease_until > lockstep_now()
    returning b.batch_id
    $$;
create index sync_batch_token_index on sync_batch (token) where status = 'running';

create view operator_sync as
    select s.org_id, s.sync_id, s.status, s.created_at, s.started_at, s.completed_at, s.error_message,
           t.ordinal, t.direction, t.connection_id, t.entity_type, t.status as stage_status, t.total,
           coalesce(sum(b.seen_count), 0) as seen, coalesce(sum(b.created_count), 0) as created,
           coalesce(sum(b.updated_count), 0) as updated, coalesce(sum(b.unchanged_count), 0) as unchanged,
           coalesce(sum(b.failed_count), 0) as failed, coalesce(sum(b.conflict_count), 0) as conflicts
      from sync_orchestration s
      join sync_stage t on t.org_id = s.org_id and t.sync_id = s.sync_id
      left join sync_batch b on b.org_id = t.org_id and b.stage_id = t.stage_id
     group by s.org_id, s.sync_id, t.org_id, t.stage_id;

create view operator_stuck_batch as
    select b.org_id, b.batch_id, b.sync_id, b.connection_id, b.direction, b.entity_type, b.status, b.owner,
           b.run_at, b.lease_until, b.takeovers, b.attempts, b.error_message,
           lockstep_now() - case when b.status = 'running' then b.lease_until else b.run_at end as late_by
      from sync_batch b
      join sync_orchestration s on s.org_id = b.org_id and s.sync_id = b.sync_id
     where (b.status = 'queued' and s.status = 'processing' and b.run_at < lockstep_now() - interval '30 seconds')
        or (b.status = 'running' and b.lease_until < lockstep_now());

create view operator_conflict_rate as
    select org_id, date_trunc('hour', created_at) as hour, conflict_type, count(*) as conflicts,
           count(*) filter (where not is_resolved) as open
      from sync_conflict
     group by org_id, date_trunc('hour', created_at), conflict_type;

grant create on schema public to lockstep_fleet;
alter function fleet_silent_work(interval, integer) owner to lockstep_fleet;
alter function fleet_renew_leases(uuid[], uuid[], interval) owner to lockstep_fleet;
alter view operator_sync owner to lockstep_fleet;
alter view operator_stuck_batch owner to lockstep_fleet;
alter view operator_conflict_rate owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_silent_work(interval, integer) from public;
revoke all on function fleet_renew_leases(uuid[], uuid[], interval) from public;
grant execute on function fleet_silent_work(interval, integer) to lockstep_worker;
grant execute on function fleet_renew_leases(uuid[], uuid[], interval) to lockstep_worker;
