#!/bin/sh
# Makes what is missing: a password for each server, in a volume that only the server and those who use it see.
set -eu
umask 022
password() {
  [ -s "/secrets/$1/password" ] && return
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "/secrets/$1/password.part"
  mv "/secrets/$1/password.part" "/secrets/$1/password"
  echo "made a password for $1"
}
for server in redis postgres neo4j grafana; do password "$server"; done
audit=/secrets/audit/key
if [ ! -s "$audit" ]; then
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$audit.part"
  chown 10001 "$audit.part"
  chmod 400 "$audit.part"
  mv "$audit.part" "$audit"
  echo "made the key of the audit trail"
fi
printf 'requirepass %s\n' "$(cat /secrets/redis/password)" > /secrets/redis/redis.conf
printf 'neo4j/%s\n' "$(cat /secrets/neo4j/password)" > /secrets/neo4j/auth
chown 10001 /secrets/metrics
