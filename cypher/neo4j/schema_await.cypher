// params: seconds
// returns: nothing
CALL db.awaitIndexes($seconds)
