#!/bin/sh
# What the official entrypoint does for an empty volume: a cluster, its superuser with a password, a database.
set -eu
if ! test -s "$PGDATA/PG_VERSION"; then
    mkdir -p "$PGDATA"
    echo "$POSTGRES_PASSWORD" > /tmp/password
    # shellcheck disable=SC2086 # several arguments in one variable, as the official one has them
    initdb --username "$POSTGRES_USER" --pwfile /tmp/password ${POSTGRES_INITDB_ARGS:-}
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl start --wait --silent --options "-c listen_addresses="
    test "$POSTGRES_DB" = postgres || createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl stop --wait --silent
fi
test "$1" != postgres || set -- "$@" -c listen_addresses='*'
exec "$@"
