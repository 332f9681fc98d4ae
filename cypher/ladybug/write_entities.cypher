// params: rows(uid, tenant, kind, id)
// returns: nothing
LOAD FROM $rows
CREATE (:Entity {uid: uid, tenant: tenant, kind: kind, id: id})
