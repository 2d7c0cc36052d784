#!/bin/bash
# Starts PostgreSQL as the user postgres; makes the cluster first when the volume is empty.
# POSTGRES_PASSWORD (required for a new cluster), POSTGRES_DB (default postgres) mean what they mean in postgres:15.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    chown -R postgres:postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

make_cluster() {
    : "${POSTGRES_PASSWORD:?a new database needs POSTGRES_PASSWORD}"
    initdb --username=postgres --auth-local=trust --auth-host=scram-sha-256 --pwfile=<(echo "$POSTGRES_PASSWORD")
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    [ "${POSTGRES_DB:-postgres}" = postgres ] && return
    # No TCP while the database is made: whoever waits for the port must not find a half-made cluster.
    pg_ctl --wait start -o "-c listen_addresses=''"
    createdb --username=postgres --owner=postgres "$POSTGRES_DB"
    pg_ctl --wait --mode=fast stop
}

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    chmod 0700 "$PGDATA"
    make_cluster
fi
exec "$@"
