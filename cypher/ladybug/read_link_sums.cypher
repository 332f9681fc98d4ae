// params: rows(i, uid), limit
// returns: i, first_seen, last_seen, events, amount (of the links to a shared entity; no link: null)
LOAD FROM $rows
MATCH (a:Entity {uid: uid})
OPTIONAL MATCH (a)<-[l:Linked]-(:Entity)
RETURN i, min(l.first_seen) AS first_seen, max(l.last_seen) AS last_seen, CAST(sum(l.events) AS INT64) AS events,
       CAST(sum(l.amount) AS INT64) AS amount
LIMIT $limit
