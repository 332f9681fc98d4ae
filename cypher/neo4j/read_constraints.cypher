// params: none
// returns: name
SHOW CONSTRAINTS YIELD name
RETURN name
LIMIT 1000
