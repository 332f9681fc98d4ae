// params: none
// returns: kind, entities
MATCH (a:Entity) RETURN a.kind AS kind, count(*) AS entities LIMIT 1000
