// Path between two users
// The shortest chains of shared things between them, at most six links long.
// params: tenant, user, other
// returns: p
// Through rings and alerts no chain is drawn, nor through a thing with more than 200 links.
MATCH (a:Entity {uid: toString(size($tenant)) + ':' + $tenant + '4:user' + $user})
OPTIONAL MATCH (b:Entity {uid: toString(size($tenant)) + ':' + $tenant + '4:user' + $other})
MATCH p = ALL SHORTEST (a)(()-[:!MEMBER_OF&!ABOUT&!SHARES]-(n WHERE COUNT { (n)--() } <= 200)){1,6}(b)
RETURN p
LIMIT 25
