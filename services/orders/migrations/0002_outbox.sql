-- Messages to the job stream, written with the order they tell of (services/orders/relay.py).
-- stream_ms and stream_seq are the two halves of the id the stream gave the message; null until it is published.
create table outbox (
    id bigint generated always as identity primary key,
    key text not null unique,
    payload text not null,
    traceparent text not null,
    created_at timestamptz not null default now(),
    stream_ms bigint,
    stream_seq bigint,
    check ((stream_ms is null) = (stream_seq is null))
);

create index outbox_waiting on outbox (id) where stream_ms is null;
create index outbox_published on outbox (stream_ms, stream_seq) where stream_ms is not null;

-- The relay has a role of its own: it can touch nothing but the outbox, and its statements can be told from those
-- of requests in pg_stat_statements.
grant usage on schema orders to orders_relay;
grant select, delete on outbox to orders_relay;
grant update (stream_ms, stream_seq) on outbox to orders_relay;
