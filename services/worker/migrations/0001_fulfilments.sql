-- What the worker's jobs leave behind. The job's key is stored with its effect, in one row: a job that is delivered
-- again finds its key and changes nothing.
create table fulfilments (
    key text primary key,
    order_id bigint not null unique,
    units integer not null check (units > 0),
    deliveries integer not null,
    fulfilled_at timestamptz not null default now()
);
