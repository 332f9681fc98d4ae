// params: none
// returns: nothing
CREATE INDEX IF NOT EXISTS FOR ()-[l:LINKED]-() ON (l.first_seen)
