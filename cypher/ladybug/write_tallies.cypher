// params: rows(uid, first_seen, last_seen, events, amount, alerts)
// returns: nothing
LOAD FROM $rows
WITH {uid: uid, first_seen: first_seen, last_seen: last_seen, events: events, amount: amount, alerts: alerts} AS r
MATCH (a:Entity {uid: r.uid})
CREATE (a)-[:Tally {first_seen: r.first_seen, last_seen: r.last_seen, events: r.events, amount: r.amount,
                    alerts: r.alerts}]->(a)
