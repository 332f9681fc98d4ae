// Who shares with this user: picture
// The user, the things, the others.
// params: tenant, user
// returns: u, mine, thing, theirs, other
// The same bounds as shared_with: things of 2 to 500 links, the 200 latest links of others.
MATCH (u:Entity {uid: toString(size($tenant)) + ':' + $tenant + '4:user' + $user})
MATCH (u)-[mine:!MEMBER_OF&!ABOUT&!SHARES]->(thing:Entity)
WHERE COUNT { (thing)<--() } > 1 AND COUNT { (thing)<--() } <= 500
MATCH (thing)<-[theirs:!MEMBER_OF&!ABOUT&!SHARES]-(other:User)
WHERE other <> u
RETURN u, mine, thing, theirs, other
ORDER BY theirs.last_seen DESC
LIMIT 200
