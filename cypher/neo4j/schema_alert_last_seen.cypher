// params: none
// returns: nothing
CREATE INDEX alert_last_seen IF NOT EXISTS FOR (a:Alert) ON (a.tenant, a.last_seen)
