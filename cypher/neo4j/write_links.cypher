// params: user_prefix, other_prefix, users, others, first, last, events, amount, most, fails
// returns: nothing
UNWIND range(0, size($users) - 1) AS i
OPTIONAL MATCH (a:Entity {uid: $user_prefix + $users[i]})
OPTIONAL MATCH (b:Entity {uid: $other_prefix + $others[i]})
MERGE (a)-[l:LINKED]->(b)
ON CREATE SET l.events = $events[i], l.amount = $amount[i], l.fails = $fails[i],
  l.first_seen = $first[i], l.last_seen = $last[i],
  l.first_at = datetime({epochMillis: $first[i] / 1000}), l.last_at = datetime({epochMillis: $last[i] / 1000})
ON MATCH SET l.events = l.events + $events[i], l.amount = CASE WHEN l.amount > $most - abs($amount[i]) THEN $most ELSE l.amount + $amount[i] END,
  l.fails = l.fails + $fails[i],
  l.first_at = CASE WHEN $first[i] >= l.first_seen THEN l.first_at ELSE datetime({epochMillis: $first[i] / 1000}) END,
  l.last_at = CASE WHEN $last[i] <= l.last_seen THEN l.last_at ELSE datetime({epochMillis: $last[i] / 1000}) END,
  l.first_seen = CASE WHEN $first[i] >= l.first_seen THEN l.first_seen ELSE $first[i] END,
  l.last_seen = CASE WHEN $last[i] <= l.last_seen THEN l.last_seen ELSE $last[i] END
