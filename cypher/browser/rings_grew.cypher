// Rings that grew
// Since a day; those with most new members first.
// params: tenant, day
// returns: ring, status, risk, users, new_members, newest, last_at
// Day: '2025-01-31' (UTC).
WITH datetime($day + 'T00:00:00Z').epochSeconds * 1000000 AS since
MATCH (g:Ring)
WHERE g.tenant = $tenant AND g.last_seen >= since
MATCH (u:User)-[m:MEMBER_OF]->(g)
WHERE m.joined >= since
WITH g, count(m) AS new_members, max(m.joined_at) AS newest
RETURN g.ring_id AS ring, g.status AS status, g.risk AS risk, g.users AS users, new_members, newest, g.last_at AS last_at
ORDER BY new_members DESC, risk DESC
LIMIT 50
