// params: partition
// returns: position
MATCH (p:Applied {partition: $partition})
RETURN p.position AS position
LIMIT 1
