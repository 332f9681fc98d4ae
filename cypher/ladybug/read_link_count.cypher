// params: none
// returns: links
MATCH (a:Entity)-[:Linked]->(b:Entity) WITH DISTINCT offset(id(a)) AS user, offset(id(b)) AS other RETURN count(*) AS links LIMIT 1
