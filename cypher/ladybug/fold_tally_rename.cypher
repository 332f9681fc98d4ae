// params: none
// returns: nothing
ALTER TABLE TallyFold RENAME TO Tally
