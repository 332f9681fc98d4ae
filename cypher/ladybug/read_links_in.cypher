// params: rows(i, uid), limit
// returns: i, uid, first_seen, last_seen, events, amount, fails
LOAD FROM $rows
WITH {i: i, uid: uid} AS r
MATCH (a:Entity {uid: r.uid})
WITH r, a
MATCH (a)<-[l:Linked]-(b:Entity)
RETURN r.i AS i, b.uid AS uid, min(l.first_seen) AS first_seen, max(l.last_seen) AS last_seen,
       CAST(sum(l.events) AS INT64) AS events, CAST(sum(l.amount) AS INT64) AS amount,
       CAST(sum(l.fails) AS INT64) AS fails
LIMIT $limit
