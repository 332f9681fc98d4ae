// params: none
// returns: nothing
CREATE NODE TABLE IF NOT EXISTS Entity(uid STRING PRIMARY KEY, tenant STRING, kind STRING, id STRING)
