// params: partition, position
// returns: nothing
MERGE (p:Applied {partition: $partition}) SET p.position = $position
