// params: rows(i, uid), limit
// returns: i
LOAD FROM $rows
MATCH (a:Entity {uid: uid})
RETURN i
LIMIT $limit
