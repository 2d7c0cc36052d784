-- The deferred reference was checked at each commit, as one more statement. Key and order are written in one
-- transaction and nobody deletes either, so there is nothing it could find.
alter table idempotency_keys drop constraint idempotency_keys_order_id_fkey;
