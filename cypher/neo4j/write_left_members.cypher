// params: rows(uid, members)
// returns: nothing
UNWIND $rows AS r
MATCH (g:Ring {uid: r.uid})
MATCH (u:Entity)-[m:MEMBER_OF]->(g)
WHERE NOT u.uid IN r.members
DELETE m
