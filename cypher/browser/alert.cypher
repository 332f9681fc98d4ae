// Alert picture
// What the alert is about, what its accounts share, the ring they are in.
// params: tenant, alert
// returns: a, about, x, l, thing, m, g
// Drawn: links to things the alert names, or that at least two of its accounts use. Things with more than 200 links are left out.
WITH $tenant AS tenant, $alert AS alert
MATCH (a:Alert {uid: toString(size(tenant)) + ':' + tenant + '5:alert' + alert})
OPTIONAL MATCH (a)-[about:ABOUT]->(x)
WITH a, about, x LIMIT 300
OPTIONAL MATCH (x)-[l:!MEMBER_OF&!ABOUT&!SHARES]->(thing:Entity)
WHERE x:User AND COUNT { (thing)<--() } <= 200
  AND (EXISTS { (a)-[:ABOUT]->(thing) } OR COUNT { (a)-[:ABOUT]->(:User)-->(thing) } > 1)
OPTIONAL MATCH (x)-[m:MEMBER_OF]->(g:Ring)
RETURN a, about, x, l, thing, m, g
LIMIT 1000
