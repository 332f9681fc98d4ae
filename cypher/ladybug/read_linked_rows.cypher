// params: none
// returns: rows
MATCH (:Entity)-[l:Linked]->(:Entity) RETURN count(*) AS rows LIMIT 1
