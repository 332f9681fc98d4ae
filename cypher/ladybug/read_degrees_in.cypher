// params: rows(i, uid), limit
// returns: i, degree
LOAD FROM $rows
WITH {i: i, uid: uid} AS r
MATCH (a:Entity {uid: r.uid})
WITH r, a
MATCH (a)<-[l:Linked]-(b:Entity)
RETURN r.i AS i, count(DISTINCT offset(id(b))) AS degree
LIMIT $limit
