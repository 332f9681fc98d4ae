// params: rows
// returns: nothing
MERGE (l:Layout {name: 'fold'}) SET l.folded_rows = $rows
