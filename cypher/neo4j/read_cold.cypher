// params: uids, scan, links, limit
// returns: uid, first_seen, last_seen, events, amount, degree, links
UNWIND $uids AS uid
MATCH (e:Entity {uid: uid})
WHERE e.first_seen IS NOT NULL
WITH uid, e, COUNT { (e)--() } - COUNT { (e)-[:MEMBER_OF]-() } - COUNT { (e)-[:ABOUT]-() } - COUNT { (e)-[:SHARES]-() } AS degree,
  COLLECT {
    MATCH (e)-[l:!MEMBER_OF&!ABOUT&!SHARES]-(o)
    WITH l, o LIMIT $scan
    RETURN [o.kind, o.id, l.first_seen, l.last_seen, l.events] ORDER BY l.last_seen DESC, o.uid LIMIT $links
  } AS links
RETURN uid, e.first_seen AS first_seen, e.last_seen AS last_seen, e.events AS events, e.amount AS amount, degree, links
LIMIT $limit
