// params: rows(user, other, kind, first_seen, last_seen, events, amount, fails)
// returns: nothing
LOAD FROM $rows
WITH {user: user, other: other, kind: kind, first_seen: first_seen, last_seen: last_seen, events: events,
      amount: amount, fails: fails} AS r
MATCH (a:Entity {uid: r.user})
WITH r, a
MATCH (b:Entity {uid: r.other})
CREATE (a)-[:Linked {kind: r.kind, first_seen: r.first_seen, last_seen: r.last_seen, events: r.events,
                     amount: r.amount, fails: r.fails}]->(b)
