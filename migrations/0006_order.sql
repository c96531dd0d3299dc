-- Orders, inventory levels and payments, and what a record is about.

alter table record drop constraint record_entity_type_check;
alter table record add constraint record_entity_type_check
    check (entity_type in ('customers', 'products', 'orders', 'inventory', 'payments'));
alter table sync_stage drop constraint sync_stage_entity_type_check;
alter table sync_stage add constraint sync_stage_entity_type_check
    check (entity_type in ('customers', 'products', 'orders', 'inventory', 'payments'));
alter table record_key drop constraint record_key_kind_check;
alter table record_key add constraint record_key_kind_check
    check (kind in ('sku', 'barcode', 'email', 'subject'));

-- Which records a record is about: an order about its customer and its products, a payment about its order.
create table record_reference (
    org_id uuid not null,
    record_id uuid not null,
    referred_id uuid not null,
    constraint record_reference_pkey primary key (org_id, record_id, referred_id),
    constraint record_reference_record_fkey foreign key (org_id, record_id)
        references record (org_id, record_id) on delete cascade,
    constraint record_reference_referred_fkey foreign key (org_id, referred_id) references record (org_id, record_id)
);
select protect('record_reference');
create index record_reference_referred_index on record_reference (org_id, referred_id);
grant select, insert, delete on record_reference to lockstep_api, lockstep_worker;

-- A stage of a type that the sync was not asked for carries only what the types it was asked for name.
alter table sync_stage add column scope text not null default 'all'
    constraint sync_stage_scope_check check (scope in ('all', 'named'));

-- What the remote made of the base, where that is not the same: it rounds, trims, or fills in by itself.
alter table item add column held jsonb;
alter table item add constraint item_held_check check (held is null or base is not null);

-- Orders that have not arrived everywhere: the stock of what is in them waits for them.
create index item_unsettled_order_index on item (org_id, record_id)
    where entity_type = 'orders' and state not in ('synced', 'skipped');

-- Whether a connection lacks a record that something waits for which is to be carried to it: what a stage of a type that
-- the sync was not asked for carries. A payment's customer is awaited through its order.
create function item_is_awaited(org uuid, connection uuid, record uuid, external_id text) returns boolean
    language sql stable
    as $$
    select external_id is null and exists (
        select from record_reference r
          join item waiting on waiting.org_id = r.org_id and waiting.record_id = r.record_id
                           and waiting.connection_id = connection
         where r.org_id = org and r.referred_id = record
           and waiting.state in ('pending', 'failed'))
    $$;
