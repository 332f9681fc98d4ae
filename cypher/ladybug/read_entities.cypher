// params: rows(i, uid), limit
// returns: i, tenant, kind, id, first_seen, last_seen, events, amount, alerts (no tally: null)
LOAD FROM $rows
MATCH (a:Entity {uid: uid})
OPTIONAL MATCH (a)-[t:Tally]->(:Entity)
RETURN i, a.tenant AS tenant, a.kind AS kind, a.id AS id, min(t.first_seen) AS first_seen,
       max(t.last_seen) AS last_seen, CAST(sum(t.events) AS INT64) AS events, CAST(sum(t.amount) AS INT64) AS amount,
       CAST(sum(t.alerts) AS INT64) AS alerts
LIMIT $limit
