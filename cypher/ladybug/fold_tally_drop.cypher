// params: none
// returns: nothing
DROP TABLE Tally
