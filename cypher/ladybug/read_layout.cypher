// params: none
// returns: folded_rows
MATCH (l:Layout {name: 'fold'}) RETURN l.folded_rows AS folded_rows LIMIT 1
