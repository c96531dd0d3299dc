-- Deletions: what a remote deleted leaves no trace in its lists. A full scan finds it by what it did not see.

-- When a full scan saw the thing last, the stage that found it missing, and since when it counts as deleted there: then
-- nothing is sent for it any more, and its external id is kept for what still names it.
alter table item add column seen_at timestamptz;
alter table item add column missing_stage_id uuid;
alter table item add column gone_at timestamptz;
create index item_missing_index on item (org_id, missing_stage_id, item_id) where missing_stage_id is not null;
-- Whoever puts the record again has the thing made anew.
grant update (external_id, parts, base, held, generation, last_error, seen_at, missing_stage_id, gone_at)
    on item to lockstep_api;

-- How far a full scan is: beside the cursor, which is about changes and stays where it is.
alter table sync_stage add column scan jsonb;
grant update (scan) on sync_stage to lockstep_worker;

-- What vanishes of one type of record says nothing of another's.
drop index sync_conflict_connection_key;
create unique index sync_conflict_connection_key on sync_conflict (org_id, connection_id, entity_type, conflict_type)
    where not is_resolved and item_id is null;

alter table sync_preview drop constraint sync_preview_action_check;
alter table sync_preview add constraint sync_preview_action_check check (action in (
    'create', 'update', 'delete', 'unchanged', 'conflict', 'refused', 'waits', 'vanished'));
