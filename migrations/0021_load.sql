-- A batch that waits for a token off its slot is *parked*: it does nothing, so it does not count as one that its organisation
-- has running. It is parked for as long as this is its owner's token: whoever takes it over, or puts it down, ends that.
-- Workers of before this park without a word, and count as running.
alter table sync_batch add column parked_token uuid;

-- What the metrics of the API tell of all organisations together: numbers by kind, of nobody in particular. Read at each
-- scrape, so every part of it goes by an index or over a table of few rows.
create index sync_orchestration_ended_index on sync_orchestration (completed_at) where completed_at is not null;
create index sync_conflict_unresolved_index on sync_conflict (conflict_type) where not is_resolved;
create index sync_idempotency_log_unresolved_index on sync_idempotency_log (state) where state in ('intended', 'in_doubt');
create policy fleet on sync_idempotency_log for select to lockstep_fleet using (true);
grant select (org_id, effect_id, state) on sync_idempotency_log to lockstep_fleet;

create function fleet_metrics() returns table (name text, labels jsonb, value double precision)
    language sql stable security definer set search_path = public
    as $$
    with waiting (kind, since) as (
        select 'batch', b.run_at
          from sync_batch b
          join sync_orchestration s on s.org_id = b.org_id and s.sync_id = b.sync_id
         where b.status = 'queued' and b.run_at <= lockstep_now() and s.status = 'processing'
        union all
        select 'command', m.created_at from sync_command m where m.applied_at is null
        union all
        select 'check', c.run_at from connection_check c where c.status = 'queued' and c.run_at <= lockstep_now()
        union all
        select 'webhook', w.run_at from connection_webhook w where w.status = 'queued' and w.run_at <= lockstep_now()
        union all
        select 'resolution', r.run_at
          from conflict_resolution r where r.applied_at is null and r.run_at <= lockstep_now()
        union all
        select 'notification', n.run_at from notification n where n.status = 'pending' and n.run_at <= lockstep_now()
    ), queue (kind, depth, oldest) as (
        select k.kind, count(w.since), coalesce(extract(epoch from lockstep_now() - min(w.since)), 0)
          from unnest(array['batch', 'command', 'check', 'webhook', 'resolution', 'notification']) k (kind)
          left join waiting w on w.kind = k.kind
         group by k.kind
    )
    select 'circuits', jsonb_build_object('system', y.system, 'state', t.state), count(c.connection_id)::double precision
      from unnest(array['woocommerce', 'odoo']) y (system)
     cross join unnest(array['closed', 'open', 'half_open']) t (state)
      left join (
          select n.system, coalesce(k.state, 'closed') as state, n.connection_id
            from connection n
            left join circuit k on k.org_id = n.org_id and k.connection_id = n.connection_id
           where n.deleted_at is null
      ) c on c.system = y.system and c.state = t.state
     group by y.system, t.state
    union all
    select 'connections_needing_attention', jsonb_build_object('system', y.system), count(n.connection_id)
      from unnest(array['woocommerce', 'odoo']) y (system)
      left join connection n on n.system = y.system and n.status = 'needs_attention' and n.deleted_at is null
     group by y.system
    union all
    select 'queue_depth', jsonb_build_object('kind', q.kind), q.depth from queue q
    union all
    select 'queue_oldest_seconds', jsonb_build_object('kind', q.kind), q.oldest from queue q
    union all
    select 'batches', jsonb_build_object('state', t.state), count(b.state)
      from unnest(array['running', 'parked', 'waiting']) t (state)
      left join (
          select case when o.status = 'queued' then 'waiting' when o.parked_token = o.token then 'parked' else 'running' end
                     as state
            from sync_batch o
           where o.status = 'queued' or o.status = 'running'
      ) b on b.state = t.state
     group by t.state
    union all
    select 'syncs', jsonb_build_object('state', t.state), count(s.status)
      from unnest(array['draft', 'queued', 'processing', 'pausing', 'paused', 'cancelling']) t (state)
      left join sync_orchestration s
        on s.status = t.state and s.status not in ('cancelled', 'done', 'partial', 'failed')
     group by t.state
    union all
    select 'syncs_ended_last_hour', jsonb_build_object('state', t.state), count(s.status)
      from unnest(array['done', 'partial', 'failed', 'cancelled']) t (state)
      left join sync_orchestration s on s.status = t.state and s.completed_at > lockstep_now() - interval '1 hour'
     group by t.state
    union all
    select 'conflicts_open', jsonb_build_object('type', t.type), count(c.conflict_type)
      from unnest(array['DataMismatch', 'DuplicateKey', 'ValidationError', 'AuthError', 'RetryExhausted']) t (type)
      left join sync_conflict c on c.conflict_type = t.type and not c.is_resolved
     group by t.type
    union all
    select 'effects_unresolved', jsonb_build_object('state', t.state), count(e.state)
      from unnest(array['intended', 'in_doubt']) t (state)
      left join sync_idempotency_log e on e.state = t.state and e.state in ('intended', 'in_doubt')
     group by t.state
    $$;
grant create on schema public to lockstep_fleet;
alter function fleet_metrics() owner to lockstep_fleet;
revoke create on schema public from lockstep_fleet;
revoke all on function fleet_metrics() from public;
grant execute on function fleet_metrics() to lockstep_api;
