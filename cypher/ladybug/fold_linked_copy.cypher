// params: slices, slice
// returns: nothing
COPY LinkedFold FROM (
  MATCH (a:Entity)-[x:Linked]->(b:Entity)
  WHERE offset(id(a)) % $slices = $slice
  RETURN a.uid, b.uid, min(x.kind), min(x.first_seen), max(x.last_seen), CAST(sum(x.events) AS INT64),
         CAST(sum(x.amount) AS INT64), CAST(sum(x.fails) AS INT64)
)
