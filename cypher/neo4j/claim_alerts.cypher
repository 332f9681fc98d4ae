// params: uids, limit
// returns: uid, version
UNWIND $uids AS uid
MERGE (a:Alert {uid: uid})
SET a.events = coalesce(a.events, 0)
RETURN uid, a.events AS version
LIMIT $limit
