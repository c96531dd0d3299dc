-- Renewing leases passes by the rows that a settlement holds: a renewal that waited for one slow settlement would cost all
-- the other batches of its process their leases, and one that changed the row would have the settlement repeated. Such a
-- batch is its owner's still: nobody else can take it before the settlement is over.
create or replace function fleet_renew_leases(batch_ids uuid[], tokens uuid[], length interval)
    returns table (batch_id uuid)
    language sql security definer set search_path = public
    as $$
    with held as (
        select b.org_id, b.batch_id
          from sync_batch b
          join unnest(batch_ids, tokens) h (batch_id, token) on b.batch_id = h.batch_id and b.token = h.token
         where b.status = 'running' and b.lease_until > lockstep_now()
    ), free as (
        select b.org_id, b.batch_id
          from sync_batch b
          join held using (org_id, batch_id)
           for update of b skip locked
    ), renewed as (
        update sync_batch b
           set lease_until = lockstep_now() + length
          from free
         where b.org_id = free.org_id and b.batch_id = free.batch_id
           and b.status = 'running' and b.lease_until > lockstep_now() and b.token = any(tokens)
        returning b.batch_id
    )
    select renewed.batch_id from renewed
    union
    select held.batch_id from held where held.batch_id not in (select free.batch_id from free)
    $$;
