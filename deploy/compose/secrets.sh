#!/bin/sh
# Create the passwords that compose.yaml mounts. Existing passwords stay unchanged.
#
#   sh deploy/compose/secrets.sh [FOLDER]     # default: secrets/ beside this file
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"

password() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# Everybody may read the files, because containers run as other users. But only the owner may enter the folder.
keep() {
    if [ ! -e "$folder/$1" ]; then
        printf '%s\n' "$2" >"$folder/$1"
        chmod 0444 "$folder/$1"
    fi
}

keep postgres_password "$(password)"
# One line in libpq's format: host:port:database:user:password.
keep pgpass "postgres:5432:constellation:constellation:$(password)"
keep grafana_password "$(password)"
