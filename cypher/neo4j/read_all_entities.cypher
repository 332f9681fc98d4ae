// params: uid, limit
// returns: uid, first_seen, last_seen, events, amount, alerts
MATCH (e:Entity)
WHERE e.uid > $uid AND e.first_seen IS NOT NULL
RETURN e.uid AS uid, e.first_seen AS first_seen, e.last_seen AS last_seen, e.events AS events, e.amount AS amount,
  e.alerts AS alerts
ORDER BY uid
LIMIT $limit
