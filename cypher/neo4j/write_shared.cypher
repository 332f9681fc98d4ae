// params: rows(ring, entity)
// returns: nothing
UNWIND $rows AS r
OPTIONAL MATCH (g:Ring {uid: r.ring})
OPTIONAL MATCH (e:Entity {uid: r.entity})
MERGE (g)-[:SHARES]->(e)
