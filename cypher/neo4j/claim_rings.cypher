// params: uids, limit
// returns: uid, version
UNWIND $uids AS uid
MERGE (g:Ring {uid: uid})
SET g.version = coalesce(g.version, -1)
RETURN uid, g.version AS version
LIMIT $limit
