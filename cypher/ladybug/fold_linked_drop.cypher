// params: none
// returns: nothing
DROP TABLE Linked
