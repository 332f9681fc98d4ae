// params: prefix, label, tenant, kind, ids
// returns: nothing
UNWIND $ids AS id
MERGE (e:Entity {uid: $prefix + id})
ON CREATE SET e:$($label), e.tenant = $tenant, e.kind = $kind, e.id = id, e.events = 0, e.amount = 0, e.alerts = 0
