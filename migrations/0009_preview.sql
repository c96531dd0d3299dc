-- What a dry run would have written, for people to look at before it is let happen.
create table sync_preview (
    org_id uuid not null,
    sync_id uuid not null,
    preview_id uuid not null,
    connection_id uuid not null,
    entity_type text not null,
    item_id uuid not null,
    record_id uuid not null,
    action text not null constraint sync_preview_action_check check (action in (
        'create', 'update', 'delete', 'unchanged', 'conflict', 'refused', 'waits')),
    -- By field: what the remote holds, and what it would be given.
    changes jsonb not null default '{}',
    reason text,
    created_at timestamptz not null default lockstep_now(),
    constraint sync_preview_pkey primary key (org_id, sync_id, preview_id),
    -- A batch that is done twice says it once.
    constraint sync_preview_item_key unique (org_id, sync_id, item_id),
    constraint sync_preview_sync_fkey foreign key (org_id, sync_id) references sync_orchestration (org_id, sync_id)
);
select protect('sync_preview');
grant select on sync_preview to lockstep_api;
grant select, insert, update on sync_preview to lockstep_worker;
