-- Pausing and cancelling: since when a sync stands still, how long its stages did, and a sweep for those whose last owner died.

-- When the door was closed; the measured rates leave the time since then out.
alter table sync_orchestration add column paused_at timestamptz;
grant update (paused_at) on sync_orchestration to lockstep_worker;
-- A stage stood still for so long in all, and went on last then.
alter table sync_stage
    add column paused_for interval not null default '0',
    add column resumed_at timestamptz;
grant update (paused_for, resumed_at) on sync_stage to lockstep_worker;

-- The sweep: a batch that lost its owner is rung only where its sync goes on; one that is paused keeps it as it is.
create or replace function fleet_silent_work(quiet interval, most integer)
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
               where s.status = 'processing'
                 and ((c.status = 'queued' and c.run_at <= lockstep_now())
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

-- The sweep, for syncs that are to stop: usually the last owner of a batch has them rest. Where it died, nobody of the
-- organisation is there to do it, and a worker can't know beforehand which organisations these are.
create function fleet_stopping_sync(most integer)
    returns table (org_id uuid, sync_id uuid)
    language sql stable security definer set search_path = public
    as $$
    select s.org_id, s.sync_id
      from sync_orchestration s
     where s.status in ('pausing', 'cancelling')
       and not exists (
           select from sync_batch b
            where b.org_id = s.org_id and b.sync_id = s.sync_id
              and b.status = 'running' and b.lease_until > lockstep_now())
     limit most
    $$;
grant create on schema public to lockstep_fleet;
alter function fleet_stopping_sync(integer) owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_stopping_sync(integer) from public;
grant execute on function fleet_stopping_sync(integer) to lockstep_worker;
