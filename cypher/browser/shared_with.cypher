// Who shares with this user: table
// How strongly: a row for each other user.
// params: tenant, user
// returns: other, shared, kinds, strength, last_at
// Strength: each shared thing counts 1 / (its users - 1): a device of two weighs 1, an ip of a hundred 0.01.
// Things with more than 500 links are left out: they say nothing about one pair.
MATCH (u:Entity {uid: toString(size($tenant)) + ':' + $tenant + '4:user' + $user})
MATCH (u)-[mine:!MEMBER_OF&!ABOUT&!SHARES]->(thing:Entity)
WITH u, mine, thing, COUNT { (thing)<--(:User) } AS users
WHERE users > 1 AND users <= 500
MATCH (thing)<-[theirs:!MEMBER_OF&!ABOUT&!SHARES]-(other:User)
WHERE other <> u
WITH other, thing, users, CASE WHEN theirs.last_seen > mine.last_seen THEN theirs.last_at ELSE mine.last_at END AS at
RETURN other.id AS other, collect(DISTINCT thing.kind + ' ' + thing.id)[..10] AS shared, collect(DISTINCT thing.kind) AS kinds,
  round(sum(1.0 / (users - 1)), 3) AS strength, max(at) AS last_at
ORDER BY strength DESC, last_at DESC
LIMIT 100
