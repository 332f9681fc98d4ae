#!/bin/sh
# Makes what is missing: a password for each server, in a volume that only the server and those who use it see, and the keys of
# the audit trail and of personal fields.
set -eu
umask 022
password() {
  [ -s "/secrets/$1/password" ] && return
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "/secrets/$1/password.part"
  mv "/secrets/$1/password.part" "/secrets/$1/password"
  echo "made a password for $1"
}
for server in redis postgres neo4j grafana; do password "$server"; done
key() {
  [ -s "/secrets/keys/$1" ] && return
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "/secrets/keys/$1.part"
  chown 10001 "/secrets/keys/$1.part"
  chmod 400 "/secrets/keys/$1.part"
  mv "/secrets/keys/$1.part" "/secrets/keys/$1"
  echo "made the key $1"
}
for name in audit personal; do key "$name"; done
printf 'requirepass %s\n' "$(cat /secrets/redis/password)" > /secrets/redis/redis.conf
printf 'neo4j/%s\n' "$(cat /secrets/neo4j/password)" > /secrets/neo4j/auth
chown 10001 /secrets/metrics
