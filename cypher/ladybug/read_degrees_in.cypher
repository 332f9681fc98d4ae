// params: rows(i, uid), limit
// returns: i, degree
LOAD FROM $rows
MATCH (a:Entity {uid: uid})
OPTIONAL MATCH (a)<-[l:Linked]-(b:Entity)
RETURN i, count(DISTINCT offset(id(b))) AS degree
LIMIT $limit
