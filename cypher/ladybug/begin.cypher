// params: none
// returns: nothing
BEGIN TRANSACTION
