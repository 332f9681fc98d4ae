// params: none
// returns: nothing
CREATE NODE TABLE IF NOT EXISTS Layout(name STRING PRIMARY KEY, folded_rows INT64)
