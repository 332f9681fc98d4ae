// params: rows(uid, since), limit
// returns: node, uid (no link: null)
LOAD FROM $rows
MATCH (a:Entity {uid: uid})
OPTIONAL MATCH (a)-[l:Linked]->(b:Entity)
WHERE l.last_seen >= since
RETURN DISTINCT offset(id(b)) AS node, b.uid AS uid
LIMIT $limit
