// params: rows(i, uid), limit
// returns: i, node, kind, first_seen, last_seen, events, amount, fails (no link: node is null)
LOAD FROM $rows
MATCH (a:Entity {uid: uid})
OPTIONAL MATCH (a)-[l:Linked]->(b:Entity)
RETURN i, offset(id(b)) AS node, min(l.kind) AS kind, min(l.first_seen) AS first_seen, max(l.last_seen) AS last_seen,
       CAST(sum(l.events) AS INT64) AS events, CAST(sum(l.amount) AS INT64) AS amount,
       CAST(sum(l.fails) AS INT64) AS fails
LIMIT $limit
