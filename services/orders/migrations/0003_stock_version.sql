-- Counts the changes of a row, so that a writer can tell whether it is still what it read
-- (services/orders/optimistic_update.py).
alter table products add column version bigint not null default 0;
