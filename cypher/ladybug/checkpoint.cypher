// params: none
// returns: nothing
CHECKPOINT
