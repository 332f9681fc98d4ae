// params: none
// returns: kind, entities
MATCH (e:Entity)
WHERE e.first_seen IS NOT NULL
RETURN e.kind AS kind, count(*) AS entities
LIMIT 1000
