// params: none
// returns: claimed
MERGE (l:SchemaLock {name: 'schema'})
SET l.claims = coalesce(l.claims, 0) + 1
RETURN l.claims AS claimed
LIMIT 1
