// params: rows(uid, properties, first, last)
// returns: nothing
UNWIND $rows AS r
MATCH (a:Alert {uid: r.uid})
SET a += r.properties, a.first_at = datetime({epochMillis: r.first / 1000}), a.last_at = datetime({epochMillis: r.last / 1000})
