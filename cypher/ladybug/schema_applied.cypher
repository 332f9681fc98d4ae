// params: none
// returns: nothing
CREATE NODE TABLE IF NOT EXISTS Applied(partition STRING PRIMARY KEY, position INT64)
