// params: partition
// returns: position
MERGE (p:Applied {partition: $partition})
SET p.position = coalesce(p.position, -1)
RETURN p.position AS position
LIMIT 1
