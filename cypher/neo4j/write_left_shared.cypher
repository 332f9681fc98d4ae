// params: rows(uid, shared)
// returns: nothing
UNWIND $rows AS r
MATCH (g:Ring {uid: r.uid})
MATCH (g)-[s:SHARES]->(e:Entity)
WHERE NOT e.uid IN r.shared
DELETE s
