// params: none
// returns: nothing
DROP TABLE IF EXISTS LinkedFold
