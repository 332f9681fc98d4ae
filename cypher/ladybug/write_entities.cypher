// params: rows(uid, tenant, kind, id)
// returns: nothing
LOAD FROM $rows
MERGE (a:Entity {uid: uid})
ON CREATE SET a.tenant = tenant, a.kind = kind, a.id = id
