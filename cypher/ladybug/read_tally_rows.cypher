// params: none
// returns: rows
MATCH (:Entity)-[t:Tally]->(:Entity) RETURN count(*) AS rows LIMIT 1
