// Biggest hubs
// The devices most users are linked to.
// params: tenant
// returns: kind, id, users, events, first_at, last_at
// For another kind write its label in place of Device: Card, Address, Ip, Merchant, ... Looks at each thing of the kind once,
// about a second for a million of them.
MATCH (thing:Device)
WHERE thing.tenant = $tenant
WITH thing, COUNT { (thing)<--() } AS users
ORDER BY users DESC
LIMIT 25
RETURN thing.kind AS kind, thing.id AS id, users, thing.events AS events, thing.first_at AS first_at, thing.last_at AS last_at
LIMIT 25
