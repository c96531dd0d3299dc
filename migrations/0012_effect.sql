-- What the remote made of a write, where that is not just what was sent: who settles for an owner that died knows it too.
alter table sync_idempotency_log add column held jsonb;
