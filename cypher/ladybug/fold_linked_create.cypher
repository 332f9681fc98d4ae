// params: none
// returns: nothing
CREATE REL TABLE LinkedFold(FROM Entity TO Entity, kind STRING, first_seen INT64, last_seen INT64, events INT64, amount INT64, fails INT64)
