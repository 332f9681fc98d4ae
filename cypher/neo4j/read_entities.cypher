// params: uids, limit
// returns: uid, tenant, kind, id, first_seen, last_seen, events, amount, alerts
UNWIND $uids AS uid
MATCH (e:Entity {uid: uid})
WHERE e.first_seen IS NOT NULL
RETURN uid, e.tenant AS tenant, e.kind AS kind, e.id AS id, e.first_seen AS first_seen, e.last_seen AS last_seen,
  e.events AS events, e.amount AS amount, e.alerts AS alerts
LIMIT $limit
