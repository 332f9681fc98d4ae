// params: prefix, label, tenant, kind, ids, first, last, events, amount, most, alerts
// returns: nothing
UNWIND range(0, size($ids) - 1) AS i
MERGE (e:Entity {uid: $prefix + $ids[i]})
ON CREATE SET e:$($label), e.tenant = $tenant, e.kind = $kind, e.id = $ids[i], e.events = $events[i],
  e.amount = $amount[i], e.alerts = $alerts[i], e.first_seen = $first[i], e.last_seen = $last[i],
  e.first_at = datetime({epochMillis: $first[i] / 1000}), e.last_at = datetime({epochMillis: $last[i] / 1000})
ON MATCH SET e.events = e.events + $events[i], e.amount = CASE WHEN e.amount > $most - abs($amount[i]) THEN $most ELSE e.amount + $amount[i] END,
  e.alerts = e.alerts + $alerts[i],
  e.first_at = CASE WHEN $first[i] >= e.first_seen THEN e.first_at ELSE datetime({epochMillis: $first[i] / 1000}) END,
  e.last_at = CASE WHEN $last[i] <= e.last_seen THEN e.last_at ELSE datetime({epochMillis: $last[i] / 1000}) END,
  e.first_seen = CASE WHEN $first[i] >= e.first_seen THEN e.first_seen ELSE $first[i] END,
  e.last_seen = CASE WHEN $last[i] <= e.last_seen THEN e.last_seen ELSE $last[i] END
