// params: rows(alert, ring)
// returns: nothing
UNWIND $rows AS r
OPTIONAL MATCH (a:Alert {uid: r.alert})
MERGE (g:Ring {uid: r.ring})
ON CREATE SET g.version = -1
MERGE (a)-[:ABOUT]->(g)
