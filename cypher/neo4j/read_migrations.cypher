// params: none
// returns: version, name
MATCH (m:Migration)
RETURN m.version AS version, m.name AS name
ORDER BY version
LIMIT 1000
