#!/bin/sh
# Create the role `constellation`, which is not a superuser, and its database. PostgreSQL's image runs this script once, as superuser, when
# the data directory is empty.
set -eu
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<SQL
\set password \`cut -d: -f5 "${PGPASS_SECRET:-/run/secrets/pgpass}"\`
CREATE ROLE constellation LOGIN PASSWORD :'password';
CREATE DATABASE constellation OWNER constellation ENCODING 'UTF8' TEMPLATE template0;
\connect constellation
CREATE EXTENSION vector;
-- Lets the server end the sessions of a process whose network is gone.
ALTER ROLE constellation SET tcp_keepalives_idle = 10;
ALTER ROLE constellation SET tcp_keepalives_interval = 5;
ALTER ROLE constellation SET tcp_keepalives_count = 3;
SQL
