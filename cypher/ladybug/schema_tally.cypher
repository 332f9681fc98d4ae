// params: none
// returns: nothing
CREATE REL TABLE IF NOT EXISTS Tally(FROM Entity TO Entity, first_seen INT64, last_seen INT64, events INT64, amount INT64, alerts INT64)
