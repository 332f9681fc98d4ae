// params: slices, slice
// returns: nothing
COPY TallyFold FROM (
  MATCH (a:Entity)-[x:Tally]->(b:Entity)
  WHERE offset(id(a)) % $slices = $slice
  RETURN a.uid, b.uid, min(x.first_seen), max(x.last_seen), CAST(sum(x.events) AS INT64),
         CAST(sum(x.amount) AS INT64), CAST(sum(x.alerts) AS INT64)
)
