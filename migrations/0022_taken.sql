-- What a merged write took over from the remote: where its worker dies before our record has it, the next owner sees it as
-- the remote's change still, and not as what we had agreed on and changed since.
alter table sync_idempotency_log add column taken jsonb not null default '[]'
    constraint sync_idempotency_log_taken_check check (jsonb_typeof(taken) = 'array');
