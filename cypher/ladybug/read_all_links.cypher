// params: user, other, limit
// returns: user, other, kind, first_seen, last_seen, events, amount, fails
MATCH (a:Entity)-[x:Linked]->(b:Entity)
WHERE a.uid > $user OR (a.uid = $user AND b.uid > $other)
RETURN a.uid AS user, b.uid AS other, min(x.kind) AS kind, min(x.first_seen) AS first_seen,
       max(x.last_seen) AS last_seen, CAST(sum(x.events) AS INT64) AS events,
       CAST(sum(x.amount) AS INT64) AS amount, CAST(sum(x.fails) AS INT64) AS fails
ORDER BY user, other
LIMIT $limit
