// params: rows(alert, entity)
// returns: nothing
UNWIND $rows AS r
OPTIONAL MATCH (a:Alert {uid: r.alert})
OPTIONAL MATCH (e:Entity {uid: r.entity})
MERGE (a)-[:ABOUT]->(e)
