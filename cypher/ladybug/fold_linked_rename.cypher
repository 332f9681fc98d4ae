// params: none
// returns: nothing
ALTER TABLE LinkedFold RENAME TO Linked
