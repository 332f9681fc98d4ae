// Ring picture
// Its members, and the things that hold it together.
// params: tenant, ring
// returns: g, m, u, l, thing, s
// The 300 members who joined first. An ended ring is shown alone.
MATCH (g:Ring {uid: toString(size($tenant)) + ':' + $tenant + '4:ring' + $ring})
OPTIONAL MATCH (g)<-[m:MEMBER_OF]-(u:User)
WITH g, m, u ORDER BY m.joined LIMIT 300
OPTIONAL MATCH (u)-[l]->(thing:Entity)<-[s:SHARES]-(g)
RETURN g, m, u, l, thing, s
LIMIT 2000
