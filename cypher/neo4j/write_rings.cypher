// params: rows(uid, properties, first, last)
// returns: nothing
UNWIND $rows AS r
MATCH (g:Ring {uid: r.uid})
SET g += r.properties,
  g.first_at = CASE WHEN r.first IS NULL THEN g.first_at ELSE datetime({epochMillis: r.first / 1000}) END,
  g.last_at = CASE WHEN r.last IS NULL THEN g.last_at ELSE datetime({epochMillis: r.last / 1000}) END
