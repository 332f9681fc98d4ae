// params: none
// returns: nothing
CREATE INDEX ring_last_seen IF NOT EXISTS FOR (g:Ring) ON (g.tenant, g.last_seen)
