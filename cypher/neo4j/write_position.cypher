// params: partition, position
// returns: nothing
MATCH (p:Applied {partition: $partition})
SET p.position = $position, p.applied_at = datetime()
