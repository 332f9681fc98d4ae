// params: uids, limit
// returns: uid, degree
UNWIND $uids AS uid
MATCH (e:Entity {uid: uid})
WITH uid, COUNT { (e)--() } - COUNT { (e)-[:MEMBER_OF]-() } - COUNT { (e)-[:ABOUT]-() } - COUNT { (e)-[:SHARES]-() } AS degree
RETURN uid, degree
LIMIT $limit
