// New links of a day
// To things that make rings; those to things already used by others first.
// params: tenant, day
// returns: user, link, thing, users, first_at
// Day: '2025-01-31' (UTC). By the indexes on a link's first_seen; for a kind of your own add its type.
WITH datetime($day + 'T00:00:00Z').epochSeconds * 1000000 AS start
CALL (start) {
  MATCH (u:User)-[l:USED_DEVICE]->(thing) WHERE l.first_seen >= start AND l.first_seen < start + 86400000000 RETURN u, l, thing
  UNION ALL
  MATCH (u:User)-[l:USED_CARD]->(thing) WHERE l.first_seen >= start AND l.first_seen < start + 86400000000 RETURN u, l, thing
  UNION ALL
  MATCH (u:User)-[l:USED_ADDRESS]->(thing) WHERE l.first_seen >= start AND l.first_seen < start + 86400000000 RETURN u, l, thing
  UNION ALL
  MATCH (u:User)-[l:USED_EMAIL]->(thing) WHERE l.first_seen >= start AND l.first_seen < start + 86400000000 RETURN u, l, thing
  UNION ALL
  MATCH (u:User)-[l:USED_PHONE]->(thing) WHERE l.first_seen >= start AND l.first_seen < start + 86400000000 RETURN u, l, thing
  UNION ALL
  MATCH (u:User)-[l:USED_BANK_ACCOUNT]->(thing) WHERE l.first_seen >= start AND l.first_seen < start + 86400000000 RETURN u, l, thing
}
WITH u, l, thing
WHERE u.tenant = $tenant
WITH u, l, thing, COUNT { (thing)<--(:User) } AS users
RETURN u.id AS user, type(l) AS link, thing.id AS thing, users, l.first_at AS first_at
ORDER BY users > 1 DESC, first_at
LIMIT 500
