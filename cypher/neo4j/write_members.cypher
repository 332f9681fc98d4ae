// params: rows(ring, user, joined)
// returns: nothing
UNWIND $rows AS r
OPTIONAL MATCH (g:Ring {uid: r.ring})
OPTIONAL MATCH (u:Entity {uid: r.user})
MERGE (u)-[m:MEMBER_OF]->(g)
SET m.joined = r.joined, m.joined_at = datetime({epochMillis: r.joined / 1000})
