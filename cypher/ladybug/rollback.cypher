// params: none
// returns: nothing
ROLLBACK
