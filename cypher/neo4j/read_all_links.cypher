// params: uid, limit
// returns: uid, links
MATCH (a:Entity)
WHERE a.uid > $uid
WITH a
ORDER BY a.uid
LIMIT $limit
WITH a.uid AS uid, COLLECT {
  MATCH (a)-[l:!MEMBER_OF&!ABOUT&!SHARES]->(b:Entity)
  RETURN [b.uid, b.kind, l.first_seen, l.last_seen, l.events, l.amount, l.fails] ORDER BY b.uid
} AS links
RETURN uid, links
ORDER BY uid
LIMIT $limit
